//! Vectors that hold the owner of each charged object (`mm/memcontrol.c`, `struct obj_cgroup *` or `struct slabobj_ext`):
//! one for each slab, in a general cache of the size that fits. Which end they belong to follows from whose objects the
//! slabs hold.

use std::collections::BTreeMap;

use super::counts::Expected;

/// Bytes of one entry.
const ENTRY: u64 = 8;

/// Sizes of the general caches (`include/linux/slab.h`), with the names that they have.
const GENERAL: [(u64, &str); 13] = [
    (8, "kmalloc-8"),
    (16, "kmalloc-16"),
    (32, "kmalloc-32"),
    (64, "kmalloc-64"),
    (96, "kmalloc-96"),
    (128, "kmalloc-128"),
    (192, "kmalloc-192"),
    (256, "kmalloc-256"),
    (512, "kmalloc-512"),
    (1024, "kmalloc-1k"),
    (2048, "kmalloc-2k"),
    (4096, "kmalloc-4k"),
    (8192, "kmalloc-8k"),
];

/// Whether objects of this kind are charged to control groups (`SLAB_ACCOUNT`). Those of security modules and requests are
/// not.
pub(super) fn is_charged(kind: &str) -> bool {
    !matches!(
        kind,
        "lsm_inode_cache" | "lsm_file_cache" | "request_sock_TCP"
    )
}

/// Vectors by the general cache that they lie in, for each end.
#[derive(Debug, Default)]
pub(super) struct Vectors(BTreeMap<&'static str, Expected>);

impl Vectors {
    /// Adds the vectors of slabs with `slots` objects each, of which each end has so many.
    pub(super) fn add(&mut self, slots: u64, objects: Expected) {
        let bytes = slots * ENTRY;
        let Some((_, cache)) = GENERAL.iter().find(|(size, _)| *size >= bytes) else {
            return;
        };
        let known = self.0.entry(cache).or_insert(Expected {
            server: 0.0,
            client: 0.0,
        });
        known.server += objects.server / slots as f64;
        known.client += objects.client / slots as f64;
    }

    /// Vectors expected in a general cache.
    pub(super) fn in_cache(&self, cache: &str) -> Option<Expected> {
        self.0.get(cache).copied()
    }
}

/// How many slots a slab has, where the recording does not say: the fewest pages that give the share of a page that the
/// objects were seen to take.
pub(super) fn slots_by_share(slot: f64, share: f64, page: f64) -> Option<u64> {
    /// Relative difference that partly filled slabs make.
    const CLOSE: f64 = 0.02;
    if slot < 1.0 || share < slot {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small positive count
    let slots = |order: i32| (page * 2f64.powi(order) / slot).floor() as u64;
    (0..=3)
        .map(|order| (order, slots(order)))
        .filter(|(_, slots)| *slots > 0)
        .find(|(order, slots)| {
            let full = page * 2f64.powi(*order) / *slots as f64;
            (full - share).abs() / share < CLOSE
        })
        .map(|(_, slots)| slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_lie_in_the_smallest_cache_that_fits() {
        let mut vectors = Vectors::default();
        let ends = Expected {
            server: 130.0,
            client: 260.0,
        };
        // 13 slots take 104 bytes, 21 take 168, 64 take 512.
        vectors.add(13, ends);
        vectors.add(21, ends);
        let found = vectors.in_cache("kmalloc-128").expect("TCP's");
        assert!((found.server - 10.0).abs() < 1e-9 && (found.client - 20.0).abs() < 1e-9);
        assert!(vectors.in_cache("kmalloc-192").is_some());
        assert!(vectors.in_cache("kmalloc-512").is_none());
    }

    #[test]
    fn slots_are_found_again_from_the_share_of_a_page() {
        assert_eq!(slots_by_share(2368.0, 2520.6, 4096.0), Some(13));
        assert_eq!(slots_by_share(832.0, 862.3, 4096.0), Some(19));
        assert_eq!(slots_by_share(192.0, 195.0, 4096.0), Some(21));
        assert_eq!(slots_by_share(2368.0, 9000.0, 4096.0), None);
    }
}
