//! Gated linear units.

use super::lanes::sigmoid;
use super::pieces::{Shared, for_each_piece, range};
use super::reduce::ROWS;

/// `out = silu(g) ⊙ u` for rows `[g | u]`.
pub(super) fn forward(cols: usize, x: &[f32], out: &mut [f32]) {
    let rows = out.len() / cols;
    let out = Shared::new(out);
    for_each_piece(rows.div_ceil(ROWS), x.len(), |tile| {
        let rows = range(tile, ROWS, rows);
        // SAFETY: each tile has its own rows.
        let out = unsafe { out.part(rows.start * cols..rows.end * cols) };
        activate(cols, &x[rows.start * 2 * cols..rows.end * 2 * cols], out);
    });
}

simd_fn! {
    /// [`forward`] on some rows.
    fn activate(cols: usize, x: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(2 * cols).zip(out.chunks_exact_mut(cols)) {
            unit(x, 1.0, out);
        }
    }
}

/// One row: `out = scale·silu(g) ⊙ u`.
#[inline(always)]
pub(super) fn unit(x: &[f32], scale: f32, out: &mut [f32]) {
    let cols = out.len();
    let (g, u) = (&x[..cols], &x[cols..2 * cols]);
    for j in 0..cols {
        out[j] = scale * (g[j] * sigmoid(g[j]) * u[j]);
    }
}

/// `silu(g)`, and how fast `silu(g)·u` grows with g.
#[inline(always)]
pub(super) fn slopes(g: f32, u: f32) -> (f32, f32) {
    let s = sigmoid(g);
    (g * s, u * s * (1.0 + g * (1.0 - s)))
}

/// The gradient of x for a cotangent of B×cols.
pub(super) fn backward(cols: usize, x: &[f32], cotangent: &[f32], (sink, accumulate): (&mut [f32], bool)) {
    let rows = cotangent.len() / cols;
    let sink = Shared::new(sink);
    for_each_piece(rows.div_ceil(ROWS), x.len(), |tile| {
        let rows = range(tile, ROWS, rows);
        let at = rows.start * 2 * cols..rows.end * 2 * cols;
        // SAFETY: each tile has its own rows.
        let sink = unsafe { sink.part(at.clone()) };
        if !accumulate {
            sink.fill(0.0);
        }
        pull(cols, &x[at], &cotangent[rows.start * cols..rows.end * cols], sink);
    });
}

simd_fn! {
    /// Adds some rows of the pull-back.
    fn pull(cols: usize, x: &[f32], c: &[f32], sink: &mut [f32]) {
        for ((x, c), sink) in x.chunks_exact(2 * cols).zip(c.chunks_exact(cols)).zip(sink.chunks_exact_mut(2 * cols)) {
            let ((g, u), (dg, du)) = (x.split_at(cols), sink.split_at_mut(cols));
            let (u, du) = (&u[..cols], &mut du[..cols]);
            for j in 0..cols {
                let (silu, slope) = slopes(g[j], u[j]);
                dg[j] += c[j] * slope;
                du[j] += c[j] * silu;
            }
        }
    }
}
