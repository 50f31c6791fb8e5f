//! Counts what a piece of code allocates, so that a test can say how much memory a message may cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Constant initial values and no destructors: counting allocates nothing itself.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts the bytes of each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes on to the system's allocator as it came; counting touches only this thread's cells.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the layout is the caller's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the block came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    // SAFETY: the caller keeps the promises of `GlobalAlloc::realloc`.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if the block moved, which it may: for a moment both are there.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the block came from `System` with this layout, and the size is the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The most bytes that `run` had allocated at once, on this thread.
pub(crate) fn peak_of<T>(run: impl FnOnce() -> T) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    let value = run();
    let peak = PEAK.get();
    drop(value);
    usize::try_from(peak - before).expect("the peak is not below the start")
}

#[test]
fn allocations_are_counted() {
    assert_eq!(peak_of(|| 7), 0);
    assert_eq!(peak_of(|| vec![0_u8; 1_000]), 1_000);
    let twice = peak_of(|| {
        drop(vec![0_u8; 1_000]);
        vec![0_u8; 500]
    });
    assert_eq!(twice, 1_000);
}
