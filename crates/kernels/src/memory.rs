//! Large zeroed memory whose pages come into being when they are first written.

use std::{
    alloc::{self, Layout},
    fmt,
    marker::PhantomData,
    ptr::NonNull,
};

use half::f16;

use crate::Error;

/// A cache line, and the width of the widest vector.
const ALIGNMENT: usize = 64;

/// From this size on the memory starts at a huge page, and the system is asked to use such pages:
/// reading is 5 to 20 % faster where the translation of addresses has less to look up.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A number whose value zero is all zero bytes.
///
/// # Safety
///
/// - All zero bytes must be a value of the type.
/// - The type must be `Copy`, so that nothing needs to be dropped, and aligned to 64 bytes at most.
pub(crate) unsafe trait Zero: Copy + Send + Sync {}

// SAFETY: every pattern of bits is a `u8`.
unsafe impl Zero for u8 {}
// SAFETY: every pattern of bits is an `f16`, which is aligned to 2 bytes.
unsafe impl Zero for f16 {}
// SAFETY: an array is its items one after the other, and aligned as one of them.
unsafe impl<T: Zero, const N: usize> Zero for [T; N] {}

/// `len` zeros, aligned to a cache line.
///
/// The memory is over-allocated and aligned here: asked for zeros at a large alignment, the
/// allocator would write them itself and so touch every page.
pub(crate) struct Zeroed<T> {
    allocation: NonNull<u8>,
    layout: Layout,
    start: NonNull<T>,
    len: usize,
    owned: PhantomData<T>,
}

// SAFETY: this owns its memory as a boxed slice does, and a `Zero` is `Send`.
unsafe impl<T: Zero> Send for Zeroed<T> {}
// SAFETY: a shared reference only gives shared slices, and a `Zero` is `Sync`.
unsafe impl<T: Zero> Sync for Zeroed<T> {}

impl<T: Zero> Zeroed<T> {
    /// `what` names the use in the error.
    pub(crate) fn new(len: usize, what: &'static str) -> Result<Self, Error> {
        let too_large = || Error::SizeOverflow { what, factors: vec![len, size_of::<T>()] };
        let num_bytes = len.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        let alignment = if num_bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { ALIGNMENT };
        // One more than the slack that aligning may skip, so that the size is never zero.
        let padded = num_bytes.checked_add(alignment).ok_or_else(too_large)?;
        let layout = Layout::from_size_align(padded, align_of::<T>()).map_err(|_| too_large())?;
        // SAFETY: the layout has at least `ALIGNMENT` bytes.
        let allocation = unsafe { alloc::alloc_zeroed(layout) };
        let allocation = NonNull::new(allocation).ok_or(Error::OutOfMemory { what, num_bytes })?;
        let skip = allocation.addr().get().next_multiple_of(alignment) - allocation.addr().get();
        // SAFETY: `skip` is less than `alignment`, by which the allocation is longer than needed.
        let start = unsafe { allocation.add(skip) };
        ask_for_huge_pages(start, num_bytes);
        Ok(Self { allocation, layout, start: start.cast(), len, owned: PhantomData })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `len` values from `offset` on.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> &[T] {
        assert!(offset <= self.len && len <= self.len - offset, "a part inside the memory");
        // SAFETY: the range is inside the allocation, which holds zeros or what was written since;
        // writers hold `&mut self` or have promised not to overlap.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: the memory is initialized, as it began as zeros, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout by the same allocator, and is freed once.
        unsafe { alloc::dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

impl<T> fmt::Debug for Zeroed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zeroed").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Only whole huge pages are asked for: rounding down keeps the request inside the allocation.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(start: NonNull<u8>, num_bytes: usize) {
    let whole_pages = num_bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if whole_pages > 0 {
        // SAFETY: the range is page-aligned and part of one live allocation; the advice changes no
        // content. Where the system declines, small pages serve as well.
        unsafe { libc::madvise(start.as_ptr().cast(), whole_pages, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_start: NonNull<u8>, _num_bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable() {
        for len in [0, 1, 31, 1 << 19, (1 << 21) + 5] {
            let mut memory = Zeroed::<f16>::new(len, "a test").unwrap();
            assert_eq!(memory.slice(0, len).as_ptr().addr() % ALIGNMENT, 0);
            assert!(memory.slice(0, len).iter().all(|value| value.to_bits() == 0));
            memory.as_mut_slice().fill(f16::ONE);
            assert!(memory.slice(0, len).iter().all(|value| *value == f16::ONE));
            assert_eq!(memory.len(), len);
        }
    }

    #[test]
    fn too_much_is_an_error_that_names_it() {
        let overflow = Zeroed::<f16>::new(usize::MAX, "a test").err();
        let factors = vec![usize::MAX, 2];
        assert_eq!(overflow, Some(Error::SizeOverflow { what: "a test", factors }));
        let refused = Zeroed::<f16>::new(1 << 60, "a test").err();
        assert_eq!(refused, Some(Error::OutOfMemory { what: "a test", num_bytes: 1 << 61 }));
    }
}
