//! `/proc/slabinfo` (`mm/slab_common.c`, version 2.1) and the names below `/sys/kernel/slab`. The kernel keeps caches of
//! like objects in the same slabs: one row then counts the objects of all of them under the name of the first. Which ones
//! these are is told by symbolic links to the same directory. Bytes are pages of whole slabs, waste included.

use std::collections::HashMap;
use std::path::Path;

use super::{Malformed, number};
use crate::domain::{Bytes, SlabCache};

/// The caches that a connection has objects in, on either side, in any state, in the order of a report's table. A row that
/// several share is given the first of these names.
pub(super) const CACHES: [&str; 43] = [
    "TCP",
    "sock_inode_cache",
    "filp",
    "dentry",
    "lsm_inode_cache",
    "lsm_file_cache",
    "eventpoll_epi",
    "eventpoll_pwq",
    "ep_head",
    "request_sock_TCP",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
    "tw_sock_TCP",
    "nf_conntrack",
    "skbuff_head_cache",
    "skbuff_fclone_cache",
    "skbuff_small_head",
    "kmalloc-8",
    "kmalloc-16",
    "kmalloc-32",
    "kmalloc-64",
    "kmalloc-96",
    "kmalloc-128",
    "kmalloc-192",
    "kmalloc-256",
    "kmalloc-512",
    "kmalloc-1k",
    "kmalloc-2k",
    "kmalloc-4k",
    "kmalloc-8k",
    "kmalloc-cg-8",
    "kmalloc-cg-16",
    "kmalloc-cg-32",
    "kmalloc-cg-64",
    "kmalloc-cg-96",
    "kmalloc-cg-128",
    "kmalloc-cg-192",
    "kmalloc-cg-256",
    "kmalloc-cg-512",
    "kmalloc-cg-1k",
    "kmalloc-cg-2k",
    "kmalloc-cg-4k",
    "kmalloc-cg-8k",
];

/// What `/proc/slabinfo` tells of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slabs {
    /// The caches that connections live in, each once, in the order of a report's table.
    pub of_connections: Vec<SlabCache>,
    /// Bytes of the pages of all other caches.
    pub others: Bytes,
}

/// One row as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlabRow {
    /// The name of one of the caches in it.
    pub name: String,
    /// Objects in use; objects on a processor's own slab count as used.
    pub objects: u64,
    /// Bytes of one slot.
    pub slot: Bytes,
    /// Slots in a slab.
    pub slots_per_slab: u64,
    /// Pages in a slab.
    pub pages_per_slab: u64,
    /// Slabs.
    pub slabs: u64,
}

impl SlabRow {
    /// Bytes of all its pages, each of `page`.
    #[must_use]
    pub fn bytes(&self, page: Bytes) -> Bytes {
        page.times(self.slabs.saturating_mul(self.pages_per_slab))
    }

    /// One object's share of the pages of a full slab, each of `page`; absent for a row that has no slots.
    #[must_use]
    pub fn share(&self, page: Bytes) -> Option<f64> {
        let slab = page.times(self.pages_per_slab);
        (self.slots_per_slab > 0).then(|| slab.as_f64() / self.slots_per_slab as f64)
    }
}

/// Which caches share their slabs: for each name the names of all in the same group. A name that is in no group has slabs
/// of its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CacheNames {
    groups: HashMap<String, Vec<String>>,
    unknown: Option<String>,
}

