//! RMSNorm: rows divided by their root mean square.

use super::lanes::dot;
use super::pieces::{Shared, for_each_piece, range};
use super::reduce::ROWS;
use super::scratch::Scratch;
use crate::tensor::kernels::RMS_EPS;

/// `out = gain ⊙ x/√(mean(x²) + ε)` row by row.
pub(super) fn forward(cols: usize, x: &[f32], gain: &[f32], out: &mut [f32]) {
    let rows = x.len() / cols;
    let out = Shared::new(out);
    for_each_piece(rows.div_ceil(ROWS), x.len(), |tile| {
        let rows = range(tile, ROWS, rows);
        let at = rows.start * cols..rows.end * cols;
        // SAFETY: each tile has its own rows.
        apply(&x[at.clone()], gain, unsafe { out.part(at) });
    });
}

/// One over the root mean square of a row.
#[inline(always)]
fn inverse(x: &[f32]) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + RMS_EPS).sqrt()
}

simd_fn! {
    /// [`forward`] on some rows.
    fn apply(x: &[f32], gain: &[f32], out: &mut [f32]) {
        let cols = gain.len();
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            let inverse = inverse(x);
            for j in 0..cols {
                out[j] = x[j] * inverse * gain[j];
            }
        }
    }
}

/// Pull-back: `cotangent` becomes the gradient of x.
pub(super) fn backward(
    cols: usize,
    (x, gain): (&[f32], &[f32]),
    cotangent: &mut [f32],
    (gain_sink, accumulate): (&mut [f32], bool),
) {
    let rows = x.len() / cols;
    let tiles = rows.div_ceil(ROWS);
    let mut partials = Scratch::take(tiles * cols);
    let (shared, cotangent) = (Shared::new(&mut partials), Shared::new(cotangent));
    for_each_piece(tiles, x.len(), |tile| {
        let rows = range(tile, ROWS, rows);
        let at = rows.start * cols..rows.end * cols;
        // SAFETY: each tile has its own rows and its own partial sums.
        let (c, sums) = unsafe { (cotangent.part(at.clone()), shared.part(tile * cols..(tile + 1) * cols)) };
        pull(&x[at], gain, c, sums);
    });
    for (j, sink) in gain_sink.iter_mut().enumerate() {
        let sum = partials.iter().skip(j).step_by(cols).map(|sum| f64::from(*sum)).sum::<f64>() as f32;
        *sink = if accumulate { *sink + sum } else { sum };
    }
}

simd_fn! {
    /// Some rows of the pull-back, and their sums for the gain: with r one over the root mean square and g = γ·c,
    /// `dx = r·(g − x·r²·mean(x·g))`.
    fn pull(x: &[f32], gain: &[f32], c: &mut [f32], sums: &mut [f32]) {
        let cols = gain.len();
        sums.fill(0.0);
        for (x, c) in x.chunks_exact(cols).zip(c.chunks_exact_mut(cols)) {
            let inverse = inverse(x);
            for j in 0..cols {
                sums[j] += c[j] * (x[j] * inverse);
                c[j] *= gain[j];
            }
            let slope = inverse * inverse * (dot(x, c) / cols as f32);
            for j in 0..cols {
                c[j] = inverse * (c[j] - x[j] * slope);
            }
        }
    }
}
