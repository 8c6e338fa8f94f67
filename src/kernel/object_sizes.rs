//! What each object of a connection takes: its share of the pages of a slab. For root from `/proc/slabinfo`, which is exact;
//! for others from the sizes of structures in the kernel's type information, with the arithmetic of the slab allocator
//! (`mm/slub.c`, Linux 6.18), which is an estimate; else the sizes of Linux 6.18.

use std::path::Path;

use super::btf;
use super::procfs::{CacheNames, Procfs};
use super::sysconf::{page_size, possible_cpus};
use crate::domain::{Bytes, ObjectSize, ObjectSizes, SizeSource};

/// One cache, and what an estimate has to know of it.
struct Cache {
    /// Its name in slabinfo.
    name: &'static str,
    /// Its structure; absent where the size is put together at boot (security modules).
    structure: Option<&'static str>,
    /// The structure's size in Linux 6.18 on 64 bits.
    assumed: u64,
    /// Where the allocator's own pointer lies in a free slot.
    free_pointer: FreePointer,
    /// How slots are aligned.
    alignment: Alignment,
}

/// A free slot holds a pointer to the next one: inside the object where nobody looks at a freed object, else behind it
/// (objects with a constructor, or that may be looked at after they were freed, `SLAB_TYPESAFE_BY_RCU`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum FreePointer {
    Behind,
    Inside,
}

/// `SLAB_HWCACHE_ALIGN` or not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alignment {
    CacheLine,
    Word,
}

/// The caches of a connection, on either side. Flags as `kmem_cache_create` is called for each in Linux 6.18.
const CACHES: [Cache; 14] = {
    use Alignment::{CacheLine, Word};
    use FreePointer::{Behind, Inside};
    [
        cache("TCP", Some("tcp_sock"), 2304, Behind, CacheLine),
        cache(
            "sock_inode_cache",
            Some("socket_alloc"),
            768,
            Behind,
            CacheLine,
        ),
        cache("filp", Some("file"), 184, Inside, CacheLine),
        cache("dentry", Some("dentry"), 192, Inside, Word),
        cache("lsm_inode_cache", None, 32, Inside, Word),
        cache("lsm_file_cache", None, 24, Inside, Word),
        cache("eventpoll_epi", Some("epitem"), 120, Inside, CacheLine),
        cache("eventpoll_pwq", Some("eppoll_entry"), 64, Inside, Word),
        cache("ep_head", Some("epitems_head"), 16, Inside, Word),
        cache(
            "request_sock_TCP",
            Some("tcp_request_sock"),
            312,
            Behind,
            Word,
        ),
        cache(
            "tcp_bind_bucket",
            Some("inet_bind_bucket"),
            88,
            Inside,
            CacheLine,
        ),
        cache(
            "tcp_bind2_bucket",
            Some("inet_bind2_bucket"),
            80,
            Inside,
            CacheLine,
        ),
        cache("tw_sock_TCP", Some("tcp_timewait_sock"), 248, Behind, Word),
        cache("nf_conntrack", Some("nf_conn"), 248, Behind, CacheLine),
    ]
};

const fn cache(
    name: &'static str,
    structure: Option<&'static str>,
    assumed: u64,
    free_pointer: FreePointer,
    alignment: Alignment,
) -> Cache {
    Cache {
        name,
        structure,
        assumed,
        free_pointer,
        alignment,
    }
}

/// The sizes on the machine whose files lie below `root`, from the best source that can be read.
#[must_use]
pub fn object_sizes(root: &Path) -> ObjectSizes {
    from_slabinfo(root)
        .or_else(|| from_btf(root))
        .unwrap_or_else(|| {
            estimate(&Allocator::of(root), SizeSource::Assumed, |cache| {
                Some(cache.assumed)
            })
        })
}

/// Exact, where slabinfo can be read and knows TCP.
#[must_use]
pub fn from_slabinfo(root: &Path) -> Option<ObjectSizes> {
    let rows = Procfs::new(root).slab_rows().ok()?;
    let names = CacheNames::read(root);
    let objects: Vec<ObjectSize> = CACHES
        .iter()
        .filter_map(|cache| {
            let bytes = names.row_of(cache.name, &rows)?.share(page_size())?;
            Some(size(cache, bytes))
        })
        .collect();
    let known = objects.iter().any(|object| object.name == "TCP");
    known.then_some(ObjectSizes {
        source: SizeSource::Slabinfo,
        objects,
    })
}

/// Estimated from the sizes of structures, where the kernel tells them.
#[must_use]
pub fn from_btf(root: &Path) -> Option<ObjectSizes> {
    let names: Vec<&str> = CACHES.iter().filter_map(|cache| cache.structure).collect();
    let sizes = btf::struct_sizes(root, &names).ok()?;
    sizes.contains_key("tcp_sock").then(|| {
        estimate(&Allocator::of(root), SizeSource::BtfEstimate, |cache| {
            // A structure that this kernel lacks has no cache either.
            cache
                .structure
                .map_or(Some(cache.assumed), |name| sizes.get(name).copied())
        })
    })
}