impl CacheNames {
    /// Reads the links in `sys/kernel/slab` below `root`. Where they cannot be read every cache stands for itself, and
    /// [`CacheNames::unknown`] says why that may be wrong.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let directory = root.join("sys/kernel/slab");
        let mut links = Vec::new();
        let mut unknown = None;
        let mut fails = |path: &Path, error: &std::io::Error| {
            unknown.get_or_insert_with(|| format!("cannot read {}: {error}", path.display()));
        };
        match std::fs::read_dir(&directory) {
            Err(error) => fails(&directory, &error),
            Ok(entries) => {
                for entry in entries {
                    let entry = match entry {
                        Ok(entry) => entry,
                        Err(error) => {
                            fails(&directory, &error);
                            continue;
                        }
                    };
                    let path = entry.path();
                    match std::fs::read_link(&path) {
                        Ok(target) => links.push((
                            entry.file_name().to_string_lossy().into_owned(),
                            target.to_string_lossy().into_owned(),
                        )),
                        // A directory is a cache that no other is merged into, or the one that the links lead to.
                        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {}
                        Err(error) => fails(&path, &error),
                    }
                }
            }
        }
        Self {
            unknown,
            ..Self::of_links(links.into_iter())
        }
    }

    /// Why it is not known which caches share their slabs; absent where it is known.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// From pairs of a cache's name and what the link of this name leads to.
    pub(super) fn of_links(links: impl Iterator<Item = (String, String)>) -> Self {
        let mut members: HashMap<String, Vec<String>> = HashMap::new();
        for (name, target) in links {
            members.entry(target).or_default().push(name);
        }
        let mut groups = HashMap::new();
        for mut names in members.into_values().filter(|names| names.len() > 1) {
            names.sort();
            for name in &names {
                groups.insert(name.clone(), names.clone());
            }
        }
        Self {
            groups,
            unknown: None,
        }
    }

    /// All caches that share slabs with `name`, sorted, itself included; empty when it has its own.
    #[must_use]
    pub fn merged_with(&self, name: &str) -> &[String] {
        self.groups.get(name).map_or(&[], Vec::as_slice)
    }

    /// The row that holds the objects of `cache`, under whatever name.
    #[must_use]
    pub fn row_of<'rows>(&self, cache: &str, rows: &'rows [SlabRow]) -> Option<&'rows SlabRow> {
        let group = self.merged_with(cache);
        rows.iter()
            .find(|row| row.name == cache || group.contains(&row.name))
    }
}

/// Every row.
pub(super) fn parse(text: &str) -> Result<Vec<SlabRow>, Malformed> {
    rows(text)?.map(row).collect()
}

/// The rows that connections live in, each once, so that their sum counts nothing twice, and the sum of the others.
pub(super) fn of_connections(
    text: &str,
    names: &CacheNames,
    page: Bytes,
) -> Result<Slabs, Malformed> {
    let mut found: Vec<(usize, SlabCache)> = Vec::with_capacity(CACHES.len());
    let mut others = Bytes::ZERO;
    for line in rows(text)? {
        let name = line.split_ascii_whitespace().next().unwrap_or_default();
        let merged = names.merged_with(name);
        let rank = CACHES
            .iter()
            .position(|cache| name == *cache || merged.iter().any(|member| member == cache));
        let row = row(line)?;
        let Some(rank) = rank else {
            others += row.bytes(page);
            continue;
        };
        let cache = SlabCache {
            name: CACHES[rank].to_owned(),
            merged: merged.to_vec(),
            objects: row.objects,
            slot: row.slot,
            slots_per_slab: Some(row.slots_per_slab),
            pages: row.bytes(page),
        };
        found.push((rank, cache));
    }
    found.sort_by_key(|(rank, _)| *rank);
    Ok(Slabs {
        of_connections: found.into_iter().map(|(_, cache)| cache).collect(),
        others,
    })
}

/// The lines behind the heading.
fn rows(text: &str) -> Result<impl Iterator<Item = &str>, Malformed> {
    if !text.starts_with("slabinfo - version: 2.") {
        return Err(Malformed("it is not version 2 of slabinfo".into()));
    }
    Ok(text
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with('#') && !line.is_empty()))
}

/// `name active_objs num_objs objsize objperslab pagesperslab : tunables … : slabdata active_slabs num_slabs sharedavail`
fn row(line: &str) -> Result<SlabRow, Malformed> {
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next().unwrap_or_default().to_owned();
    let mut field = |what: &str, skip: usize| number(fields.nth(skip), what);
    let objects = field("active_objs", 0)?;
    let slot = field("objsize", 1)?;
    let slots_per_slab = field("objperslab", 0)?;
    let pages_per_slab = field("pagesperslab", 0)?;
    // Between: `: tunables limit batchcount sharedfactor : slabdata active_slabs`.
    let slabs = field("num_slabs", 8)?;
    Ok(SlabRow {
        name,
        objects,
        slot: Bytes::new(slot),
        slots_per_slab,
        pages_per_slab,
        slabs,
    })
}
