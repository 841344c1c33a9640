//! Passes over the coordinates of task gradients: averages, sums of squares, functions of the tasks' entries.

use super::held::{CHUNK, Walk};
use super::pieces::{Shared, for_each_piece, range};
use crate::tensor::Cpu;
use crate::tensor::kernels::{ColumnMap, Held, SQUARES_EPS};

/// `average ← keep·average + take·gradient`.
pub(super) fn blend(held: Held<Cpu>, gradient: &[f32], keep: f32, take: f32, average: &mut [f32]) {
    let walk = Walk::new(held, average.len());
    let average = Shared::new(average);
    walk.for_each_piece(|piece| {
        walk.runs(piece, |at, held| {
            // SAFETY: each piece has its own elements, and takes them one run after the other.
            let average = unsafe { average.part(at) };
            match held {
                Some(held) => blend_run(average, &gradient[held], keep, take),
                None => average.iter_mut().for_each(|y| *y *= keep),
            }
        });
    });
}

simd_fn! {
    /// One run of [`blend`].
    fn blend_run(average: &mut [f32], gradient: &[f32], keep: f32, take: f32) {
        average.iter_mut().zip(gradient).for_each(|(y, g)| *y = keep * *y + take * g);
    }
}

/// `S += g²`, and `Σ g²/√(S + 1e-7)`; the pieces' sums are added in order.
pub(super) fn excess(held: Held<Cpu>, gradient: &[f32], sums: &mut [f32]) -> f64 {
    let walk = Walk::new(held, sums.len());
    let sums = Shared::new(sums);
    let partial = walk.map_pieces(|piece| {
        let mut sum = 0.0;
        walk.runs(piece, |at, held| {
            if let Some(held) = held {
                // SAFETY: each piece has its own elements, and takes them one run after the other.
                sum += excess_run(unsafe { sums.part(at) }, &gradient[held]);
            }
        });
        sum
    });
    partial.into_iter().sum()
}

simd_fn! {
    /// One run of [`excess`], over independent lanes so that it vectorises in a fixed order.
    fn excess_run(sums: &mut [f32], gradient: &[f32]) -> f64 {
        const LANES: usize = 16;
        let mut lanes = [0.0f64; LANES];
        for (sums, gradient) in sums.chunks_mut(LANES).zip(gradient.chunks(LANES)) {
            for ((lane, sum), g) in lanes.iter_mut().zip(sums).zip(gradient) {
                let square = g * g;
                *sum += square;
                *lane += f64::from(square / (*sum + SQUARES_EPS).sqrt());
            }
        }
        lanes.iter().sum()
    }
}

/// `out[p] = map(columns[..][p])`.
pub(in crate::tensor) fn map(columns: &[&[f32]], map: ColumnMap, out: &mut [f32]) {
    let len = out.len();
    let out = Shared::new(out);
    for_each_piece(len.div_ceil(CHUNK), len, |piece| {
        let at = range(piece, CHUNK, len);
        let parts: Vec<&[f32]> = columns.iter().map(|column| &column[at.clone()]).collect();
        // SAFETY: each piece has its own elements.
        map(at.start, &parts, unsafe { out.part(at) });
    });
}
