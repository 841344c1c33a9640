//! ReLU and dropout without a normalisation.

use rayon::prelude::*;

use crate::tensor::kernels::Dropout;
use crate::tensor::random::{drop_threshold, element_hash};

/// Elements of a piece.
const CHUNK: usize = 1 << 14;

/// `out = keep·max(x, 0)` where kept, else 0.
pub(super) fn relu_dropout(dropout: Dropout, x: &[f32], out: &mut [f32]) {
    x.par_chunks(CHUNK).zip(out.par_chunks_mut(CHUNK)).enumerate().for_each(|(piece, (x, out))| {
        run(dropout, (piece * CHUNK) as u32, x, out);
    });
}

simd_fn! {
    /// A piece that starts at this element.
    fn run(dropout: Dropout, first: u32, x: &[f32], out: &mut [f32]) {
        let threshold = drop_threshold(dropout.share);
        let keep = 1.0 / (1.0 - dropout.share);
        if threshold == 0 {
            for (x, out) in x.iter().zip(out) {
                *out = x.max(0.0);
            }
            return;
        }
        for (j, (x, out)) in x.iter().zip(out).enumerate() {
            let kept = element_hash(dropout.key, first.wrapping_add(j as u32)) >= threshold;
            let y = x.max(0.0) * keep;
            *out = if kept { y } else { 0.0 };
        }
    }
}

/// `c ← keep·c` where the unit is active, else 0.
pub(super) fn relu_dropout_back(dropout: Dropout, out: &[f32], c: &mut [f32]) {
    let keep = 1.0 / (1.0 - dropout.share);
    out.par_chunks(CHUNK).zip(c.par_chunks_mut(CHUNK)).for_each(|(out, c)| pull(keep, out, c));
}

simd_fn! {
    /// A piece of [`relu_dropout_back`].
    fn pull(keep: f32, out: &[f32], c: &mut [f32]) {
        for (y, c) in out.iter().zip(c) {
            *c = if *y > 0.0 { keep * *c } else { 0.0 };
        }
    }
}
