//! BatchNorm, ReLU and dropout, fused; columns in blocks, each block's statistics and output by one thread.

use super::pieces::{Shared, for_each_piece, range};
use super::reduce::{COLS, ROWS};
use crate::tensor::kernels::{NORM_EPS, NORM_MOMENTUM, NormShape};
use crate::tensor::random::{drop_threshold, element_hash};

/// What the pull-back reads.
pub(super) struct Inputs<'a> {
    pub(super) x: &'a [f32],
    pub(super) out: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) statistics: &'a [f32],
}

/// A block of columns of one group: the kernels below see only this.
struct Block<'a> {
    /// First column among all groups' columns.
    column: usize,
    /// First element of the group.
    start: usize,
    /// Columns within the group.
    columns: std::ops::Range<usize>,
    shape: &'a NormShape,
}

impl Block<'_> {
    fn width(&self) -> usize {
        self.columns.len()
    }

    /// The block's elements of a row.
    #[inline(always)]
    fn at(&self, row: usize) -> std::ops::Range<usize> {
        let first = self.start + row * self.shape.cols;
        first + self.columns.start..first + self.columns.end
    }
}

/// Runs `work` for every block of columns.
fn for_each_block(shape: &NormShape, work: impl Fn(Block) + Sync + Send) {
    let blocks = shape.cols.div_ceil(COLS);
    for_each_piece(shape.groups * blocks, shape.groups * shape.batch * shape.cols, |piece| {
        let (group, block) = (piece / blocks, piece % blocks);
        let columns = range(block, COLS, shape.cols);
        work(Block {
            column: group * shape.cols + columns.start,
            start: group * shape.batch * shape.cols,
            columns,
            shape,
        });
    });
}

/// Means and biased variances of a block's columns, two passes, partial sums of [`ROWS`] rows.
#[inline(always)]
fn moments(block: &Block, x: &[f32]) -> ([f32; COLS], [f32; COLS]) {
    let batch = block.shape.batch;
    let mean = mean_of(batch, |row, partial| {
        for (partial, x) in partial.iter_mut().zip(&x[block.at(row)]) {
            *partial += x;
        }
    });
    let variance = mean_of(batch, |row, partial| {
        for ((partial, x), mean) in partial.iter_mut().zip(&x[block.at(row)]).zip(&mean) {
            let d = x - mean;
            *partial += d * d;
        }
    });
    (mean, variance)
}

/// The mean over rows of what `add` adds for each row.
#[inline(always)]
fn mean_of(batch: usize, add: impl Fn(usize, &mut [f32; COLS])) -> [f32; COLS] {
    let mut sums = [0.0f64; COLS];
    for first in (0..batch).step_by(ROWS) {
        let mut partial = [0.0f32; COLS];
        for row in first..(first + ROWS).min(batch) {
            add(row, &mut partial);
        }
        for (sum, partial) in sums.iter_mut().zip(partial) {
            *sum += f64::from(partial);
        }
    }
    sums.map(|sum| (sum / batch as f64) as f32)
}

/// Training forward.
pub(super) fn forward(shape: &NormShape, x: &[f32], affine: (&[f32], &[f32]), statistics: &mut [f32], out: &mut [f32]) {
    let (statistics, out) = (Shared::new(statistics), Shared::new(out));
    for_each_block(shape, |block| {
        forward_block(&block, x, affine, &statistics, &out);
    });
}

simd_fn! {
    /// [`forward`] for one block.
    fn forward_block(block: &Block, x: &[f32], affine: (&[f32], &[f32]), statistics: &Shared, out: &Shared) {
        let ((gain, shift), shape) = (affine, block.shape);
        let columns = shape.groups * shape.cols;
        let threshold = drop_threshold(shape.dropout);
        let keep = 1.0 / (1.0 - shape.dropout);
        let width = block.width();
        let (mean, variance) = moments(block, x);
        let at = block.column;
        // SAFETY: each block has its own columns.
        unsafe {
            statistics.part(at..at + width).copy_from_slice(&mean[..width]);
            statistics.part(columns + at..columns + at + width).copy_from_slice(&variance[..width]);
        }
        let (mut scale, mut offset) = ([0.0f32; COLS], [0.0f32; COLS]);
        for j in 0..width {
            scale[j] = gain[at + j] / (variance[j] + NORM_EPS).sqrt();
            offset[j] = shift[at + j];
        }
        for row in 0..shape.batch {
            let elements = block.at(row);
            let first = elements.start as u32;
            // SAFETY: as above.
            let out = unsafe { out.part(elements.clone()) };
            let x = &x[elements];
            if threshold == 0 {
                for j in 0..width {
                    out[j] = ((x[j] - mean[j]) * scale[j] + offset[j]).max(0.0);
                }
            } else {
                for j in 0..width {
                    let kept = element_hash(shape.key, first.wrapping_add(j as u32)) >= threshold;
                    let y = ((x[j] - mean[j]) * scale[j] + offset[j]).max(0.0) * keep;
                    out[j] = if kept { y } else { 0.0 };
                }
            }
        }
    }
}

