//! Sums and element-wise additions.

use std::ops::Range;

use rayon::prelude::*;

use super::pieces::{Shared, for_each_piece, map_pieces, range};

/// Rows summed in f32 before the partial sum is added to an f64: keeps long sums exact to about f32 rounding.
pub(super) const ROWS: usize = 64;
/// Columns handled together: rows then read a kilobyte in a row, which the processor fetches ahead.
pub(super) const COLS: usize = 256;
/// Elements of a piece of an element-wise pass.
const CHUNK: usize = 1 << 14;

/// `x[e, b, :] += bias[e, :]`.
pub(super) fn add_bias(groups: usize, batch: usize, bias: &[f32], x: &mut [f32]) {
    let cols = bias.len() / groups.max(1);
    if cols == 0 || batch == 0 {
        return;
    }
    x.par_chunks_mut(cols * batch).zip(bias.par_chunks(cols)).for_each(|(x, bias)| {
        for row in x.chunks_exact_mut(cols) {
            add_one(bias, row);
        }
    });
}

/// `out[e, :] = Σ_b x[e, b, :]`, added to `out` when accumulating.
pub(super) fn column_sums(groups: usize, batch: usize, x: &[f32], out: &mut [f32], accumulate: bool) {
    let cols = out.len() / groups.max(1);
    if cols == 0 {
        return;
    }
    let blocks = cols.div_ceil(COLS);
    let out = Shared::new(out);
    for_each_piece(groups * blocks, x.len(), |piece| {
        let (group, block) = (piece / blocks, piece % blocks);
        let columns = range(block, COLS, cols);
        let x = &x[group * batch * cols..(group + 1) * batch * cols];
        let mut sums = [0.0f64; COLS];
        sum_columns(x, cols, columns.clone(), &mut sums);
        // SAFETY: each piece has its own columns of its own group.
        let out = unsafe { out.part(group * cols + columns.start..group * cols + columns.end) };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = if accumulate { *out + sum as f32 } else { sum as f32 };
        }
    });
}

simd_fn! {
    /// Sums a block of columns of a row-major matrix.
    fn sum_columns(x: &[f32], cols: usize, columns: Range<usize>, sums: &mut [f64; COLS]) {
        for rows in x.chunks(cols * ROWS) {
            let mut partial = [0.0f32; COLS];
            for row in rows.chunks_exact(cols) {
                for (partial, x) in partial.iter_mut().zip(&row[columns.clone()]) {
                    *partial += x;
                }
            }
            for (sum, partial) in sums.iter_mut().zip(partial) {
                *sum += f64::from(partial);
            }
        }
    }
}

/// `y += x`.
pub(super) fn add(x: &[f32], y: &mut [f32]) {
    if x.len() <= 4 * CHUNK {
        add_one(x, y);
    } else {
        x.par_chunks(CHUNK).zip(y.par_chunks_mut(CHUNK)).for_each(|(x, y)| add_one(x, y));
    }
}

simd_fn! {
    /// `y += x` on the calling thread.
    pub(super) fn add_one(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

/// `gram[i, j] = Σ x_i·x_j` in f64; chunk sums are added in order.
pub(super) fn gram(buffers: &[&[f32]]) -> Vec<f64> {
    let tasks = buffers.len();
    let mut gram = vec![0.0; tasks * tasks];
    let len = buffers.first().map_or(0, |buffer| buffer.len());
    let partial = |chunk: usize| -> Vec<f64> {
        let at = range(chunk, CHUNK, len);
        let mut sums = Vec::with_capacity(tasks * (tasks + 1) / 2);
        for i in 0..tasks {
            for j in i..tasks {
                sums.push(dot(&buffers[i][at.clone()], &buffers[j][at.clone()]));
            }
        }
        sums
    };
    let chunks = len.div_ceil(CHUNK);
    for sums in map_pieces(chunks, len * tasks, partial) {
        add_triangle(&sums, tasks, &mut gram);
    }
    gram
}

/// Adds the upper triangle of a symmetric K×K matrix, row by row, to the whole matrix.
pub(super) fn add_triangle(sums: &[f64], tasks: usize, gram: &mut [f64]) {
    let pairs = (0..tasks).flat_map(|i| (i..tasks).map(move |j| (i, j)));
    for ((i, j), sum) in pairs.zip(sums) {
        gram[i * tasks + j] += sum;
        if i != j {
            gram[j * tasks + i] += sum;
        }
    }
}

simd_fn! {
    /// Inner product in f64, over independent lanes so that it vectorises in a fixed order.
    pub(super) fn dot(x: &[f32], y: &[f32]) -> f64 {
        const LANES: usize = 16;
        let mut lanes = [0.0f64; LANES];
        let (xs, x_rest) = x.as_chunks::<LANES>();
        let (ys, y_rest) = y.as_chunks::<LANES>();
        for (x, y) in xs.iter().zip(ys) {
            for lane in 0..LANES {
                lanes[lane] += f64::from(x[lane]) * f64::from(y[lane]);
            }
        }
        let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        lanes.iter().sum::<f64>() + rest
    }
}

/// Column sums of a contiguous row-major matrix with `out.len()` columns, on the calling thread.
pub(super) fn sum_all_rows(x: &[f32], out: &mut [f32]) {
    let cols = out.len();
    for columns in (0..cols).step_by(COLS) {
        let columns = columns..(columns + COLS).min(cols);
        let mut sums = [0.0f64; COLS];
        sum_columns(x, cols, columns.clone(), &mut sums);
        for (out, sum) in out[columns].iter_mut().zip(sums) {
            *out = sum as f32;
        }
    }
}

/// `out (+)= Σ_i shares[i·stride ..][..out.len()]`, in the order of i.
pub(super) fn sum_shares(shares: &[f32], stride: usize, out: &mut [f32], accumulate: bool) {
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        if !accumulate {
            out.fill(0.0);
        }
        for share in shares.chunks(stride) {
            add_one(&share[(chunk * CHUNK).min(share.len())..], out);
        }
    });
}
