//! Small blocks of memory that were given back are given out again, by size.
//!
//! An acquire and a release allocate five blocks of a few hundred bytes, always the same sizes. To find room for them
//! anew each time, and to join what is free to its neighbours, was a twelfth of what they cost. What lies in a bin stays
//! there: an instance has as much of each size as it ever had in use at once, and WebAssembly knows no way to give memory
//! back in any case.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

/// What a block may be aligned to, and how much larger those of the next bin are.
const STEP: usize = 8;
/// As much more than a multiple of the step has a block of dlmalloc's: the bins are for its own sizes, and nothing is lost.
const MORE: usize = 4;
/// The largest block that is kept has some 500 bytes, as a record with room for long names.
const BINS: usize = 64;

/// A bin for each size of small blocks, in front of an allocator that provides them, and all that is larger. For one
/// thread only.
pub(crate) struct Bins<A> {
    behind: A,
    /// The block given back last of each size; each has the address of the one before it in its first bytes.
    free: UnsafeCell<[*mut u8; BINS]>,
}

// SAFETY: without the feature `atomics` there are no threads in WebAssembly.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
unsafe impl<A: Sync> Sync for Bins<A> {}

impl<A> Bins<A> {
    /// All are empty.
    pub(crate) const fn before(behind: A) -> Self {
        Bins { behind, free: UnsafeCell::new([ptr::null_mut(); BINS]) }
    }

    /// Which bin is for such blocks; none: they are not kept.
    fn bin(layout: Layout) -> Option<usize> {
        // The smallest has room for the address of another.
        let bin = layout.size().saturating_sub(MORE).div_ceil(STEP).max(1);
        (bin < BINS && layout.align() <= STEP).then_some(bin)
    }

    /// How its blocks are made.
    fn block(bin: usize) -> Layout {
        // SAFETY: so small, and aligned to a power of two.
        unsafe { Layout::from_size_align_unchecked(bin * STEP + MORE, STEP) }
    }
}

// SAFETY: a block is in its bin or with whoever allocated it, never both. One of a bin has that bin's size and alignment,
// by which its owner's layout leads to the same bin again; every other one comes from the allocator behind, and goes
// there.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Bins<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(bin) = Self::bin(layout) else { return unsafe { self.behind.alloc(layout) } };
        let free = unsafe { &mut (*self.free.get())[bin] };
        if free.is_null() {
            return unsafe { self.behind.alloc(Self::block(bin)) };
        }
        let block = *free;
        *free = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(bin) = Self::bin(layout) else { return unsafe { self.behind.dealloc(block, layout) } };
        let free = unsafe { &mut (*self.free.get())[bin] };
        unsafe { block.cast::<*mut u8>().write(*free) };
        *free = block;
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (Self::bin(layout), Self::bin(new)) {
            (None, None) => unsafe { self.behind.realloc(block, layout, size) },
            (before, after) if before == after => block,
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use proptest::prelude::*;

    use super::*;

    /// A block in use, and the byte that it is full of.
    type Block = (*mut u8, Layout, u8);

    fn fill((block, layout, byte): Block) -> Block {
        unsafe { block.write_bytes(byte, layout.size()) };
        (block, layout, byte)
    }

    fn is_full((block, layout, byte): Block, size: usize) -> bool {
        (0..layout.size().min(size)).all(|at| unsafe { block.add(at).read() } == byte)
    }

    proptest! {
        #[test]
        fn blocks_in_use_keep_their_contents_and_lie_as_they_were_to(
            deeds in prop::collection::vec((0..3_u8, 1..700_usize, 0..7_u32, any::<prop::sample::Index>()), 1..300),
        ) {
            let bins = Bins::before(System);
            let mut used: Vec<Block> = Vec::new();
            for (number, (deed, size, align, which)) in deeds.into_iter().enumerate() {
                let layout = Layout::from_size_align(size, 1 << align).unwrap();
                if deed == 0 || used.is_empty() {
                    used.push(fill((unsafe { bins.alloc(layout) }, layout, number as u8)));
                } else {
                    let (block, old, byte) = used.swap_remove(which.index(used.len()));
                    prop_assert!(is_full((block, old, byte), old.size()));
                    if deed == 1 {
                        unsafe { bins.dealloc(block, old) };
                    } else {
                        let new = Layout::from_size_align(size, old.align()).unwrap();
                        let moved = (unsafe { bins.realloc(block, old, size) }, new, byte);
                        prop_assert!(is_full(moved, old.size()));
                        used.push(fill(moved));
                    }
                }
                prop_assert!(used.iter().all(|(block, layout, _)| block.align_offset(layout.align()) == 0));
            }
            prop_assert!(used.iter().all(|block| is_full(*block, usize::MAX)));
            used.into_iter().for_each(|(block, layout, _)| unsafe { bins.dealloc(block, layout) });
        }
    }

    #[test]
    fn what_was_given_back_is_what_is_given_out_next_to_whoever_wants_as_much() {
        let bins = Bins::before(System);
        let (small, large) = (Layout::new::<[u8; 200]>(), Layout::new::<[u8; 600]>());
        let block = unsafe { bins.alloc(small) };
        unsafe { bins.dealloc(block, small) };
        assert_eq!(unsafe { bins.alloc(Layout::new::<[u32; 51]>()) }, block, "204 bytes is the same step as 200");
        let grown = unsafe { bins.realloc(block, small, large.size()) };
        assert_eq!(unsafe { bins.alloc(small) }, block, "what is too small now is kept");
        unsafe { bins.dealloc(block, small) };
        unsafe { bins.dealloc(grown, large) };
    }
}