/// Pull-back: `cotangent` becomes the gradient of x.
pub(super) fn backward(
    shape: &NormShape,
    inputs: &Inputs,
    cotangent: &mut [f32],
    (gain_sink, gain_accumulate): (&mut [f32], bool),
    (shift_sink, shift_accumulate): (&mut [f32], bool),
) {
    let (cotangent, gain_sink, shift_sink) = (Shared::new(cotangent), Shared::new(gain_sink), Shared::new(shift_sink));
    for_each_block(shape, |block| {
        let (gain, shift) = ((&gain_sink, gain_accumulate), (&shift_sink, shift_accumulate));
        backward_block(&block, inputs, &cotangent, gain, shift);
    });
}

simd_fn! {
    /// [`backward`] for one block.
    fn backward_block(block: &Block, inputs: &Inputs, cotangent: &Shared, gain: (&Shared, bool), shift: (&Shared, bool)) {
        let ((gain_sink, gain_accumulate), (shift_sink, shift_accumulate)) = (gain, shift);
        let shape = block.shape;
        let columns = shape.groups * shape.cols;
        let keep = 1.0 / (1.0 - shape.dropout);
        let width = block.width();
        let at = block.column;
        let (mut mean, mut inverse) = ([0.0f32; COLS], [0.0f32; COLS]);
        for j in 0..width {
            mean[j] = inputs.statistics[at + j];
            inverse[j] = 1.0 / (inputs.statistics[columns + at + j] + NORM_EPS).sqrt();
        }
        // SAFETY: each block has its own columns, here and below.
        let row_of = |row: usize| unsafe { cotangent.part(block.at(row)) };
        let shift_mean = mean_of(shape.batch, |row, partial| {
            let (c, y) = (row_of(row), &inputs.out[block.at(row)]);
            for j in 0..width {
                partial[j] += if y[j] > 0.0 { c[j] } else { 0.0 };
            }
        });
        let gain_mean = mean_of(shape.batch, |row, partial| {
            let (c, y, x) = (row_of(row), &inputs.out[block.at(row)], &inputs.x[block.at(row)]);
            for j in 0..width {
                let g = if y[j] > 0.0 { c[j] } else { 0.0 };
                partial[j] += g * (x[j] - mean[j]);
            }
        });
        let (mut scale, mut slope) = ([0.0f32; COLS], [0.0f32; COLS]);
        // SAFETY: as above.
        let (gain_sink, shift_sink) = unsafe { (gain_sink.part(at..at + width), shift_sink.part(at..at + width)) };
        for j in 0..width {
            let rows = shape.batch as f32 * keep;
            let (d_gain, d_shift) = (gain_mean[j] * inverse[j] * rows, shift_mean[j] * rows);
            gain_sink[j] = if gain_accumulate { gain_sink[j] + d_gain } else { d_gain };
            shift_sink[j] = if shift_accumulate { shift_sink[j] + d_shift } else { d_shift };
            // dx = γ/σ·(g − mean(g) − x̂·mean(g·x̂)), with g the cotangent behind dropout and ReLU
            scale[j] = inputs.gain[at + j] * inverse[j] * keep;
            slope[j] = gain_mean[j] * inverse[j] * inverse[j];
        }
        for row in 0..shape.batch {
            let (c, y, x) = (row_of(row), &inputs.out[block.at(row)], &inputs.x[block.at(row)]);
            for j in 0..width {
                let g = if y[j] > 0.0 { c[j] } else { 0.0 };
                c[j] = scale[j] * (g - shift_mean[j] - (x[j] - mean[j]) * slope[j]);
            }
        }
    }
}

/// Evaluation: running statistics, no dropout.
pub(super) fn eval(shape: &NormShape, x: &[f32], affine: (&[f32], &[f32]), running: (&[f32], &[f32]), out: &mut [f32]) {
    let out = Shared::new(out);
    for_each_block(shape, |block| {
        eval_block(&block, x, affine, running, &out);
    });
}

simd_fn! {
    /// [`eval`] for one block.
    fn eval_block(block: &Block, x: &[f32], affine: (&[f32], &[f32]), running: (&[f32], &[f32]), out: &Shared) {
        let ((gain, shift), (mean, variance), shape) = (affine, running, block.shape);
        let (width, at) = (block.width(), block.column);
        let (mean, offset) = (&mean[at..at + width], &shift[at..at + width]);
        let mut scale = [0.0f32; COLS];
        for j in 0..width {
            scale[j] = gain[at + j] / (variance[at + j] + NORM_EPS).sqrt();
        }
        for row in 0..shape.batch {
            // SAFETY: each block has its own columns.
            let out = unsafe { out.part(block.at(row)) };
            let x = &x[block.at(row)];
            for j in 0..width {
                out[j] = ((x[j] - mean[j]) * scale[j] + offset[j]).max(0.0);
            }
        }
    }
}

/// `running ← 0.9·running + 0.1·batch`, the variance made unbiased.
pub(super) fn move_statistics(batch: usize, statistics: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let (means, variances) = statistics.split_at(mean.len());
    let unbiased = batch as f32 / (batch as f32 - 1.0).max(1.0);
    for (running, batch) in mean.iter_mut().zip(means) {
        *running += NORM_MOMENTUM * (batch - *running);
    }
    for (running, batch) in variance.iter_mut().zip(variances) {
        *running += NORM_MOMENTUM * (unbiased * batch - *running);
    }
}
