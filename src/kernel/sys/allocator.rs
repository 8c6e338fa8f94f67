//! The program's allocator: the system's. On request (`C1M_ALLOCATOR=slabs`) small blocks that must be aligned to 128 bytes come
//! from slabs of our own instead, for comparison.
//!
//! tokio aligns a task and a socket's registration to 128 bytes, and each connection has one of both. glibc puts 16 bytes
//! before every block, so that between two such blocks 112 bytes are lost: 881 bytes for a connection instead of 516
//! (`docs/decisions/0009-the-systems-allocator.md`). In slabs blocks of one size lie side by side.
//!
//! Blocks are taken from and returned to lists of the calling thread, without a lock. A thread that ends leaves its list
//! behind; the threads that allocate such blocks live as long as the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The variable of the environment that chooses. It is looked at once, when the first such block is asked for.
pub const VARIABLE: &std::ffi::CStr = c"C1M_ALLOCATOR";

/// Its value that asks for slabs.
pub const SLABS_WANTED: &std::ffi::CStr = c"slabs";

/// What was chosen: not looked yet, the system's, slabs.
static CHOSEN: AtomicU8 = AtomicU8::new(NOT_LOOKED);
const NOT_LOOKED: u8 = 0;
const SYSTEM: u8 = 1;
const SLABS: u8 = 2;

/// Whether blocks come from slabs. The answer never changes: a block must go back where it came from.
fn from_slabs() -> bool {
    match CHOSEN.load(Ordering::Relaxed) {
        NOT_LOOKED => {
            let chosen = if wants_slabs() { SLABS } else { SYSTEM };
            // Two threads that look at once find the same.
            CHOSEN.store(chosen, Ordering::Relaxed);
            chosen == SLABS
        }
        chosen => chosen == SLABS,
    }
}

/// Looks into the environment without allocating anything.
fn wants_slabs() -> bool {
    // SAFETY: the name ends with a zero byte; this program never changes its environment, so that nobody moves it meanwhile.
    let value = unsafe { libc::getenv(VARIABLE.as_ptr()) };
    if value.is_null() {
        return false;
    }
    // SAFETY: getenv returned a pointer that is not null: text that ends with a zero byte, and stays where it is.
    let value = unsafe { std::ffi::CStr::from_ptr(value) };
    value == SLABS_WANTED
}

/// The alignment that is served here.
const ALIGN: usize = 128;

/// Sizes that are served here: 128, 256, up to this many times 128 bytes.
const CLASSES: usize = 8;

/// Bytes taken from the system at once. They become resident as blocks are taken from them, not before.
const CHUNK: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Allocator;

/// Blocks of one size for one thread: returned ones, and what is left of the last chunk.
struct Slab {
    returned: Cell<*mut u8>,
    next: Cell<*mut u8>,
    left: Cell<usize>,
}

thread_local! {
    // Constant and without a destructor, so that reaching it allocates nothing and works at the end of a thread too.
    static OWN: [Slab; CLASSES] = const {
        [const {
            Slab {
                returned: Cell::new(ptr::null_mut()),
                next: Cell::new(ptr::null_mut()),
                left: Cell::new(0),
            }
        }; CLASSES]
    };
}

/// The class of a layout, where it is served here.
fn class(layout: &Layout) -> Option<usize> {
    let size = layout.size();
    if layout.align() == ALIGN && size > 0 && size <= ALIGN * CLASSES && from_slabs() {
        Some(size.div_ceil(ALIGN) - 1)
    } else {
        None
    }
}

// Every block is aligned to 128 bytes, so that it may hold a pointer.
#[allow(clippy::cast_ptr_alignment)]
impl Slab {
    fn take(&self, class: usize) -> *mut u8 {
        let size = (class + 1) * ALIGN;
        let returned = self.returned.get();
        if !returned.is_null() {
            // SAFETY: a returned block is ours, aligned, larger than a pointer, and holds the pointer to the next one,
            // which `give` wrote there.
            self.returned
                .set(unsafe { returned.cast::<*mut u8>().read() });
            return returned;
        }
        if self.left.get() < size {
            let Ok(chunk) = Layout::from_size_align(CHUNK, ALIGN) else {
                return ptr::null_mut();
            };
            // SAFETY: the layout is not of size zero.
            let fresh = unsafe { System.alloc(chunk) };
            if fresh.is_null() {
                return fresh;
            }
            self.next.set(fresh);
            self.left.set(CHUNK);
        }
        let block = self.next.get();
        // SAFETY: `left` says that at least `size` bytes of the chunk lie behind `block`.
        self.next.set(unsafe { block.add(size) });
        self.left.set(self.left.get() - size);
        block
    }

    fn give(&self, block: *mut u8) {
        // SAFETY: the caller gives up a block of at least 128 bytes that is aligned to as many; nobody reads it any more.
        unsafe { block.cast::<*mut u8>().write(self.returned.get()) };
        self.returned.set(block);
    }
}

// SAFETY: a block of a class is at least as large as its layout asks, a multiple of 128 bytes into a chunk that is
// aligned to 128 bytes, and in at most one place: handed out, or in one list. Everything else is the system's, for
// allocating and for freeing alike, because `class` depends on the layout, which is the same for both, and on a choice that
// never changes.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(&layout) {
            Some(class) => OWN.with(|slabs| slabs[class].take(class)),
            // SAFETY: the caller's promises are the same.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(&layout) else {
            // SAFETY: the caller's promises are the same.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let block = OWN.with(|slabs| slabs[class].take(class));
        if !block.is_null() {
            // SAFETY: the block has at least this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(&layout) {
            Some(class) => OWN.with(|slabs| slabs[class].give(block)),
            // SAFETY: the block came from the system, see above.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() != ALIGN {
            // SAFETY: no layout of this alignment is served here, so the block came from the system.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, ALIGN) else {
            return ptr::null_mut();
        };
        // SAFETY: the new layout is not of size zero, as the caller promises.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both blocks are valid for the lesser of both sizes and are not the same.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(new_size)) };
            // SAFETY: the block was allocated with this layout, as the caller promises.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block as tokio asks for it.
    #[repr(align(128))]
    struct Aligned([u8; 200]);

    /// Slabs of their own, whatever the program chose.
    #[test]
    fn blocks_lie_side_by_side_and_are_used_again() {
        let slab = Slab {
            returned: Cell::new(ptr::null_mut()),
            next: Cell::new(ptr::null_mut()),
            left: Cell::new(0),
        };
        let blocks: Vec<*mut u8> = (0..100).map(|_| slab.take(1)).collect();
        assert!(blocks.iter().all(|block| block.addr() % 128 == 0));
        let neighbours = blocks
            .windows(2)
            .filter(|pair| pair[1].addr() == pair[0].addr() + 256)
            .count();
        assert_eq!(neighbours, 99, "a chunk has room for 256 of them");
        slab.give(blocks[7]);
        assert_eq!(slab.take(1), blocks[7]);
    }

    #[test]
    fn the_systems_allocator_serves_unless_slabs_are_asked_for() {
        assert!(std::env::var_os("C1M_ALLOCATOR").is_none() && !from_slabs());
        let block = Box::new(Aligned([1; 200]));
        assert_eq!(ptr::from_ref(&*block).addr() % 128, 0);
    }

    #[test]
    fn a_vector_of_aligned_things_keeps_what_it_holds_while_it_grows() {
        let mut things = Vec::new();
        for fill in 0..50 {
            things.push(Aligned([fill; 200]));
        }
        assert!((0..50).all(|fill| things[usize::from(fill)].0 == [fill; 200]));
    }
}
