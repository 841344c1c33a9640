//! The first layer without the concatenated embedding (DESIGN §4.4).
//!
//! Fields of few ids go by table: for each block of output columns one thread multiplies the batch's distinct embedding
//! rows by their field's weights, and every sample sums one table row a field. Backwards, each table row sums the
//! cotangents of the samples that took it, and one product a distinct id does the rest.
//!
//! What goes direct — fields of many ids, and the numerical columns — lies side by side in one matrix of B rows and takes
//! part in one product. The numeric token is folded into it: `x·(W_token·W)` costs P instead of D multiplications an
//! output when P < D.

use std::ops::Range;

use super::pieces::{Shared, for_each_piece, range};
use super::product::{product as parallel, serial, single};
use super::reduce::{add_one, sum_all_rows, sum_shares};
use super::scratch::Scratch;
use crate::tensor::buffer::CpuSlice;
use crate::tensor::kernels::{FieldsInputs, FieldsShape, FieldsSinks, Matrix, Product, Sink};
use crate::tensor::{Cpu, FieldIds};

/// Rows whose product stays in a core's cache until the table rows are added to it.
const TILE: usize = 256;
/// Columns that stay in vector registers while rows are summed.
const LANES: usize = 64;
/// Values of the shares that blocks add up apart (64 MiB): beyond, blocks take turns on fewer shares.
const SHARES: usize = 1 << 24;
/// But never fewer shares than this: so many threads can work.
const FEWEST: usize = 4;

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
    columns: Range<usize>,
}

/// How the columns of all maps are cut into blocks.
struct Blocks<'a> {
    shape: &'a FieldsShape,
    width: usize,
    per_group: usize,
    operations: usize,
}

impl<'a> Blocks<'a> {
    /// Few enough columns that the block's table stays in a core's cache, many enough for the products.
    fn new(shape: &'a FieldsShape, ids: &FieldIds) -> Self {
        let fits = (1 << 17) / ids.table_rows().max(1);
        let width = fits.clamp(LANES, 256).next_power_of_two().min(256);
        let a_sample = ids.tables + shape.numerical + (shape.fields - ids.tables) * shape.width;
        let operations = shape.groups * shape.out * (ids.table_rows() * shape.width + shape.batch * a_sample);
        Self { shape, width, per_group: shape.out.div_ceil(width), operations }
    }

    fn len(&self) -> usize {
        self.shape.groups * self.per_group
    }

    fn at(&self, index: usize) -> Block {
        Block { group: index / self.per_group, columns: range(index % self.per_group, self.width, self.shape.out) }
    }
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
    fn row(&self, shape: &FieldsShape, row: usize) -> Range<usize> {
        let first = (self.group * shape.batch + row) * shape.out;
        first + self.columns.start..first + self.columns.end
    }

    /// This block's elements of the biases.
    fn biases(&self, shape: &FieldsShape) -> Range<usize> {
        self.group * shape.out + self.columns.start..self.group * shape.out + self.columns.end
    }
}

fn product(m: usize, k: usize, n: usize, a: Matrix, b: Matrix, c: Matrix, accumulate: bool) -> Product {
    Product { batch: 1, m, k, n, a, b, c, accumulate }
}

/// The compact rows of the j-th field, as a matrix of rows of this many columns.
fn compact_rows(ids: &FieldIds, j: usize, cols: usize) -> Matrix {
    Matrix { offset: ids.range(j).start * cols, ..Matrix::row_major(cols) }
}

/// What goes through the product sample by sample, B×K: the numerical columns and the embeddings of the direct fields.
struct Direct<'a> {
    values: std::borrow::Cow<'a, [f32]>,
    cols: usize,
}

impl<'a> Direct<'a> {
    fn of(shape: &FieldsShape, x: &Inputs<'a>) -> Self {
        let (ids, width) = (x.ids, shape.width);
        let cols = shape.numerical + (ids.fields() - ids.tables) * width;
        if cols == shape.numerical {
            return Self { values: x.numerical.into(), cols };
        }
        let mut values = Vec::with_capacity(shape.batch * cols);
        for b in 0..shape.batch {
            values.extend_from_slice(&x.numerical[b * shape.numerical..(b + 1) * shape.numerical]);
            for &row in &ids.sample(b)[ids.tables..] {
                values.extend_from_slice(&x.compact[row as usize * width..(row as usize + 1) * width]);
            }
        }
        Self { values: values.into(), cols }
    }

