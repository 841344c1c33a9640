//! BatchNorm, ReLU and dropout, fused.
//!
//! A tile is a run of whole rows of one group, contiguous in memory: passes stream through it at the speed of the memory.
//! (Blocks of columns would share few cache sets: the widths are powers of two.) Statistics are summed over a tile in f32
//! and over the tiles, in order, in f64.

use super::pieces::{Shared, for_each_piece, range};
use super::reduce::ROWS;
use super::scratch::Scratch;
use crate::tensor::kernels::{NORM_EPS, NORM_MOMENTUM, NormShape};
use crate::tensor::random::{drop_threshold, element_hash};

/// What the pull-back reads.
pub(super) struct Inputs<'a> {
    pub(super) x: &'a [f32],
    pub(super) out: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) statistics: &'a [f32],
}

/// Up to [`ROWS`] rows of one group.
struct Tile {
    group: usize,
    /// Position among the tiles of all groups.
    index: usize,
    rows: usize,
    /// First element among all groups' elements.
    start: usize,
    cols: usize,
}

impl Tile {
    fn elements(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.rows * self.cols
    }

    /// The group's columns among all groups'.
    fn columns(&self) -> std::ops::Range<usize> {
        self.group * self.cols..(self.group + 1) * self.cols
    }

    /// The tile's two rows of partial sums.
    fn partials(&self) -> std::ops::Range<usize> {
        self.index * 2 * self.cols..(self.index + 1) * 2 * self.cols
    }
}

fn tiles(shape: &NormShape) -> usize {
    shape.batch.div_ceil(ROWS)
}

fn for_each_tile(shape: &NormShape, work: impl Fn(Tile) + Sync + Send) {
    let tiles = tiles(shape);
    for_each_piece(shape.groups * tiles, shape.groups * shape.batch * shape.cols, |index| {
        let group = index / tiles;
        let rows = range(index % tiles, ROWS, shape.batch);
        let start = (group * shape.batch + rows.start) * shape.cols;
        work(Tile { group, index, rows: rows.len(), start, cols: shape.cols });
    });
}

/// Training forward.
pub(super) fn forward(shape: &NormShape, x: &[f32], affine: (&[f32], &[f32]), statistics: &mut [f32], out: &mut [f32]) {
    let columns = shape.groups * shape.cols;
    let mut partials = Scratch::take(shape.groups * tiles(shape) * 2 * shape.cols);
    let shared = Shared::new(&mut partials);
    for_each_tile(shape, |tile| {
        // SAFETY: each tile has its own partial sums.
        let (mean, squares) = unsafe { shared.part(tile.partials()) }.split_at_mut(shape.cols);
        moments(&x[tile.elements()], mean, squares);
    });
    let (means, variances) = statistics.split_at_mut(columns);
    combine_moments(shape, &partials, means, variances);

    let mut scale = Scratch::take(columns);
    for ((scale, gain), variance) in scale.iter_mut().zip(affine.0).zip(&*variances) {
        *scale = gain / (variance + NORM_EPS).sqrt();
    }
    let (means, scale, out) = (&*means, &*scale, Shared::new(out));
    for_each_tile(shape, |tile| {
        let (at, c) = (tile.elements(), tile.columns());
        let column = Columns { mean: &means[c.clone()], scale: &scale[c.clone()], offset: &affine.1[c] };
        // SAFETY: each tile has its own elements.
        let out = unsafe { out.part(at.clone()) };
        if shape.dropout > 0.0 {
            apply_dropping(shape, &column, tile.start as u32, &x[at], out);
        } else {
            apply(&column, &x[at], out);
        }
    });
}

simd_fn! {
    /// Column means of a tile and the sums of squared deviations from them.
    fn moments(x: &[f32], mean: &mut [f32], squares: &mut [f32]) {
        let cols = mean.len();
        mean.fill(0.0);
        squares.fill(0.0);
        for row in x.chunks_exact(cols) {
            for (mean, x) in mean.iter_mut().zip(row) {
                *mean += x;
            }
        }
        let share = cols as f32 / x.len() as f32;
        mean.iter_mut().for_each(|mean| *mean *= share);
        for row in x.chunks_exact(cols) {
            for ((squares, mean), x) in squares.iter_mut().zip(&*mean).zip(row) {
                let d = x - mean;
                *squares += d * d;
            }
        }
    }
}

