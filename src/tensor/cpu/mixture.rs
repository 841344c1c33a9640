//! Gates: softmax over a few columns, and the gated sum of a bank of experts.

use rayon::prelude::*;

use super::pieces::{Shared, for_each_piece, range};

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

/// `out[b] = Σ_e gate[b, e]·x[e, b]`.
pub(super) fn mix(groups: usize, batch: usize, gate: &[f32], x: &[f32], out: &mut [f32]) {
    let cols = out.len() / batch;
    out.par_chunks_mut(cols * ROWS).enumerate().for_each(|(piece, out)| {
        mix_rows((groups, batch), piece * ROWS, gate, x, out);
    });
}

simd_fn! {
    /// The rows of [`mix`] from `first` on, as many as `out` holds.
    fn mix_rows(extents: (usize, usize), first: usize, gate: &[f32], x: &[f32], out: &mut [f32]) {
        let (groups, batch) = extents;
        let cols = x.len() / (groups * batch);
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            let b = first + row;
            out.fill(0.0);
            for e in 0..groups {
                let weight = gate[b * groups + e];
                let x = &x[(e * batch + b) * cols..(e * batch + b + 1) * cols];
                for (out, x) in out.iter_mut().zip(x) {
                    *out += weight * x;
                }
            }
        }
    }
}

/// `gate[b, e] (+)= c[b]·x[e, b]` and `x̄[e, b] (+)= gate[b, e]·c[b]`.
pub(super) fn mix_back(
    groups: usize,
    batch: usize,
    (gate, x): (&[f32], &[f32]),
    cotangent: &[f32],
    (gate_sink, gate_accumulate): (&mut [f32], bool),
    (x_sink, x_accumulate): (&mut [f32], bool),
) {
    let cols = cotangent.len() / batch;
    let (gate_sink, x_sink) = (Shared::new(gate_sink), Shared::new(x_sink));
    for_each_piece(batch.div_ceil(ROWS), groups * cotangent.len(), |piece| {
        for b in range(piece, ROWS, batch) {
            let c = &cotangent[b * cols..(b + 1) * cols];
            // SAFETY: each piece has its own rows b.
            let gate_sink = unsafe { gate_sink.part(b * groups..(b + 1) * groups) };
            for e in 0..groups {
                let at = (e * batch + b) * cols..(e * batch + b + 1) * cols;
                let inner = dot(c, &x[at.clone()]);
                gate_sink[e] = if gate_accumulate { gate_sink[e] + inner } else { inner };
                // SAFETY: as above.
                scale(gate[b * groups + e], c, unsafe { x_sink.part(at) }, x_accumulate);
            }
        }
    });
}

simd_fn! {
    /// `out (+)= weight·c`.
    fn scale(weight: f32, c: &[f32], out: &mut [f32], accumulate: bool) {
        if accumulate {
            out.iter_mut().zip(c).for_each(|(out, c)| *out += weight * c);
        } else {
            out.iter_mut().zip(c).for_each(|(out, c)| *out = weight * c);
        }
    }
}

simd_fn! {
    /// Inner product over independent lanes, in a fixed order.
    fn dot(x: &[f32], y: &[f32]) -> f32 {
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
