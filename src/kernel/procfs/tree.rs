//! A process with its descendants: who they are, and what they use together (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::{Malformed, ProcError, Procfs, number, process};
use crate::domain::{Bytes, DescriptorUse, ProcessSample, Reading, TreeRoot, TreeSample, WorkerId};

/// How long reading proportional shares may take: the kernel walks all pages of a process for each.
const LONGEST_SHARES: Duration = Duration::from_secs(1);

/// One process of `/proc`, from its `stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRow {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its name: at most 15 bytes of the file that it runs, or what it calls itself.
    pub name: String,
    /// Whether it has ended and was not waited for yet.
    pub ended: bool,
    /// Ticks of `USER_HZ` that it has used.
    pub ticks: u64,
    /// Ticks of the children that it has waited for.
    pub children_ticks: u64,
}

/// Bytes of a `/proc/PID/fd` tell how many descriptors are open from this Linux on (`proc_fd_getattr` in `fs/proc/fd.c`).
/// Before, they are 0.
const FIRST_THAT_COUNTS: u64 = 1;

/// Ticks of `USER_HZ` in a second: 100 on every architecture that Rust has (`include/asm-generic/param.h`).
const TICKS: f64 = 100.0;

impl Procfs {
    /// Every process that can be seen.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn processes(&mut self) -> Result<Vec<ProcessRow>, ProcError> {
        let folder = self.root.join("proc");
        let entries = fs::read_dir(&folder).map_err(|source| ProcError::Read {
            path: folder.clone(),
            source,
        })?;
        let mut rows = Vec::new();
        for entry in entries.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // A process that is gone by now is none.
            if let Ok(row) = self.below(&format!("proc/{pid}/stat"), |text| row(pid, text)) {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The processes of a tree, ascending; those that have ended are left out.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn tree(&mut self, root: TreeRoot) -> Result<Vec<ProcessRow>, ProcError> {
        Ok(members(self.processes()?, root))
    }

    /// What the processes of a tree use together. `proportional` asks for their proportional share of memory (PSS) too,
    /// which takes the kernel some time for each process.
    ///
    /// # Errors
    /// When `/proc` cannot be listed, or no process of the tree is there.
    pub fn tree_sample(
        &mut self,
        worker: WorkerId,
        root: TreeRoot,
        proportional: bool,
    ) -> Result<(ProcessSample, TreeSample), ProcError> {
        let rows = self.tree(root)?;
        let mut sum = ProcessSample {
            worker,
            anonymous: Bytes::ZERO,
            file_backed: Bytes::ZERO,
            page_tables: Bytes::ZERO,
            virtual_size: Bytes::ZERO,
            threads: 0,
            user_ticks: 0,
            system_ticks: 0,
        };
        let mut tree = TreeSample {
            processes: 0,
            threads: 0,
            cpu_seconds: 0.0,
            descriptors: Reading::Present(0),
            fullest: None,
            proportional: proportional.then_some(Reading::Present(Bytes::ZERO)),
        };
        let began = Instant::now();
        for row in &rows {
            let Ok(sample) = self.process(worker, row.pid) else {
                continue;
            };
            tree.processes += 1;
            tree.threads += sample.threads;
            tree.cpu_seconds += (row.ticks + row.children_ticks) as f64 / TICKS;
            sum.anonymous += sample.anonymous;
            sum.file_backed += sample.file_backed;
            sum.page_tables += sample.page_tables;
            sum.virtual_size += sample.virtual_size;
            sum.threads += sample.threads;
            sum.user_ticks += sample.user_ticks;
            sum.system_ticks += sample.system_ticks;
            self.add_descriptors(row.pid, &mut tree);
            if began.elapsed() > LONGEST_SHARES
                && let Some(share) = &mut tree.proportional
            {
                *share = Reading::missing(format!(
                    "it has {} processes, and reading the share of each takes too long",
                    rows.len()
                ));
            }
            if let Some(Reading::Present(share)) = tree.proportional {
                tree.proportional = Some(match self.proportional(row.pid) {
                    Ok(more) => Reading::Present(share + more),
                    Err(error) if error.is_absent() => Reading::Present(share),
                    Err(error) => Reading::missing(error.to_string()),
                });
            }
        }
        if tree.processes == 0 {
            let (TreeRoot::From(pid) | TreeRoot::Below(pid)) = root;
            return Err(ProcError::Read {
                path: self.root.join(format!("proc/{pid}")),
                source: std::io::Error::from(std::io::ErrorKind::NotFound),
            });
        }
        Ok((sum, tree))
    }

    fn add_descriptors(&mut self, pid: u32, tree: &mut TreeSample) {
        let path = self.root.join(format!("proc/{pid}/fd"));
        let open = match fs::metadata(&path) {
            Ok(folder) if folder.size() >= FIRST_THAT_COUNTS => folder.size(),
            Ok(_) => {
                tree.descriptors = Reading::missing(
                    "the size of /proc/PID/fd tells how many are open from Linux 6.2 on",
                );
                return;
            }
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tree.descriptors =
                        Reading::missing(format!("cannot read {}: {error}", path.display()));
                }
                return;
            }
        };
        if let Reading::Present(sum) = &mut tree.descriptors {
            *sum += open;
        }
        if tree.fullest.is_none_or(|fullest| fullest.open < open)
            && let Ok(limits) = self.descriptor_limits(pid)
        {
            tree.fullest = Some(DescriptorUse {
                pid,
                open,
                limit: limits.soft,
            });
        }
    }

    fn proportional(&mut self, pid: u32) -> Result<Bytes, ProcError> {
        self.below(&format!("proc/{pid}/smaps_rollup"), |text| {
            process::row(text, "Pss").map(Bytes::from_kib)
        })
    }
}

