//! Threads with descriptor tables of their own: how they are started, and how the starter learns that all of them are
//! there.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use super::EngineError;
use crate::kernel::sys::fdtable::{self, Descriptor, OwnTable};

/// How many threads in how many tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Threads {
    /// Descriptor tables.
    pub(super) tables: usize,
    /// Threads that share each table.
    pub(super) per_table: usize,
    /// Stack of each thread, in bytes. Only the pages that are touched count.
    pub(super) stack: usize,
}

/// What the threads do.
struct Life<W, E> {
    threads: Threads,
    work: W,
    end: E,
}

/// Starts every thread, each numbered from 0 over all tables, and returns when all tables are made. Each table keeps `keep`.
/// `work` is the life of a thread. `end` is called once for each table, when all its threads have come back from `work`;
/// it gets their numbers.
///
/// Neither captures the owner of a descriptor, see [`fdtable::spawn`].
pub(super) fn spawn_tables(
    threads: Threads,
    keep: &[Descriptor],
    work: impl Fn(usize, &OwnTable) + Send + Sync + 'static,
    end: impl Fn(&OwnTable, Range<usize>) + Send + Sync + 'static,
) -> Result<(), EngineError> {
    let life = Arc::new(Life { threads, work, end });
    let (ready, results) = mpsc::channel();
    for table in 0..threads.tables {
        let (life, ready) = (Arc::clone(&life), ready.clone());
        let builder = thread::Builder::new().stack_size(threads.stack);
        fdtable::spawn(builder, keep.to_vec(), move |made| match made {
            Ok(own) => life.live(table, &own, ready),
            // The starter is gone only when another table could not be made.
            Err(why) => drop(ready.send(Err(EngineError::Table {
                index: table,
                wanted: threads.tables,
                why,
            }))),
        })
        .map_err(|why| threads.not_started(table, why))?;
    }
    drop(ready);
    results.into_iter().collect()
}

impl<W, E> Life<W, E>
where
    W: Fn(usize, &OwnTable) + Sync,
    E: Fn(&OwnTable, Range<usize>) + Sync,
{
    /// The life of the thread that made a table. The other threads of the table are started by it, so that they share it.
    fn live(&self, table: usize, own: &OwnTable, ready: Sender<Result<(), EngineError>>) {
        let first = table * self.threads.per_table;
        let numbers = first..first + self.threads.per_table;
        let failed = thread::scope(|scope| {
            for number in first + 1..numbers.end {
                let builder = thread::Builder::new().stack_size(self.threads.stack);
                if let Err(why) = builder.spawn_scoped(scope, move || (self.work)(number, own)) {
                    // The process ends by this error, and with it the threads that were started before.
                    let _ = ready.send(Err(self.threads.not_started(number, why)));
                    return true;
                }
            }
            let _ = ready.send(Ok(()));
            drop(ready);
            (self.work)(first, own);
            false
        });
        if !failed {
            (self.end)(own, numbers);
        }
    }
}

impl Threads {
    fn not_started(self, index: usize, why: std::io::Error) -> EngineError {
        EngineError::Thread {
            index,
            wanted: self.tables * self.per_table,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_thread_works_once_before_its_table_ends() {
        let threads = Threads {
            tables: 3,
            per_table: 2,
            stack: 64 * 1024,
        };
        let (done, ended) = mpsc::channel();
        let worked = Arc::new(Mutex::new(Vec::new()));
        let (seen, done) = (Arc::clone(&worked), Mutex::new(done));
        let work = move |number, table: &OwnTable| {
            assert_eq!(table.first_free(), Descriptor::FIRST_OWN);
            worked.lock().expect("no panic").push(number);
        };
        let end = move |_: &OwnTable, numbers: Range<usize>| {
            let all = seen.lock().expect("no panic").clone();
            assert!(numbers.clone().all(|number| all.contains(&number)));
            done.lock()
                .expect("no panic")
                .send(numbers)
                .expect("waited for");
        };
        spawn_tables(threads, &[], work, end).expect("starts");
        let mut ended: Vec<usize> = ended.iter().flatten().collect();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_table_that_cannot_be_made_is_an_error() {
        let threads = Threads {
            tables: 2,
            per_table: 1,
            stack: 64 * 1024,
        };
        let not_open = Descriptor::from_number(900_000);
        let error = spawn_tables(threads, &[not_open], |_, _| (), |_, _| ());
        assert!(matches!(error, Err(EngineError::Table { wanted: 2, .. })));
    }
}