    fn matrix(&self) -> Matrix {
        Matrix::row_major(self.cols)
    }
}

/// `out[e, b] = bias[e] + Σ_f E_f[id]·W_f + token·W_token`.
pub(super) fn forward(shape: &FieldsShape, x: &Inputs, out: &mut [f32]) {
    let (ids, width) = (x.ids, shape.width);
    let direct = Direct::of(shape, x);
    let blocks = Blocks::new(shape, ids);
    let out = Shared::new(out);
    for_each_piece(blocks.len(), blocks.operations, |index| {
        let block = blocks.at(index);
        let n = block.columns.len();
        let cols = Matrix::row_major(n);
        let mut table = Scratch::take(ids.table_rows() * n);
        for j in 0..ids.tables {
            let (rows, w) = (ids.range(j).len(), block.weights(shape, ids.order[j]));
            let p = product(rows, width, n, compact_rows(ids, j, width), w, compact_rows(ids, j, n), false);
            serial(&p, x.compact, x.weight, &mut table);
        }
        let mut bias = x.bias[block.biases(shape)].to_vec();
        let mut weights = Scratch::take(direct.cols * n);
        if shape.numerical > 0 {
            let token = block.weights(shape, shape.fields);
            let fold = product(shape.numerical, width, n, Matrix::row_major(width), token, cols, false);
            serial(&fold, x.token_weight, x.weight, &mut weights);
            let fold = product(1, width, n, Matrix::row_major(width), token, cols, true);
            serial(&fold, x.token_bias, x.weight, &mut bias);
        }
        let rows = weights[shape.numerical * n..].chunks_exact_mut(width * n);
        for (rows, &field) in rows.zip(&ids.order[ids.tables..]) {
            let w = block.weights(shape, field);
            for (i, row) in rows.chunks_exact_mut(n).enumerate() {
                row.copy_from_slice(&x.weight[w.offset + i * w.row..][..n]);
            }
        }
        for first in (0..shape.batch).step_by(TILE) {
            let rows = first..(first + TILE).min(shape.batch);
            if direct.cols > 0 {
                let (a, c) = (direct.matrix().from_row(first), block.output(shape).from_row(first));
                let p = product(rows.len(), direct.cols, n, a, cols, c, false);
                // SAFETY: each block has its own columns of its own group.
                unsafe { single(&p, &direct.values, &weights, &out) };
            }
            gather_block(&block, shape, ids, rows, &bias, &table, &out);
        }
    });
}

