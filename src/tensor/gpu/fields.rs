//! The first layer, see `cpu/fields.rs`: fields of few ids by a table of products, the others and the numeric token
//! sample by sample. All maps of the bank are one product.

use super::index::Ids;
use super::{Gpu, at, flag, layers, multiply, part, real, run};
use crate::tensor::kernels::{FieldsInputs, FieldsShape, FieldsSinks, Matrix, Product, Sink};

/// What goes through products sample by sample: the embeddings of the direct fields, then the numeric token.
struct Direct<G: Gpu> {
    values: G::Memory<f32>,
    cols: usize,
    /// Neighbouring input slots, whose weights lie one after the other: (first column, first slot, columns).
    runs: Vec<(usize, usize, usize)>,
}

impl<G: Gpu> Direct<G> {
    fn of(gpu: &G, shape: &FieldsShape, x: &FieldsInputs<G>) -> Self {
        let (host, width) = (&x.ids.host, shape.width);
        let direct = host.fields() - host.tables;
        let token = (shape.numerical > 0).then_some(shape.fields);
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (i, slot) in host.order[host.tables..].iter().copied().chain(token).enumerate() {
            match runs.last_mut() {
                Some((_, first, cols)) if *first + *cols / width == slot => *cols += width,
                _ => runs.push((i * width, slot, width)),
            }
        }
        let cols = (direct + usize::from(token.is_some())) * width;
        let mut values = gpu.allocate(shape.batch * cols);
        let extents = [width, host.fields(), host.tables, cols].map(|n| n as u64);
        let buffers = [at::<G>(x.compact), x.ids.compact(), at::<G>(&values)];
        run(gpu, "gather_direct", shape.batch * direct * width, &[&buffers[..], &extents].concat());
        if token.is_some() {
            let offset = direct * width;
            let to = part::<G>(&values, offset);
            let extents = [width as u64, cols as u64];
            run(gpu, "spread_row", shape.batch * width, &[&[at::<G>(x.token_bias), to][..], &extents].concat());
            let product = Product {
                batch: 1,
                m: shape.batch,
                k: shape.numerical,
                n: width,
                a: Matrix::row_major(shape.numerical),
                b: Matrix::row_major(width),
                c: Matrix { offset, ..Matrix::row_major(cols) },
                accumulate: true,
            };
            multiply(gpu, &product, x.numerical, x.token_weight, &mut values);
        }
        Self { values, cols, runs }
    }

    fn matrix(&self, column: usize) -> Matrix {
        Matrix { offset: column, ..Matrix::row_major(self.cols) }
    }
}

/// The weights of all maps from an input slot on.
fn weights(shape: &FieldsShape, slot: usize) -> Matrix {
    let whole = Matrix::row_major(shape.out).every(shape.inputs() * shape.out);
    Matrix { offset: slot * shape.width * shape.out, ..whole }
}

/// E matrices of this many rows of N.
fn outputs(shape: &FieldsShape, rows: usize) -> Matrix {
    Matrix::row_major(shape.out).every(rows * shape.out)
}

/// `out[e, b] = bias[e] + Σ_f E_f[id]·W_f + token·W_token`.
pub(super) fn forward<G: Gpu>(gpu: &G, shape: &FieldsShape, x: &FieldsInputs<G>, out: &mut G::Memory<f32>) {
    let (host, width) = (&x.ids.host, shape.width);
    let direct = Direct::of(gpu, shape, x);
    for (i, &(column, slot, cols)) in direct.runs.iter().enumerate() {
        let product = Product {
            batch: shape.groups,
            m: shape.batch,
            k: cols,
            n: shape.out,
            a: direct.matrix(column),
            b: weights(shape, slot),
            c: outputs(shape, shape.batch),
            accumulate: i > 0,
        };
        multiply(gpu, &product, &direct.values, x.weight, out);
    }
    let rows = host.table_rows();
    let mut table = gpu.allocate(shape.groups * rows * shape.out);
    for j in 0..host.tables {
        let first = host.range(j).start;
        let product = Product {
            batch: shape.groups,
            m: host.range(j).len(),
            k: width,
            n: shape.out,
            a: Matrix::row_major(width).from_row(first),
            b: weights(shape, host.order[j]),
            c: outputs(shape, rows).from_row(first),
            accumulate: false,
        };
        multiply(gpu, &product, x.compact, x.weight, &mut table);
    }
    let extents = [shape.out, shape.batch, rows, host.tables, host.fields()].map(|n| n as u64);
    let buffers = [at::<G>(&table), x.ids.compact(), at::<G>(x.bias), at::<G>(out)];
    let arguments = [&buffers[..], &extents, &[flag(!direct.runs.is_empty())]].concat();
    run(gpu, "sum_table_rows", shape.groups * shape.batch * shape.out, &arguments);
}

