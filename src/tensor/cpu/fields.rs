//! The first layer without the concatenated embedding (DESIGN §4.4).
//!
//! For each block of output columns one thread multiplies the batch's distinct embedding rows by their field's weights —
//! a table of at most a few hundred rows — and every sample sums one table row a field. Backwards, each table row sums
//! the cotangents of the samples that took it, and one product a distinct id does the rest. The numeric token is folded
//! the same way: `x·(W_token·W)` costs P instead of D multiplications an output when P < D.

use super::pieces::{Shared, for_each_piece, range};
use super::product::{serial, single};
use super::reduce::{sum_all_rows, sum_shares};
use crate::tensor::buffer::CpuSlice;
use crate::tensor::kernels::{FieldsInputs, FieldsShape, FieldsSinks, Matrix, Product};
use crate::tensor::{Cpu, FieldIds};

/// Columns that stay in vector registers while rows are summed.
const LANES: usize = 64;

/// [`FieldsInputs`] as slices.
pub(super) struct Inputs<'a> {
    ids: &'a FieldIds,
    compact: &'a [f32],
    numerical: &'a [f32],
    token_weight: &'a [f32],
    token_bias: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Inputs<'a> {
    pub(super) fn of(inputs: &FieldsInputs<'a, Cpu>) -> Self {
        Self {
            ids: inputs.ids,
            compact: inputs.compact.slice(),
            numerical: inputs.numerical.slice(),
            token_weight: inputs.token_weight.slice(),
            token_bias: inputs.token_bias.slice(),
            weight: inputs.weight.slice(),
            bias: inputs.bias.slice(),
        }
    }
}

/// The table rows of the batch's distinct ids.
pub(super) fn gather_rows(width: usize, table: &[f32], ids: &FieldIds, out: &mut [f32]) {
    for (out, &row) in out.chunks_exact_mut(width).zip(&ids.rows) {
        out.copy_from_slice(&table[row as usize * width..(row as usize + 1) * width]);
    }
}

/// A block of output columns of one map.
struct Block {
    group: usize,
    columns: std::ops::Range<usize>,
    /// Position among all blocks of all groups.
    index: usize,
}

/// Columns of a block: few enough that the block's table of U rows stays in a core's cache, many enough for the products.
fn block_width(distinct: usize) -> usize {
    let fits = (1 << 17) / distinct.max(1);
    fits.clamp(LANES, 256).next_power_of_two().min(256)
}

fn blocks(shape: &FieldsShape, distinct: usize) -> usize {
    shape.out.div_ceil(block_width(distinct))
}

fn for_each_block(shape: &FieldsShape, distinct: usize, work: impl Fn(Block) + Sync + Send) {
    let (width, a_group) = (block_width(distinct), blocks(shape, distinct));
    let operations =
        shape.groups * shape.out * (distinct * shape.width + shape.batch * (shape.fields + shape.numerical));
    for_each_piece(shape.groups * a_group, operations, |index| {
        work(Block { group: index / a_group, columns: range(index % a_group, width, shape.out), index });
    });
}

impl Block {
    /// The weights of one input slot (a field, or the numeric token) to this block's columns.
    fn weights(&self, shape: &FieldsShape, slot: usize) -> Matrix {
        let offset = (self.group * shape.inputs() + slot * shape.width) * shape.out + self.columns.start;
        Matrix { offset, ..Matrix::row_major(shape.out) }
    }

    /// This block's columns of the output.
    fn output(&self, shape: &FieldsShape) -> Matrix {
        Matrix { offset: self.group * shape.batch * shape.out + self.columns.start, ..Matrix::row_major(shape.out) }
    }

    /// This block's elements of a row of the output.
    #[inline(always)]
    fn row(&self, shape: &FieldsShape, row: usize) -> std::ops::Range<usize> {
        let first = (self.group * shape.batch + row) * shape.out;
        first + self.columns.start..first + self.columns.end
    }
}

fn product(m: usize, k: usize, n: usize, a: Matrix, b: Matrix, c: Matrix, accumulate: bool) -> Product {
    Product { batch: 1, m, k, n, a, b, c, accumulate }
}

