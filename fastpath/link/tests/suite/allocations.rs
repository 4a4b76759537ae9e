//! Counts what a thread allocates while it is told to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// How often `run` allocates.
pub(crate) fn counted(run: impl FnOnce()) -> u64 {
    COUNTED.set(Some(0));
    run();
    COUNTED.take().unwrap_or(0)
}

struct Counting;

impl Counting {
    fn count() {
        let _ = COUNTED.try_with(|counted| counted.set(counted.get().map(|n| n + 1)));
    }
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn what_is_allocated_is_counted() {
    let grown = || {
        let mut list = Vec::with_capacity(1);
        list.extend([1, 2, 3]);
        assert_eq!(list.len(), 3);
    };
    assert_eq!(counted(|| ()), 0);
    assert_eq!(counted(grown), 2);
}
