//! Cutting work into pieces that threads take, and writing to disjoint parts of one matrix from several of them.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

/// Below this many elementary operations a kernel runs on the calling thread: waking others would cost more.
const SERIAL: usize = 1 << 16;

/// Runs `work` for every piece, in parallel when `operations` (in all) are worth it. The pieces are the same either way.
pub(super) fn for_each_piece(pieces: usize, operations: usize, work: impl Fn(usize) + Sync + Send) {
    if pieces == 1 || operations < SERIAL {
        (0..pieces).for_each(work);
    } else {
        (0..pieces).into_par_iter().with_max_len(1).for_each(work);
    }
}

/// The results of `work` for every piece, in order; in parallel when `operations` (in all) are worth it.
pub(super) fn map_pieces<T: Send>(pieces: usize, operations: usize, work: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if pieces == 1 || operations < SERIAL {
        (0..pieces).map(work).collect()
    } else {
        (0..pieces).into_par_iter().with_max_len(1).map(work).collect()
    }
}

/// Cuts `0..len` into equal ranges of at most `piece` (the last may be shorter).
pub(super) fn range(index: usize, piece: usize, len: usize) -> Range<usize> {
    index * piece..((index + 1) * piece).min(len)
}

/// A slice that several threads write to, each its own part.
pub(super) struct Shared<'a> {
    first: *mut f32,
    len: usize,
    _slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Shared` only hands out parts through `part`, whose caller promises that parts in use at the same time do not
// overlap; f32 is `Send`.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Takes a slice to share out.
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Self { first: slice.as_mut_ptr(), len: slice.len(), _slice: PhantomData }
    }

    /// One part of it.
    ///
    /// # Safety
    /// Parts in use at the same time, on any thread, must not overlap.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of the slice");
        // SAFETY: inside the slice (just checked), which is borrowed mutably for as long as `self` lives; not aliased, by
        // the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(range.start), range.len()) }
    }

    /// Where it starts, for kernels that take pointers.
    pub(super) fn as_ptr(&self) -> *mut f32 {
        self.first
    }

    /// How long it is.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