/// Sums rows of `x` (E×B rows of `stride` values, of which `cols` count) over the samples of compact rows.
struct MemberSums {
    x: u64,
    groups: usize,
    batch: usize,
    cols: usize,
    stride: usize,
    /// Distance between the values of neighbouring direct fields in a row.
    apart: usize,
    weight: f32,
}

impl MemberSums {
    /// For the rows in this range, whose pieces are those in the other, to an address.
    fn run<G: Gpu>(
        &self,
        gpu: &G,
        ids: &Ids<G>,
        rows: std::ops::Range<usize>,
        pieces: std::ops::Range<usize>,
        (out, accumulate): (u64, bool),
    ) {
        let parts: G::Memory<f32> = gpu.allocate(self.groups * pieces.len() * self.cols);
        let read = [self.x, ids.members(), ids.piece_starts(), ids.piece_places(), at::<G>(&parts)];
        let extents = [self.cols, self.batch, pieces.start, pieces.len(), self.stride, self.apart].map(|n| n as u64);
        run(gpu, "member_parts", self.groups * pieces.len() * self.cols, &[&read[..], &extents].concat());
        let extents = [self.cols, rows.len(), rows.start, pieces.len()].map(|n| n as u64);
        let buffers = [at::<G>(&parts), ids.row_pieces(), out];
        let arguments = [&buffers[..], &extents, &[real(self.weight), flag(accumulate)]].concat();
        run(gpu, "sum_pieces", self.groups * rows.len() * self.cols, &arguments);
    }
}

/// The pull-back of [`forward`].
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    shape: &FieldsShape,
    x: &FieldsInputs<G>,
    cotangent: &G::Memory<f32>,
    mut sinks: FieldsSinks<G>,
) {
    let &FieldsShape { groups, batch, out, .. } = shape;
    layers::column_sums(gpu, (groups, batch, out), (at::<G>(cotangent), out), sinks.bias);
    by_table(gpu, shape, x, cotangent, (&mut sinks.compact, &mut sinks.weight));
    directly(gpu, shape, x, cotangent, (&mut sinks.compact, &mut sinks.weight), (sinks.token_weight, sinks.token_bias));
}

/// What fields that go by table add: each table row sums the cotangents of its samples, and products do the rest.
fn by_table<G: Gpu>(
    gpu: &G,
    shape: &FieldsShape,
    x: &FieldsInputs<G>,
    cotangent: &G::Memory<f32>,
    (compact, weight): (&mut Sink<G>, &mut Sink<G>),
) {
    let (host, width) = (&x.ids.host, shape.width);
    let rows = host.table_rows();
    if rows == 0 {
        return;
    }
    let &FieldsShape { groups, batch, out, .. } = shape;
    let table: G::Memory<f32> = gpu.allocate(groups * rows * out);
    let sums = MemberSums { x: at::<G>(cotangent), groups, batch, cols: out, stride: out, apart: 0, weight: 1.0 };
    sums.run(gpu, x.ids, 0..rows, 0..x.ids.table_pieces(), (at::<G>(&table), false));
    let mut shares = gpu.allocate(groups * rows * width);
    for j in 0..host.tables {
        let (first, len) = (host.range(j).start, host.range(j).len());
        let embeddings = Matrix::row_major(width).from_row(first);
        let (table_rows, w) = (outputs(shape, rows).from_row(first), weights(shape, host.order[j]));
        let accumulate = weight.accumulate;
        let p = Product {
            batch: groups,
            m: width,
            k: len,
            n: out,
            a: embeddings.transposed(),
            b: table_rows,
            c: w,
            accumulate,
        };
        multiply(gpu, &p, x.compact, &table, weight.buffer);
        let own = Matrix::row_major(width).every(rows * width).from_row(first);
        let p = Product {
            batch: groups,
            m: len,
            k: out,
            n: width,
            a: table_rows,
            b: w.transposed(),
            c: own,
            accumulate: false,
        };
        multiply(gpu, &p, &table, x.weight, &mut shares);
    }
    let arguments = [at::<G>(&shares), at::<G>(compact.buffer), groups as u64, flag(compact.accumulate)];
    run(gpu, "sum_groups", rows * width, &arguments);
}