/// The fields behind the name: state is the 3rd, the parent the 4th, `utime`, `stime`, `cutime`, `cstime` the 14th to 17th.
fn row(pid: u32, text: &str) -> Result<ProcessRow, Malformed> {
    let (before, behind) = text
        .rsplit_once(')')
        .ok_or_else(|| Malformed("there is no name in brackets".into()))?;
    let name = before.split_once('(').map_or("", |(_, name)| name);
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let field = |index: usize, name| number(fields.get(index - 3).copied(), name);
    let parent: u64 = field(4, "ppid")?;
    Ok(ProcessRow {
        pid,
        parent: u32::try_from(parent).unwrap_or(0),
        name: name.to_owned(),
        ended: matches!(fields.first(), Some(&("Z" | "X"))),
        ticks: field(14, "utime")? + field(15, "stime")?,
        // Negative in no kernel, though they are signed.
        children_ticks: field(16, "cutime")? + field(17, "cstime")?,
    })
}

/// The rows that belong to a tree, ascending by number, so that a parent usually comes before its children.
fn members(rows: Vec<ProcessRow>, root: TreeRoot) -> Vec<ProcessRow> {
    let (TreeRoot::From(first) | TreeRoot::Below(first)) = root;
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in &rows {
        children.entry(row.parent).or_default().push(row.pid);
    }
    let mut found = BTreeSet::from([first]);
    let mut to_visit = vec![first];
    while let Some(pid) = to_visit.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                to_visit.push(*child);
            }
        }
    }
    if matches!(root, TreeRoot::Below(_)) {
        found.remove(&first);
    }
    let mut members: Vec<ProcessRow> = rows
        .into_iter()
        .filter(|row| found.contains(&row.pid) && !row.ended)
        .collect();
    members.sort_by_key(|row| row.pid);
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pid: u32, parent: u32, state: &str) -> ProcessRow {
        let text = format!(
            "{pid} (a (b) c) {state} {parent} 1 1 0 -1 4194560 10 0 0 0 7 5 3 2 20 0 1 0 987654 1 2 3"
        );
        row(pid, &text).expect("a row")
    }

    #[test]
    fn a_row_is_read_behind_its_name() {
        let row = of(9, 4, "S");
        assert_eq!((row.parent, row.ticks, row.children_ticks), (4, 12, 5));
        assert_eq!(row.name, "a (b) c");
        assert!(!row.ended);
        assert!(super::row(1, "1 nothing").is_err());
        assert!(super::row(1, "1 (x) S").is_err());
    }

    #[test]
    fn a_tree_has_all_descendants_that_live() {
        // A child may have a smaller number than its parent, once numbers are given out again.
        let rows = vec![
            of(1, 0, "S"),
            of(10, 1, "S"),
            of(11, 10, "S"),
            of(5, 11, "S"),
            of(12, 11, "Z"),
            of(20, 1, "S"),
        ];
        let pids = |root| -> Vec<u32> {
            members(rows.clone(), root)
                .iter()
                .map(|row| row.pid)
                .collect()
        };
        assert_eq!(pids(TreeRoot::From(10)), [5, 10, 11]);
        assert_eq!(pids(TreeRoot::Below(10)), [5, 11]);
        assert_eq!(pids(TreeRoot::From(99)), [0_u32; 0]);
    }

    #[test]
    fn this_process_is_a_tree() {
        let worker = WorkerId::SERVER;
        let own = std::process::id();
        let (sum, tree) = Procfs::new("/")
            .tree_sample(worker, TreeRoot::From(own), true)
            .expect("this process");
        assert!(tree.processes >= 1 && tree.threads >= 1);
        assert!(sum.anonymous > Bytes::ZERO);
        assert!(matches!(tree.proportional, Some(Reading::Present(share)) if share > Bytes::ZERO));
        if let Some(open) = tree.descriptors.present() {
            assert!(*open >= 3, "{open}");
            assert!(tree.fullest.is_some());
        }
    }
}
