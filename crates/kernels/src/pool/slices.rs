//! Slices and matrices that several threads write at once, each to its own part.

use std::{marker::PhantomData, ops::Range};

/// Some columns of all rows of a matrix, given out by [`strips_mut`](crate::ThreadPool::strips_mut).
#[derive(Debug)]
pub struct StripMut<'a, T> {
    data: &'a SharedSlice<'a, T>,
    row_len: usize,
    num_rows: usize,
    columns: Range<usize>,
}

impl<'a, T> StripMut<'a, T> {
    /// The caller makes no other strip with any of these columns while this one lives.
    pub(super) fn new(
        data: &'a SharedSlice<'a, T>,
        row_len: usize,
        num_rows: usize,
        columns: Range<usize>,
    ) -> Self {
        Self { data, row_len, num_rows, columns }
    }

    /// How many rows the matrix has.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Which columns of the matrix these are.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// This strip's part of a row.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.num_rows, "row {row} of a matrix of {}", self.num_rows);
        let start = row * self.row_len;
        // SAFETY: only this strip has these columns, and it is borrowed mutably for as long as the
        // slice lives. The row was checked above, the columns when the strip was made.
        unsafe { self.data.slice_mut(start + self.columns.start..start + self.columns.end) }
    }
}

/// A slice that several threads write at once, each to its own part.
#[derive(Debug)]
pub(crate) struct SharedSlice<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: through a shared reference the slice can only be reached by `slice_mut`, whose callers
// promise that no two threads hold overlapping parts. `T: Send` lets another thread hold a part.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Self { start: data.as_mut_ptr(), len: data.len(), borrow: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Borrows a part of the slice.
    ///
    /// # Safety
    ///
    /// - While the returned slice lives, no other part that overlaps it may be borrowed.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that parts do not overlap")]
    pub(crate) unsafe fn slice_mut(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part inside the slice");
        // SAFETY: the range is inside the slice that `new` borrowed for `'a`, and the caller
        // promises that no other borrow overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