/// Means and biased variances of all rows from those of the tiles (Chan, Golub & LeVeque, 1983).
fn combine_moments(shape: &NormShape, partials: &[f32], means: &mut [f32], variances: &mut [f32]) {
    let cols = shape.cols;
    let per_group = tiles(shape) * 2 * cols;
    let groups =
        partials.chunks_exact(per_group).zip(means.chunks_exact_mut(cols)).zip(variances.chunks_exact_mut(cols));
    let mut sums = vec![0.0f64; cols];
    for ((partials, means), variances) in groups {
        let rows = |tile: usize| range(tile, ROWS, shape.batch).len() as f64;
        sums.fill(0.0);
        for (tile, partial) in partials.chunks_exact(2 * cols).enumerate() {
            let rows = rows(tile);
            sums.iter_mut().zip(partial).for_each(|(sum, mean)| *sum += rows * f64::from(*mean));
        }
        for (mean, sum) in means.iter_mut().zip(&mut sums) {
            *mean = (std::mem::take(sum) / shape.batch as f64) as f32;
        }
        for (tile, partial) in partials.chunks_exact(2 * cols).enumerate() {
            let (rows, (tile_mean, squares)) = (rows(tile), partial.split_at(cols));
            for ((sum, mean), (tile_mean, squares)) in sums.iter_mut().zip(&*means).zip(tile_mean.iter().zip(squares)) {
                let d = f64::from(*tile_mean) - f64::from(*mean);
                *sum += f64::from(*squares) + rows * d * d;
            }
        }
        for (variance, sum) in variances.iter_mut().zip(&sums) {
            *variance = (sum / shape.batch as f64) as f32;
        }
    }
}

/// What a tile needs to know of its columns: `y = (x − mean)·scale + offset`.
struct Columns<'a> {
    mean: &'a [f32],
    scale: &'a [f32],
    offset: &'a [f32],
}

simd_fn! {
    /// Normalisation and ReLU of a tile.
    fn apply(columns: &Columns, x: &[f32], out: &mut [f32]) {
        let cols = columns.mean.len();
        let (mean, scale, offset) = (columns.mean, &columns.scale[..cols], &columns.offset[..cols]);
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            for j in 0..cols {
                out[j] = ((x[j] - mean[j]) * scale[j] + offset[j]).max(0.0);
            }
        }
    }
}

simd_fn! {
    /// Normalisation, ReLU and dropout of the tile that starts at element `first`.
    fn apply_dropping(shape: &NormShape, columns: &Columns, first: u32, x: &[f32], out: &mut [f32]) {
        let cols = columns.mean.len();
        let (mean, scale, offset) = (columns.mean, &columns.scale[..cols], &columns.offset[..cols]);
        let threshold = drop_threshold(shape.dropout);
        let keep = 1.0 / (1.0 - shape.dropout);
        let mut first = first;
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            for j in 0..cols {
                let kept = element_hash(shape.key, first.wrapping_add(j as u32)) >= threshold;
                let y = ((x[j] - mean[j]) * scale[j] + offset[j]).max(0.0) * keep;
                out[j] = if kept { y } else { 0.0 };
            }
            first = first.wrapping_add(cols as u32);
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
    let (cols, columns) = (shape.cols, shape.groups * shape.cols);
    let (means, variances) = inputs.statistics.split_at(columns);
    let mut partials = Scratch::take(shape.groups * tiles(shape) * 2 * cols);
    let shared = Shared::new(&mut partials);
    let c = &*cotangent;
    for_each_tile(shape, |tile| {
        let at = tile.elements();
        // SAFETY: each tile has its own partial sums.
        let sums = unsafe { shared.part(tile.partials()) };
        active_sums(&c[at.clone()], &inputs.out[at.clone()], &inputs.x[at], &means[tile.columns()], sums);
    });

    // dx = γ/σ·(g − mean(g) − x̂·mean(g·x̂)), with g the cotangent behind dropout and ReLU
    let keep = 1.0 / (1.0 - shape.dropout);
    let rows = shape.batch as f32 * keep;
    let mut coefficients = Scratch::take(3 * columns);
    let (scale, rest) = coefficients.split_at_mut(columns);
    let (offset, slope) = rest.split_at_mut(columns);
    let mut sums = vec![0.0f64; 2 * cols];
    for (group, partials) in partials.chunks_exact(tiles(shape) * 2 * cols).enumerate() {
        sums.fill(0.0);
        for partial in partials.chunks_exact(2 * cols) {
            sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += f64::from(*partial));
        }
        for j in 0..cols {
            let at = group * cols + j;
            let shift_mean = (sums[j] / shape.batch as f64) as f32;
            let gain_mean = (sums[cols + j] / shape.batch as f64) as f32;
            let inverse = 1.0 / (variances[at] + NORM_EPS).sqrt();
            let (d_gain, d_shift) = (gain_mean * inverse * rows, shift_mean * rows);
            gain_sink[at] = if gain_accumulate { gain_sink[at] + d_gain } else { d_gain };
            shift_sink[at] = if shift_accumulate { shift_sink[at] + d_shift } else { d_shift };
            scale[at] = inputs.gain[at] * inverse * keep;
            offset[at] = shift_mean;
            slope[at] = gain_mean * inverse * inverse;
        }
    }

    let (scale, offset, slope) = (&*scale, &*offset, &*slope);
    let cotangent = Shared::new(cotangent);
    for_each_tile(shape, |tile| {
        let (at, c) = (tile.elements(), tile.columns());
        let column = Columns { mean: &means[c.clone()], scale: &scale[c.clone()], offset: &offset[c.clone()] };
        // SAFETY: each tile has its own elements.
        let cotangent = unsafe { cotangent.part(at.clone()) };
        pull_tile(&column, &slope[c], &inputs.out[at.clone()], &inputs.x[at], cotangent);
    });
}

