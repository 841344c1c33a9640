//! Gates: softmax over a few columns, and the gated sum of a bank of experts.

use rayon::prelude::*;

use super::pieces::{Shared, for_each_piece, range};
use crate::tensor::kernels::MixShape;

/// Rows of a piece.
const ROWS: usize = 64;

/// Softmax of each row.
pub(super) fn softmax(cols: usize, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (out, x) in out.iter_mut().zip(x) {
            *out = (x - max).exp();
            sum += *out;
        }
        out.iter_mut().for_each(|out| *out /= sum);
    }
}

/// `c ← s ⊙ (c − Σ c·s)` row by row, for s the softmax.
pub(super) fn softmax_back(cols: usize, out: &[f32], cotangent: &mut [f32]) {
    for (s, c) in out.chunks_exact(cols).zip(cotangent.chunks_exact_mut(cols)) {
        let inner: f32 = s.iter().zip(&*c).map(|(s, c)| s * c).sum();
        for (c, s) in c.iter_mut().zip(s) {
            *c = s * (*c - inner);
        }
    }
}

/// `out[b] (+)= Σ_e gate[b, e]·x[e, b]`.
pub(super) fn mix(shape: &MixShape, gate: &[f32], x: &[f32], out: &mut [f32], accumulate: bool) {
    out.par_chunks_mut(shape.cols * ROWS).enumerate().for_each(|(piece, out)| {
        mix_rows(shape, piece * ROWS, gate, x, out, accumulate);
    });
}

simd_fn! {
    /// The rows of [`mix`] from `first` on, as many as `out` holds.
    fn mix_rows(shape: &MixShape, first: usize, gate: &[f32], x: &[f32], out: &mut [f32], accumulate: bool) {
        let cols = shape.cols;
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            let b = first + row;
            if !accumulate {
                out.fill(0.0);
            }
            let weights = &gate[b * shape.gate + shape.first..];
            for (e, weight) in shape.experts.clone().zip(weights) {
                let x = &x[(e * shape.batch + b) * cols..(e * shape.batch + b + 1) * cols];
                for (out, x) in out.iter_mut().zip(x) {
                    *out += weight * x;
                }
            }
        }
    }
}

/// `gate[b, e] (+)= c[b]·x[e, b]` and, if wanted, `x̄[e, b] (+)= gate[b, e]·c[b]`.
pub(super) fn mix_back(
    shape: &MixShape,
    (gate, x): (&[f32], &[f32]),
    cotangent: &[f32],
    (gate_sink, gate_accumulate): (&mut [f32], bool),
    x_sink: Option<(&mut [f32], bool)>,
) {
    let (cols, batch) = (shape.cols, shape.batch);
    let gate_sink = Shared::new(gate_sink);
    let x_sink = x_sink.map(|(sink, accumulate)| (Shared::new(sink), accumulate));
    for_each_piece(batch.div_ceil(ROWS), shape.experts.len() * cotangent.len(), |piece| {
        for b in range(piece, ROWS, batch) {
            let c = &cotangent[b * cols..(b + 1) * cols];
            let first = b * shape.gate + shape.first;
            // SAFETY: each piece has its own rows b.
            let gate_sink = unsafe { gate_sink.part(first..first + shape.experts.len()) };
            for (e, (gate_sink, weight)) in shape.experts.clone().zip(gate_sink.iter_mut().zip(&gate[first..])) {
                let at = (e * batch + b) * cols..(e * batch + b + 1) * cols;
                let inner = dot(c, &x[at.clone()]);
                *gate_sink = if gate_accumulate { *gate_sink + inner } else { inner };
                if let Some((x_sink, accumulate)) = &x_sink {
                    // SAFETY: as above.
                    scale(*weight, c, unsafe { x_sink.part(at) }, *accumulate);
                }
            }
        }
    });
}

/// `out[b, e] = factor·⟨x[e, b], y[e, b]⟩`.
pub(super) fn row_dots(groups: usize, factor: f32, x: &[f32], y: &[f32], out: &mut [f32]) {
    let batch = out.len() / groups;
    let cols = x.len() / out.len();
    for (row, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact(cols)).enumerate() {
        let (e, b) = (row / batch, row % batch);
        out[b * groups + e] = factor * dot(x, y);
    }
}

/// `x[e, b] (+)= factor·c[b, e]·y[e, b]`.
pub(super) fn row_dots_back(groups: usize, factor: f32, c: &[f32], y: &[f32], x: &mut [f32], accumulate: bool) {
    let batch = c.len() / groups;
    let cols = y.len() / c.len();
    x.par_chunks_mut(cols).zip(y.par_chunks(cols)).with_min_len(ROWS).enumerate().for_each(|(row, (x, y))| {
        let (e, b) = (row / batch, row % batch);
        scale(factor * c[b * groups + e], y, x, accumulate);
    });
}

simd_fn! {
    /// `out (+)= weight·c`.
    pub(super) fn scale(weight: f32, c: &[f32], out: &mut [f32], accumulate: bool) {
        if accumulate {
            out.iter_mut().zip(c).for_each(|(out, c)| *out += weight * c);
        } else {
            out.iter_mut().zip(c).for_each(|(out, c)| *out = weight * c);
        }
    }
}

simd_fn! {
    /// Inner product over independent lanes, in a fixed order.
    pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
        const LANES: usize = 16;
        let mut lanes = [0.0f32; LANES];
        let (xs, x_rest) = x.as_chunks::<LANES>();
        let (ys, y_rest) = y.as_chunks::<LANES>();
        for (x, y) in xs.iter().zip(ys) {
            for lane in 0..LANES {
                lanes[lane] += x[lane] * y[lane];
            }
        }
        let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
        lanes.iter().sum::<f32>() + rest
    }
}