/// `out[e, b] = bias[e] + Σ_f E_f[id]·W_f + token·W_token`.
pub(super) fn forward(shape: &FieldsShape, x: &Inputs, out: &mut [f32]) {
    let (ids, distinct, width) = (x.ids, x.ids.len(), shape.width);
    let out = Shared::new(out);
    for_each_block(shape, distinct, |block| {
        let n = block.columns.len();
        let mut table = vec![0.0; distinct * n];
        for field in 0..shape.fields {
            let rows = ids.range(field);
            let a = Matrix { offset: rows.start * width, ..Matrix::row_major(width) };
            let c = Matrix { offset: rows.start * n, ..Matrix::row_major(n) };
            let p = product(rows.len(), width, n, a, block.weights(shape, field), c, false);
            serial(&p, x.compact, x.weight, &mut table);
        }
        let first = block.group * shape.out;
        let mut bias = x.bias[first + block.columns.start..first + block.columns.end].to_vec();
        if shape.numerical > 0 {
            let token = block.weights(shape, shape.fields);
            let mut folded = vec![0.0; shape.numerical * n];
            let fold = product(shape.numerical, width, n, Matrix::row_major(width), token, Matrix::row_major(n), false);
            serial(&fold, x.token_weight, x.weight, &mut folded);
            let fold = product(1, width, n, Matrix::row_major(width), token, Matrix::row_major(n), true);
            serial(&fold, x.token_bias, x.weight, &mut bias);
            let rows = Matrix::row_major(shape.numerical);
            let p = product(shape.batch, shape.numerical, n, rows, Matrix::row_major(n), block.output(shape), false);
            // SAFETY: each block has its own columns of its own group.
            unsafe { single(&p, x.numerical, &folded, &out) };
        }
        gather_block(&block, shape, ids, &bias, &table, &out);
    });
}

simd_fn! {
    /// Sums the table rows of each sample into a block of the output.
    fn gather_block(block: &Block, shape: &FieldsShape, ids: &FieldIds, bias: &[f32], table: &[f32], out: &Shared) {
        for b in 0..shape.batch {
            // SAFETY: each block has its own columns of its own group.
            let out = unsafe { out.part(block.row(shape, b)) };
            sum_rows(out, shape.numerical > 0, bias, table, ids.sample(b));
        }
    }
}

/// `out = [out] + bias + Σ table[row]`.
#[inline(always)]
fn sum_rows(out: &mut [f32], add: bool, bias: &[f32], table: &[f32], rows: &[u32]) {
    let n = out.len();
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (i, out) in chunks.iter_mut().enumerate() {
        let at = i * LANES;
        let mut sum: [f32; LANES] = bias[at..at + LANES].try_into().expect("LANES values");
        if add {
            for j in 0..LANES {
                sum[j] += out[j];
            }
        }
        for &row in rows {
            let row: &[f32; LANES] =
                table[row as usize * n + at..row as usize * n + at + LANES].try_into().expect("LANES values");
            for j in 0..LANES {
                sum[j] += row[j];
            }
        }
        *out = sum;
    }
    let at = n - rest.len();
    for (j, out) in rest.iter_mut().enumerate() {
        let start = bias[at + j] + if add { *out } else { 0.0 };
        *out = rows.iter().fold(start, |sum, &row| sum + table[row as usize * n + at + j]);
    }
}

