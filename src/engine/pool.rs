//! A few working buffers for many threads: who has one may work, the others wait. So only as many threads dial or verify
//! at once as there are buffers, and a table's thread keeps none while it only holds.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};

/// The pool.
#[derive(Debug)]
pub(super) struct Pool<T> {
    free: Mutex<Vec<T>>,
    returned: Condvar,
}

impl<T> Pool<T> {
    /// A pool of these.
    pub(super) fn new(items: Vec<T>) -> Self {
        Self {
            free: Mutex::new(items),
            returned: Condvar::new(),
        }
    }

    /// Waits for one. It goes back when it is dropped.
    pub(super) fn acquire(&self) -> PoolGuard<'_, T> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .returned
            .wait_while(free, |free| free.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        PoolGuard {
            item: free.pop(),
            pool: self,
        }
    }
}

/// An item that its holder works with.
#[derive(Debug)]
pub(super) struct PoolGuard<'a, T> {
    item: Option<T>,
    pool: &'a Pool<T>,
}

impl<T> Deref for PoolGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.item.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for PoolGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for PoolGuard<'_, T> {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.extend(self.item.take());
        self.pool.returned.notify_one();
    }
}