/// What direct fields and the numeric token add.
fn directly<G: Gpu>(
    gpu: &G,
    shape: &FieldsShape,
    x: &FieldsInputs<G>,
    cotangent: &G::Memory<f32>,
    (compact, weight): (&mut Sink<G>, &mut Sink<G>),
    (token_weight, token_bias): (Sink<G>, Sink<G>),
) {
    let direct = Direct::of(gpu, shape, x);
    if direct.runs.is_empty() {
        return;
    }
    let &FieldsShape { groups, batch, width, out, numerical, .. } = shape;
    let c = outputs(shape, batch);
    let mut own = gpu.allocate(batch * direct.cols);
    for &(column, slot, cols) in &direct.runs {
        let (values, w) = (direct.matrix(column), weights(shape, slot));
        let accumulate = weight.accumulate;
        let p = Product { batch: groups, m: cols, k: batch, n: out, a: values.transposed(), b: c, c: w, accumulate };
        multiply(gpu, &p, &direct.values, cotangent, weight.buffer);
        // maps share their input: what they add up to is summed by the products, one after the other
        for e in 0..groups {
            let (a, b) = (c.skip(e), w.skip(e).transposed());
            let p = Product { batch: 1, m: batch, k: out, n: cols, a, b, c: values, accumulate: e > 0 };
            multiply(gpu, &p, cotangent, x.weight, &mut own);
        }
    }
    let (rows, pieces) = (x.ids.host.table_rows()..x.ids.host.len(), x.ids.table_pieces()..x.ids.pieces());
    let (x_own, stride) = (at::<G>(&own), direct.cols);
    let sums = MemberSums { x: x_own, groups: 1, batch, cols: width, stride, apart: width, weight: 1.0 };
    sums.run(gpu, x.ids, rows.clone(), pieces, (part::<G>(compact.buffer, rows.start * width), compact.accumulate));
    if numerical > 0 {
        let offset = direct.cols - width;
        let p = Product {
            batch: 1,
            m: numerical,
            k: batch,
            n: width,
            a: Matrix::row_major(numerical).transposed(),
            b: direct.matrix(offset),
            c: Matrix::row_major(width),
            accumulate: token_weight.accumulate,
        };
        multiply(gpu, &p, x.numerical, &own, token_weight.buffer);
        layers::column_sums(gpu, (1, batch, width), (part::<G>(&own, offset), direct.cols), token_bias);
    }
}

/// Tokens of a sample are its fields and, unless it is empty, the numeric token: one over their number.
fn share<G: Gpu>(ids: &Ids<G>, token: &G::Memory<f32>) -> f32 {
    1.0 / (ids.host.fields() + usize::from(G::length(token) > 0)).max(1) as f32
}

/// `out[b] = (token[b] + Σ_f E[id_f])/tokens`.
pub(super) fn mean_token<G: Gpu>(
    gpu: &G,
    width: usize,
    ids: &Ids<G>,
    compact: &G::Memory<f32>,
    token: &G::Memory<f32>,
    out: &mut G::Memory<f32>,
) {
    let buffers = [at::<G>(compact), ids.compact(), at::<G>(token), at::<G>(out)];
    let extents = [width as u64, ids.host.fields() as u64, flag(G::length(token) > 0)];
    run(gpu, "mean_token", G::length(out), &[&buffers[..], &extents, &[real(share(ids, token))]].concat());
}

/// The pull-back of [`mean_token`].
pub(super) fn mean_token_back<G: Gpu>(
    gpu: &G,
    width: usize,
    ids: &Ids<G>,
    cotangent: &G::Memory<f32>,
    compact: Sink<G>,
    token: Sink<G>,
) {
    let weight = share(ids, token.buffer);
    let (x, batch) = (at::<G>(cotangent), ids.host.batch);
    let sums = MemberSums { x, groups: 1, batch, cols: width, stride: width, apart: 0, weight };
    sums.run(gpu, ids, 0..ids.host.len(), 0..ids.pieces(), (at::<G>(compact.buffer), compact.accumulate));
    let arguments = [x, at::<G>(token.buffer), real(weight), flag(token.accumulate)];
    run(gpu, "scale", G::length(token.buffer), &arguments);
}
