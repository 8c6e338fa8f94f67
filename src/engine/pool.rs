//! A few working buffers for many threads: who has one may work, the others wait. So only as many threads dial or verify
//! at once as there are buffers, and a table's thread keeps none while it only holds.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The pool.
#[derive(Debug)]
pub(super) struct Pool<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    free: Vec<T>,
    /// Whose turn it is, among those that come in turn.
    next: usize,
}

impl<T> Pool<T> {
    /// A pool of these.
    pub(super) fn new(items: Vec<T>) -> Self {
        Self {
            state: Mutex::new(State {
                free: items,
                next: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for one. It goes back when it is dropped.
    pub(super) fn acquire(&self) -> PoolGuard<'_, T> {
        self.take(self.wait_while(|state| state.free.is_empty()))
    }

    /// The same for thread `index`, once, after all threads with a lesser index.
    pub(super) fn acquire_in_turn(&self, index: usize) -> PoolGuard<'_, T> {
        let mut state = self.wait_while(|state| state.next != index || state.free.is_empty());
        state.next += 1;
        self.changed.notify_all();
        self.take(state)
    }

    /// Thread `index` wants none in its turn.
    pub(super) fn pass_turn(&self, index: usize) {
        let mut state = self.wait_while(|state| state.next != index);
        state.next += 1;
        self.changed.notify_all();
    }

    fn take(&self, mut state: MutexGuard<'_, State<T>>) -> PoolGuard<'_, T> {
        PoolGuard {
            item: state.free.pop(),
            pool: self,
        }
    }

    fn wait_while(&self, condition: impl FnMut(&mut State<T>) -> bool) -> MutexGuard<'_, State<T>> {
        self.changed
            .wait_while(self.state(), condition)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.pool.state().free.extend(self.item.take());
        // All, because not everybody who waits may take it.
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn those_who_come_in_turn_come_in_their_order() {
        let pool = Pool::new(vec![()]);
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for index in (0..8).rev() {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    if index == 5 {
                        return pool.pass_turn(index);
                    }
                    let _slot = pool.acquire_in_turn(index);
                    order.lock().expect("not poisoned").push(index);
                });
            }
        });
        let order = order.into_inner().expect("not poisoned");
        assert_eq!(order, [0, 1, 2, 3, 4, 6, 7]);
        drop(pool.acquire());
    }
}