simd_fn! {
    /// Column sums of a tile over its active units: of the cotangent, and of the cotangent times the centred input.
    fn active_sums(c: &[f32], out: &[f32], x: &[f32], mean: &[f32], sums: &mut [f32]) {
        let cols = mean.len();
        sums.fill(0.0);
        let (shift, gain) = sums.split_at_mut(cols);
        let gain = &mut gain[..cols];
        for ((c, y), x) in c.chunks_exact(cols).zip(out.chunks_exact(cols)).zip(x.chunks_exact(cols)) {
            for j in 0..cols {
                let g = if y[j] > 0.0 { c[j] } else { 0.0 };
                shift[j] += g;
                gain[j] += g * (x[j] - mean[j]);
            }
        }
    }
}

simd_fn! {
    /// `c ← scale·(g − offset − (x − mean)·slope)` for a tile, g being c where the unit is active.
    fn pull_tile(columns: &Columns, slope: &[f32], out: &[f32], x: &[f32], c: &mut [f32]) {
        let cols = columns.mean.len();
        let (mean, scale, offset) = (columns.mean, &columns.scale[..cols], &columns.offset[..cols]);
        let slope = &slope[..cols];
        for ((c, y), x) in c.chunks_exact_mut(cols).zip(out.chunks_exact(cols)).zip(x.chunks_exact(cols)) {
            for j in 0..cols {
                let g = if y[j] > 0.0 { c[j] } else { 0.0 };
                c[j] = scale[j] * (g - offset[j] - (x[j] - mean[j]) * slope[j]);
            }
        }
    }
}

/// Evaluation: running statistics, no dropout, in place.
pub(super) fn eval(shape: &NormShape, x: &mut [f32], affine: (&[f32], &[f32]), running: (&[f32], &[f32])) {
    let mut scale = Scratch::take(shape.groups * shape.cols);
    for ((scale, gain), variance) in scale.iter_mut().zip(affine.0).zip(running.1) {
        *scale = gain / (variance + NORM_EPS).sqrt();
    }
    let (scale, x) = (&*scale, Shared::new(x));
    for_each_tile(shape, |tile| {
        let c = tile.columns();
        let column = Columns { mean: &running.0[c.clone()], scale: &scale[c.clone()], offset: &affine.1[c] };
        // SAFETY: each tile has its own elements.
        apply_in_place(&column, unsafe { x.part(tile.elements()) });
    });
}

simd_fn! {
    /// [`apply`] in place.
    fn apply_in_place(columns: &Columns, x: &mut [f32]) {
        let cols = columns.mean.len();
        let (mean, scale, offset) = (columns.mean, &columns.scale[..cols], &columns.offset[..cols]);
        for x in x.chunks_exact_mut(cols) {
            for j in 0..cols {
                x[j] = ((x[j] - mean[j]) * scale[j] + offset[j]).max(0.0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_statistics_move_a_tenth_of_the_way_to_the_unbiased_variance() {
        // of the batch -1, 0, 1, 2 in one column and 4, 4, 4, 8 in another: variances divided by 4
        let statistics = [0.5, 5.0, 1.25, 3.0];
        let (mut mean, mut variance) = ([0.0, 2.0], [1.0, 0.0]);
        move_statistics(4, &statistics, &mut mean, &mut variance);
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} and {b}");
        close(mean[0], 0.05);
        close(mean[1], 2.3);
        close(variance[0], 0.9 + 0.1 * 5.0 / 3.0);
        close(variance[1], 0.1 * 4.0);
        // one row alone has no unbiased variance
        move_statistics(1, &[1.0, 1.0, 0.0, 0.0], &mut mean, &mut variance);
        close(mean[0], 0.145);
        close(variance[1], 0.36);
    }
}
