//! Matrix products on the `gemm` crate's kernels, cut into pieces by us so that the cut never depends on threads.

use super::pieces::{Shared, for_each_piece, range};
use crate::tensor::kernels::{Matrix, Product};

/// Multiplications a piece should have at least.
const PIECE: usize = 1 << 22;
/// About as many pieces as this for a whole batch of products: every piece packs the factor it shares with the others anew.
const MOST: usize = 32;

/// `batch` products, see [`Product`].
pub(super) fn product(p: &Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    if p.batch * p.m * p.n == 0 {
        return;
    }
    assert!(p.c.col == 1, "the result of a product is row-major");
    let multiplications = p.m * p.n * p.k;
    let pieces = (multiplications / PIECE).clamp(1, (MOST / p.batch).max(1));
    let by_rows = p.m >= p.n;
    // whole micro-panels: 16 divides every tile size of the kernels
    let piece = (if by_rows { p.m } else { p.n }).div_ceil(pieces).next_multiple_of(16);
    let pieces = (if by_rows { p.m } else { p.n }).div_ceil(piece);
    let c = Shared::new(c);
    for_each_piece(p.batch * pieces, p.batch * multiplications, |index| {
        let (e, part) = (index / pieces, index % pieces);
        let (rows, cols) = if by_rows { (range(part, piece, p.m), 0..p.n) } else { (0..p.m, range(part, piece, p.n)) };
        let at = |matrix: Matrix, i: usize, j: usize| Matrix {
            offset: matrix.offset + e * matrix.batch + i * matrix.row + j * matrix.col,
            ..matrix
        };
        let one = Product {
            batch: 1,
            m: rows.len(),
            k: p.k,
            n: cols.len(),
            a: at(p.a, rows.start, 0),
            b: at(p.b, 0, cols.start),
            c: at(p.c, rows.start, cols.start),
            accumulate: p.accumulate,
        };
        // SAFETY: pieces are disjoint row or column ranges of disjoint matrices of C.
        unsafe { single(&one, a, b, &c) };
    });
}

/// One product on the calling thread; for kernels that do their own cutting.
pub(super) fn serial(p: &Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(p.batch == 1 && p.c.col == 1);
    if p.m * p.n > 0 {
        // SAFETY: C is borrowed mutably, nobody else writes to it.
        unsafe { single(p, a, b, &Shared::new(c)) }
    }
}

/// One product, bounds checked.
///
/// # Safety
/// Nobody else may use the m×n elements of C that it writes.
pub(super) unsafe fn single(p: &Product, a: &[f32], b: &[f32], c: &Shared) {
    p.check(a.len(), b.len(), c.len());
    // SAFETY: every element the strides reach lies within the slices (just checked); C's elements are distinct (row-major,
    // row stride at least n by the same check of each caller's shape) and unaliased by the caller's promise.
    unsafe {
        gemm::gemm(
            p.m,
            p.n,
            p.k,
            c.as_ptr().add(p.c.offset),
            p.c.col as isize,
            p.c.row as isize,
            p.accumulate,
            a.as_ptr().add(p.a.offset.min(a.len())),
            p.a.col as isize,
            p.a.row as isize,
            b.as_ptr().add(p.b.offset.min(b.len())),
            p.b.col as isize,
            p.b.row as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