fn estimate(
    allocator: &Allocator,
    source: SizeSource,
    bytes: impl Fn(&Cache) -> Option<u64>,
) -> ObjectSizes {
    let objects = CACHES
        .iter()
        .filter_map(|cache| Some(size(cache, allocator.share(cache, bytes(cache)?))))
        .collect();
    ObjectSizes { source, objects }
}

fn size(cache: &Cache, bytes: f64) -> ObjectSize {
    ObjectSize {
        name: cache.name.to_owned(),
        bytes,
    }
}

/// What the allocator's arithmetic depends on.
#[derive(Debug, Clone, Copy)]
struct Allocator {
    page: Bytes,
    possible_cpus: u64,
}

impl Allocator {
    /// A pointer, and the alignment of a slot that asks for none.
    const WORD: u64 = 8;
    /// `cache_line_size()`: 64 on `x86_64` and on most of aarch64.
    const CACHE_LINE: u64 = 64;
    /// `slub_max_order` (`PAGE_ALLOC_COSTLY_ORDER`): a slab has at most eight pages, unless one object needs more.
    const MAX_ORDER: u32 = 3;

    fn of(root: &Path) -> Self {
        Self {
            page: page_size(),
            possible_cpus: possible_cpus(root),
        }
    }

    /// One object's share of the pages of a slab.
    fn share(&self, cache: &Cache, object: u64) -> f64 {
        let slot = Self::slot(cache, object);
        let slab = self.page.bytes() << self.order(slot);
        Bytes::new(slab).as_f64() / (slab / slot).max(1) as f64
    }

    /// `calculate_sizes`: the object, a pointer behind it where it needs one, rounded up to its alignment. An object of
    /// half a cache line or less is aligned to the half, and so on (`calculate_alignment`).
    fn slot(cache: &Cache, object: u64) -> u64 {
        let alignment = match cache.alignment {
            Alignment::Word => Self::WORD,
            Alignment::CacheLine => {
                std::iter::successors(Some(Self::CACHE_LINE), |line| Some(line / 2))
                    .find(|line| object > line / 2 || *line == Self::WORD)
                    .unwrap_or(Self::CACHE_LINE)
            }
        };
        let pointer = match cache.free_pointer {
            FreePointer::Behind => Self::WORD,
            FreePointer::Inside => 0,
        };
        (object.next_multiple_of(Self::WORD) + pointer).next_multiple_of(alignment)
    }

    /// `calculate_order`: the smallest slab that has room for enough objects and wastes at most a sixteenth, else an
    /// eighth, a quarter, a half.
    fn order(&self, slot: u64) -> u32 {
        let bits = u64::BITS - self.possible_cpus.leading_zeros();
        let wanted_objects = 4 * (u64::from(bits) + 1);
        let page = self.page.bytes();
        let most = ((page << Self::MAX_ORDER) / slot).max(1);
        let least_pages = (wanted_objects.min(most) * slot).div_ceil(page);
        let first = least_pages.next_power_of_two().trailing_zeros();
        [16, 8, 4, 2]
            .iter()
            .find_map(|fraction| {
                (first..=Self::MAX_ORDER).find(|order| {
                    let slab = page << order;
                    slab % slot <= slab / fraction
                })
            })
            .unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18, `x86_64`, two processors: what slabinfo says of each cache.
    const MEASURED: [(&str, u64, u64, u64); 13] = [
        // name, slot, slots in a slab, pages in a slab
        ("TCP", 2368, 13, 8),
        ("sock_inode_cache", 832, 19, 4),
        ("filp", 192, 21, 1),
        ("dentry", 192, 21, 1),
        ("lsm_inode_cache", 32, 128, 1),
        ("lsm_file_cache", 24, 170, 1),
        ("eventpoll_epi", 128, 32, 1),
        ("eventpoll_pwq", 64, 64, 1),
        ("ep_head", 16, 256, 1),
        ("request_sock_TCP", 320, 12, 1),
        ("tcp_bind_bucket", 128, 32, 1),
        ("tcp_bind2_bucket", 128, 32, 1),
        ("tw_sock_TCP", 256, 16, 1),
    ];

    #[test]
    fn the_estimate_agrees_with_slabinfo_of_the_same_kernel() {
        let allocator = Allocator {
            page: Bytes::from_kib(4),
            possible_cpus: 2,
        };
        for (name, slot, slots, pages) in MEASURED {
            let cache = CACHES.iter().find(|cache| cache.name == name).unwrap();
            assert_eq!(Allocator::slot(cache, cache.assumed), slot, "{name}");
            let share = (pages * 4096) as f64 / slots as f64;
            let estimated = allocator.share(cache, cache.assumed);
            assert!(
                (estimated - share).abs() < 0.01,
                "{name}: {estimated} {share}"
            );
        }
    }

    #[test]
    fn a_machine_that_tells_nothing_gets_assumed_sizes() {
        let nothing = tempfile::tempdir().unwrap();
        let sizes = object_sizes(nothing.path());
        assert_eq!(sizes.source, SizeSource::Assumed);
        assert!(sizes.bytes_of("TCP") > 2304.0);
    }
}
