//! An allocator of size classes: small blocks that were freed are reused by size.
//!
//! An acquire and a release allocate five blocks of a few hundred bytes, always of the same sizes. A search for room, and
//! joining free blocks to their neighbours, took a twelfth of that time. A block stays in its class for good: an instance
//! keeps as much of each size as it ever had in use at once. WebAssembly cannot give memory back in any case.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;

/// The largest alignment of a block, and the difference between two classes.
const STEP: usize = 8;
/// What a block has beyond a multiple of the step. These are the sizes of dlmalloc's own blocks, so nothing is wasted.
const MORE: usize = 4;
/// The largest block of a class has some 500 bytes, like a record with room for long names.
const CLASSES: usize = 64;

/// A free list for each class of small blocks, in front of an allocator that provides these and all larger ones. For one
/// thread only.
pub(crate) struct SizeClasses<A> {
    fallback: A,
    /// The block freed last of each class. The first bytes of each hold the address of the one freed before it.
    free: UnsafeCell<[*mut u8; CLASSES]>,
}

// SAFETY: without the feature `atomics` there are no threads in WebAssembly.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
unsafe impl<A: Sync> Sync for SizeClasses<A> {}

impl<A> SizeClasses<A> {
    /// Puts empty classes in front of an allocator.
    pub(crate) const fn in_front_of(fallback: A) -> Self {
        SizeClasses { fallback, free: UnsafeCell::new([ptr::null_mut(); CLASSES]) }
    }

    /// Returns the class of such blocks; none if they have no class.
    fn class(layout: Layout) -> Option<usize> {
        // The smallest has room for the address of another.
        let class = layout.size().saturating_sub(MORE).div_ceil(STEP).max(1);
        (class < CLASSES && layout.align() <= STEP).then_some(class)
    }

    /// Returns the layout of all blocks of a class.
    fn block(class: usize) -> Layout {
        // SAFETY: the size is small, and the alignment a power of two.
        unsafe { Layout::from_size_align_unchecked(class * STEP + MORE, STEP) }
    }
}

// SAFETY: a block is in the list of its class or with its owner, never both. A block of a class has the size and alignment
// of that class, and its owner's layout leads to the same class again. Every other block comes from the fallback, and
// returns there.
unsafe impl<A: GlobalAlloc> GlobalAlloc for SizeClasses<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Self::class(layout) else { return unsafe { self.fallback.alloc(layout) } };
        let free = unsafe { &mut (*self.free.get())[class] };
        if free.is_null() {
            return unsafe { self.fallback.alloc(Self::block(class)) };
        }
        let block = *free;
        *free = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = Self::class(layout) else { return unsafe { self.fallback.dealloc(block, layout) } };
        let free = unsafe { &mut (*self.free.get())[class] };
        unsafe { block.cast::<*mut u8>().write(*free) };
        *free = block;
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (Self::class(layout), Self::class(new)) {
            (None, None) => unsafe { self.fallback.realloc(block, layout, size) },
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
        fn blocks_in_use_keep_their_contents_and_alignment(
            steps in prop::collection::vec((0..3_u8, 1..700_usize, 0..7_u32, any::<prop::sample::Index>()), 1..300),
        ) {
            let classes = SizeClasses::in_front_of(System);
            let mut used: Vec<Block> = Vec::new();
            for (number, (step, size, align, which)) in steps.into_iter().enumerate() {
                let layout = Layout::from_size_align(size, 1 << align).unwrap();
                if step == 0 || used.is_empty() {
                    used.push(fill((unsafe { classes.alloc(layout) }, layout, number as u8)));
                } else {
                    let (block, old, byte) = used.swap_remove(which.index(used.len()));
                    prop_assert!(is_full((block, old, byte), old.size()));
                    if step == 1 {
                        unsafe { classes.dealloc(block, old) };
                    } else {
                        let new = Layout::from_size_align(size, old.align()).unwrap();
                        let moved = (unsafe { classes.realloc(block, old, size) }, new, byte);
                        prop_assert!(is_full(moved, old.size()));
                        used.push(fill(moved));
                    }
                }
                prop_assert!(used.iter().all(|(block, layout, _)| block.align_offset(layout.align()) == 0));
            }
            prop_assert!(used.iter().all(|block| is_full(*block, usize::MAX)));
            used.into_iter().for_each(|(block, layout, _)| unsafe { classes.dealloc(block, layout) });
        }
    }

    #[test]
    fn a_freed_block_is_the_next_that_its_size_class_gives_out() {
        let classes = SizeClasses::in_front_of(System);
        let (small, large) = (Layout::new::<[u8; 200]>(), Layout::new::<[u8; 600]>());
        let block = unsafe { classes.alloc(small) };
        unsafe { classes.dealloc(block, small) };
        assert_eq!(
            unsafe { classes.alloc(Layout::new::<[u32; 51]>()) },
            block,
            "204 bytes are of the same class as 200"
        );
        let grown = unsafe { classes.realloc(block, small, large.size()) };
        assert_eq!(unsafe { classes.alloc(small) }, block, "the block that was too small is kept");
        unsafe { classes.dealloc(block, small) };
        unsafe { classes.dealloc(grown, large) };
    }
}