simd_fn! {
    /// Sums the table rows of each sample into a block of the output.
    fn gather_block(
        block: &Block, shape: &FieldsShape, ids: &FieldIds, rows: Range<usize>, bias: &[f32], table: &[f32], out: &Shared
    ) {
        let add = shape.numerical > 0 || ids.tables < shape.fields;
        for b in rows {
            // SAFETY: each block has its own columns of its own group.
            let out = unsafe { out.part(block.row(shape, b)) };
            sum_rows(out, add, bias, table, &ids.sample(b)[..ids.tables]);
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
    let (ids, width, tables) = (x.ids, shape.width, x.ids.table_rows());
    let direct = Direct::of(shape, x);
    let blocks = Blocks::new(shape, ids);
    // the blocks' shares of what all of them add up, summed in order afterwards
    let share = tables * width + (shape.numerical + 1) * width;
    let slots = (SHARES / share).max(FEWEST).min(blocks.len());
    let mut shares = Scratch::take(slots * share);
    let shared_shares = Shared::new(&mut shares);
    let accumulate = sinks.weight.accumulate;
    let weight_sink = Shared::new(sinks.weight.buffer.slice_mut());
    let (bias_sink, bias_accumulate) = (Shared::new(sinks.bias.buffer.slice_mut()), sinks.bias.accumulate);
    for_each_piece(slots, blocks.operations, |slot| {
        // SAFETY: each slot has its own share.
        let share = unsafe { shared_shares.part(slot * share..(slot + 1) * share) };
        let first = slot * blocks.len() / slots;
        for index in first..(slot + 1) * blocks.len() / slots {
            let block = blocks.at(index);
            let add = index > first;
            let n = block.columns.len();
            // contiguous copy of the block's cotangents: the sums below visit its rows in random order
            let mut c = Scratch::take(shape.batch * n);
            for (b, c) in c.chunks_exact_mut(n).enumerate() {
                c.copy_from_slice(&cotangent[block.row(shape, b)]);
            }
            let mut table = Scratch::take(tables * n);
            scatter_block(&c, ids, n, &mut table);
            let mut bias = Scratch::take(n);
            sum_all_rows(&c, &mut bias);

            let (compact, token_weight) = share.split_at_mut(tables * width);
            let (token_weight, token_bias) = token_weight.split_at_mut(shape.numerical * width);
            for j in 0..ids.tables {
                let rows = ids.range(j).len();
                let (e, t, w) =
                    (compact_rows(ids, j, width), compact_rows(ids, j, n), block.weights(shape, ids.order[j]));
                let p = product(width, rows, n, e.transposed(), t, w, accumulate);
                // SAFETY: each block has its own columns of its own group's weights.
                unsafe { single(&p, x.compact, &table, &weight_sink) };
                serial(&product(rows, n, width, t, w.transposed(), e, add), &table, x.weight, compact);
            }
            let cols = Matrix::row_major(n);
            let mut folded = Scratch::take(shape.numerical * n);
            if shape.numerical > 0 {
                let p = product(shape.numerical, shape.batch, n, direct.matrix().transposed(), cols, cols, false);
                serial(&p, &direct.values, &c, &mut folded);
                let (token, w) = (Matrix::row_major(width), block.weights(shape, shape.fields));
                let p = product(width, shape.numerical, n, token.transposed(), cols, w, accumulate);
                // SAFETY: as above.
                unsafe { single(&p, x.token_weight, &folded, &weight_sink) };
                let p = product(width, 1, n, Matrix::row_major(1), cols, w, true);
                // SAFETY: as above.
                unsafe { single(&p, x.token_bias, &bias, &weight_sink) };
                let p = product(shape.numerical, n, width, cols, w.transposed(), token, add);
                serial(&p, &folded, x.weight, token_weight);
                serial(&product(1, n, width, cols, w.transposed(), token, add), &bias, x.weight, token_bias);
            }
            for (i, &field) in ids.order[ids.tables..].iter().enumerate() {
                let e = Matrix { offset: shape.numerical + i * width, ..direct.matrix() };
                let w = block.weights(shape, field);
                let p = product(width, shape.batch, n, e.transposed(), cols, w, accumulate);
                // SAFETY: as above.
                unsafe { single(&p, &direct.values, &c, &weight_sink) };
            }
            // SAFETY: as above.
            let sink = unsafe { bias_sink.part(block.biases(shape)) };
            for (sink, bias) in sink.iter_mut().zip(&*bias) {
                *sink = if bias_accumulate { *sink + bias } else { *bias };
            }
        }
    });
    let mut compact = sinks.compact;
    direct_rows_back(shape, x, cotangent, &mut compact);
    let tokens = if shape.numerical > 0 { [shape.numerical * width, width] } else { [0, 0] };
    let sums = [(compact, tables * width), (sinks.token_weight, tokens[0]), (sinks.token_bias, tokens[1])];
    let mut at = 0;
    for (sink, len) in sums.into_iter().filter(|(_, len)| *len > 0) {
        sum_shares(&shares[at..], share, &mut sink.buffer.slice_mut()[..len], sink.accumulate);
        at += len;
    }
}

/// The gradient of the direct fields' embeddings: first each sample's own, then summed over the samples of each id.
fn direct_rows_back(shape: &FieldsShape, x: &Inputs, cotangent: &[f32], sink: &mut Sink<Cpu>) {
    let (ids, width) = (x.ids, shape.width);
    let mut own = Scratch::take(if ids.tables < shape.fields { shape.batch * width } else { 0 });
    for j in ids.tables..shape.fields {
        for group in 0..shape.groups {
            let c = Matrix { offset: group * shape.batch * shape.out, ..Matrix::row_major(shape.out) };
            let whole = Block { group, columns: 0..shape.out };
            let w = whole.weights(shape, ids.order[j]).transposed();
            let p = product(shape.batch, shape.out, width, c, w, Matrix::row_major(width), group > 0);
            parallel(&p, cotangent, x.weight, &mut own);
        }
        let rows = ids.range(j);
        let sink_rows = sink.buffer.slice_mut()[rows.start * width..rows.end * width].chunks_exact_mut(width);
        for (row, sink_row) in rows.zip(sink_rows) {
            if !sink.accumulate {
                sink_row.fill(0.0);
            }
            for &member in ids.members(row) {
                add_one(&own[member as usize * width..(member as usize + 1) * width], sink_row);
            }
        }
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