/// The pull-back of [`forward`].
pub(super) fn backward(shape: &FieldsShape, x: &Inputs, cotangent: &[f32], sinks: FieldsSinks<Cpu>) {
    let (ids, distinct, width) = (x.ids, x.ids.len(), shape.width);
    let all = shape.groups * blocks(shape, distinct);
    // each block's share of what all blocks add up, summed in order afterwards
    let share = distinct * width + (shape.numerical + 1) * width;
    let mut shares = vec![0.0; all * share];
    let shared_shares = Shared::new(&mut shares);
    let accumulate = sinks.weight.accumulate;
    let weight_sink = Shared::new(sinks.weight.buffer.slice_mut());
    let (bias_sink, bias_accumulate) = (Shared::new(sinks.bias.buffer.slice_mut()), sinks.bias.accumulate);
    for_each_block(shape, distinct, |block| {
        let n = block.columns.len();
        // contiguous copy of the block's cotangents: the sums below visit its rows in random order
        let mut c = Vec::with_capacity(shape.batch * n);
        (0..shape.batch).for_each(|b| c.extend_from_slice(&cotangent[block.row(shape, b)]));
        let mut table = vec![0.0; distinct * n];
        scatter_block(&c, ids, n, &mut table);
        let mut bias = vec![0.0; n];
        sum_all_rows(&c, &mut bias);

        // SAFETY: each block has its own share, and its own columns of its own group's weights and bias.
        let share = unsafe { shared_shares.part(block.index * share..(block.index + 1) * share) };
        let (compact, token_weight) = share.split_at_mut(distinct * width);
        let (token_weight, token_bias) = token_weight.split_at_mut(shape.numerical * width);
        for field in 0..shape.fields {
            let rows = ids.range(field);
            let e = Matrix { offset: rows.start * width, ..Matrix::row_major(width) };
            let t = Matrix { offset: rows.start * n, ..Matrix::row_major(n) };
            let w = block.weights(shape, field);
            let p = product(width, rows.len(), n, e.transposed(), t, w, accumulate);
            // SAFETY: as above.
            unsafe { single(&p, x.compact, &table, &weight_sink) };
            serial(&product(rows.len(), n, width, t, w.transposed(), e, false), &table, x.weight, compact);
        }
        if shape.numerical > 0 {
            let w = block.weights(shape, shape.fields);
            let mut folded = vec![0.0; shape.numerical * n];
            let (rows, cols) = (Matrix::row_major(shape.numerical), Matrix::row_major(n));
            let p = product(shape.numerical, shape.batch, n, rows.transposed(), cols, cols, false);
            serial(&p, x.numerical, &c, &mut folded);
            let token = Matrix::row_major(width);
            let p = product(width, shape.numerical, n, token.transposed(), cols, w, accumulate);
            // SAFETY: as above.
            unsafe { single(&p, x.token_weight, &folded, &weight_sink) };
            let p = product(width, 1, n, Matrix::row_major(1), cols, w, true);
            // SAFETY: as above.
            unsafe { single(&p, x.token_bias, &bias, &weight_sink) };
            let p = product(shape.numerical, n, width, cols, w.transposed(), token, false);
            serial(&p, &folded, x.weight, token_weight);
            serial(&product(1, n, width, cols, w.transposed(), token, false), &bias, x.weight, token_bias);
        }
        let first = block.group * shape.out;
        // SAFETY: as above.
        let sink = unsafe { bias_sink.part(first + block.columns.start..first + block.columns.end) };
        for (sink, bias) in sink.iter_mut().zip(&bias) {
            *sink = if bias_accumulate { *sink + bias } else { *bias };
        }
    });
    let tokens = if shape.numerical > 0 { [shape.numerical * width, width] } else { [0, 0] };
    let sums = [(sinks.compact, distinct * width), (sinks.token_weight, tokens[0]), (sinks.token_bias, tokens[1])];
    let mut at = 0;
    for (sink, len) in sums.into_iter().filter(|(_, len)| *len > 0) {
        sum_shares(&shares[at..], share, sink.buffer.slice_mut(), sink.accumulate);
        at += len;
    }
}

simd_fn! {
    /// Sums the cotangents of the samples that took each table row.
    fn scatter_block(c: &[f32], ids: &FieldIds, n: usize, table: &mut [f32]) {
        for (u, row) in table.chunks_exact_mut(n).enumerate() {
            sum_members(row, c, ids.members(u));
        }
    }
}

/// `out = Σ rows[member]`.
#[inline(always)]
fn sum_members(out: &mut [f32], rows: &[f32], members: &[u32]) {
    let n = out.len();
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (i, out) in chunks.iter_mut().enumerate() {
        let mut sum = [0.0f32; LANES];
        for &member in members {
            let at = member as usize * n + i * LANES;
            let row: &[f32; LANES] = rows[at..at + LANES].try_into().expect("LANES values");
            for j in 0..LANES {
                sum[j] += row[j];
            }
        }
        *out = sum;
    }
    let at = n - rest.len();
    for (j, out) in rest.iter_mut().enumerate() {
        *out = members.iter().map(|&member| rows[member as usize * n + at + j]).sum();
    }
}
