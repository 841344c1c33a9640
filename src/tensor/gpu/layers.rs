//! Normalisations, gates and rows put in front of others.

use super::{Gpu, ROWS, at, flag, part, real, run};
use crate::tensor::kernels::{MixShape, NORM_EPS, NormInputs, NormShape, RMS_EPS, Sink};
use crate::tensor::random::drop_threshold;

/// Threads that share the inner product of two rows.
const LANES: usize = 8;

/// `out[e, :] (+)= Σ_b x[e, b, :]` for rows of `cols` values that are a stride apart, from an address.
pub(super) fn column_sums<G: Gpu>(
    gpu: &G,
    (groups, batch, cols): (usize, usize, usize),
    (x, stride): (u64, usize),
    out: Sink<G>,
) {
    let chunks = batch.div_ceil(ROWS);
    let parts: G::Memory<f32> = gpu.allocate(groups * chunks * cols);
    let extents = [cols, batch, ROWS, chunks, stride].map(|n| n as u64);
    run(gpu, "column_parts", groups * chunks * cols, &[&[x, at::<G>(&parts)], &extents[..]].concat());
    let arguments = [at::<G>(&parts), at::<G>(out.buffer), cols as u64, chunks as u64, flag(out.accumulate)];
    run(gpu, "column_sums", groups * cols, &arguments);
}

/// BatchNorm with the batch's statistics, ReLU, dropout.
pub(super) fn norm<G: Gpu>(
    gpu: &G,
    shape: &NormShape,
    x: &G::Memory<f32>,
    affine: (&G::Memory<f32>, &G::Memory<f32>),
    statistics: &mut G::Memory<f32>,
    out: &mut G::Memory<f32>,
) {
    let (columns, chunks) = (shape.groups * shape.cols, shape.batch.div_ceil(ROWS));
    let parts: G::Memory<f32> = gpu.allocate(2 * chunks * columns);
    let extents = [shape.cols, shape.batch, ROWS, chunks].map(|n| n as u64);
    run(gpu, "norm_parts", chunks * columns, &[&[at::<G>(x), at::<G>(&parts)], &extents[..]].concat());
    run(gpu, "norm_moments", columns, &[&[at::<G>(&parts), at::<G>(statistics)], &extents[..]].concat());
    let moments = (at::<G>(statistics), part::<G>(statistics, columns));
    norm_apply(gpu, shape, (at::<G>(x), at::<G>(out)), moments, affine);
}

/// Normalisation by these means and variances, ReLU and dropout, from one address to another.
pub(super) fn norm_apply<G: Gpu>(
    gpu: &G,
    shape: &NormShape,
    (x, out): (u64, u64),
    (mean, variance): (u64, u64),
    (gain, shift): (&G::Memory<f32>, &G::Memory<f32>),
) {
    let [key0, key1] = shape.key.words().map(u64::from);
    let arguments = [
        x,
        out,
        mean,
        variance,
        at::<G>(gain),
        at::<G>(shift),
        shape.cols as u64,
        (shape.batch * shape.cols) as u64,
        real(NORM_EPS),
        u64::from(drop_threshold(shape.dropout)),
        real(1.0 / (1.0 - shape.dropout)),
        key0,
        key1,
    ];
    run(gpu, "norm_apply", shape.groups * shape.batch * shape.cols, &arguments);
}

/// The pull-back of [`norm`].
pub(super) fn norm_back<G: Gpu>(
    gpu: &G,
    shape: &NormShape,
    inputs: &NormInputs<G>,
    cotangent: &mut G::Memory<f32>,
    gain: Sink<G>,
    shift: Sink<G>,
) {
    let (columns, chunks) = (shape.groups * shape.cols, shape.batch.div_ceil(ROWS));
    let (mean, variance) = (at::<G>(inputs.statistics), part::<G>(inputs.statistics, columns));
    let keep = real(1.0 / (1.0 - shape.dropout));
    let parts: G::Memory<f32> = gpu.allocate(2 * chunks * columns);
    let coefficients: G::Memory<f32> = gpu.allocate(3 * columns);
    let read = [at::<G>(cotangent), at::<G>(inputs.out), at::<G>(inputs.x), mean];
    let extents = [shape.cols, shape.batch, ROWS, chunks].map(|n| n as u64);
    run(gpu, "norm_back_parts", chunks * columns, &[&read[..], &[at::<G>(&parts)], &extents].concat());
    let sinks = [at::<G>(gain.buffer), at::<G>(shift.buffer), at::<G>(&coefficients)];
    let numbers = [shape.cols as u64, shape.batch as u64, chunks as u64, real(NORM_EPS), keep];
    let flags = [flag(gain.accumulate), flag(shift.accumulate)];
    let arguments = [&[at::<G>(&parts), at::<G>(inputs.gain), variance][..], &sinks, &numbers, &flags].concat();
    run(gpu, "norm_back_sums", columns, &arguments);
    let extents = [shape.cols, shape.batch * shape.cols, columns].map(|n| n as u64);
    let arguments = [&read[..], &[at::<G>(&coefficients)], &extents].concat();
    run(gpu, "norm_back", columns * shape.batch, &arguments);
}

/// `out[b] (+)= Σ_e gate[b, e]·x[e, b]`.
pub(super) fn mix<G: Gpu>(gpu: &G, shape: &MixShape, gate: &G::Memory<f32>, x: &G::Memory<f32>, out: Sink<G>) {
    let experts = &shape.experts;
    let extents = [shape.cols, shape.batch, experts.start, experts.len(), shape.gate, shape.first].map(|n| n as u64);
    let buffers = [gate, x, out.buffer].map(at::<G>);
    run(gpu, "mix", shape.batch * shape.cols, &[&buffers[..], &extents, &[flag(out.accumulate)]].concat());
}

/// The pull-back of [`mix`].
pub(super) fn mix_back<G: Gpu>(
    gpu: &G,
    shape: &MixShape,
    (gate, x): (&G::Memory<f32>, &G::Memory<f32>),
    cotangent: &G::Memory<f32>,
    gate_sink: Sink<G>,
    x_sink: Option<Sink<G>>,
) {
    let MixShape { batch, cols, experts, gate: gates, first } = shape;
    let rows = experts.len() * batch;
    let parts: G::Memory<f32> = gpu.allocate(rows * LANES);
    let extents = [*cols, *batch, experts.start, LANES].map(|n| n as u64);
    let arguments = [&[cotangent, x, &parts].map(at::<G>)[..], &extents].concat();
    run(gpu, "mix_back_parts", rows * LANES, &arguments);
    let extents = [*batch, LANES, *gates, *first].map(|n| n as u64);
    let buffers = [at::<G>(&parts), at::<G>(gate_sink.buffer)];
    run(gpu, "mix_back_gate", rows, &[&buffers[..], &extents, &[flag(gate_sink.accumulate)]].concat());
    if let Some(sink) = x_sink {
        let extents = [*cols, *batch, experts.start, *gates, *first].map(|n| n as u64);
        let buffers = [gate, cotangent, sink.buffer].map(at::<G>);
        run(gpu, "mix_back_bank", rows * cols, &[&buffers[..], &extents, &[flag(sink.accumulate)]].concat());
    }
}

/// Widths of the row in front, and of the rows behind it.
pub(super) fn prefix_widths<G: Gpu>(
    row: &G::Memory<f32>,
    x: &G::Memory<f32>,
    joined: &G::Memory<f32>,
) -> (usize, usize) {
    let front = G::length(row);
    let rows = (G::length(joined) - G::length(x)) / front.max(1);
    (front, G::length(x) / rows.max(1))
}

/// The pull-back of rows with one in front.
pub(super) fn prefix_rows_back<G: Gpu>(gpu: &G, cotangent: &G::Memory<f32>, row: Sink<G>, x: Sink<G>) {
    let (front, width) = prefix_widths::<G>(row.buffer, x.buffer, cotangent);
    let len = G::length(x.buffer);
    let buffers = [at::<G>(cotangent), at::<G>(x.buffer)];
    let arguments = [&buffers[..], &[front as u64, width as u64, flag(x.accumulate)]].concat();
    run(gpu, "prefix_rows_back", len, &arguments);
    column_sums(gpu, (1, len / width.max(1), front), (at::<G>(cotangent), front + width), row);
}

/// One over the root mean square of each row.
pub(super) fn rms_inverse<G: Gpu>(gpu: &G, cols: usize, x: &G::Memory<f32>) -> G::Memory<f32> {
    let rows = G::length(x) / cols;
    let inverse = gpu.allocate(rows);
    run(gpu, "rms_inverse", rows, &[at::<G>(x), at::<G>(&inverse), cols as u64, real(RMS_EPS)]);
    inverse
}

/// The pull-back of a division by the root mean square of each row.
pub(super) fn rms_norm_back<G: Gpu>(
    gpu: &G,
    cols: usize,
    (x, gain): (&G::Memory<f32>, &G::Memory<f32>),
    cotangent: &mut G::Memory<f32>,
    gain_sink: Sink<G>,
) {
    let rows = G::length(x) / cols;
    let inverse = rms_inverse(gpu, cols, x);
    let slopes: G::Memory<f32> = gpu.allocate(rows);
    let terms: G::Memory<f32> = gpu.allocate(G::length(x));
    let buffers = [x, &inverse, gain, cotangent, &slopes].map(at::<G>);
    run(gpu, "rms_slopes", rows, &[&buffers[..], &[cols as u64]].concat());
    let buffers = [x, &inverse, gain, &slopes, cotangent, &terms].map(at::<G>);
    run(gpu, "rms_back", G::length(x), &[&buffers[..], &[cols as u64]].concat());
    column_sums(gpu, (1, rows, cols), (at::<G>(&terms), cols), gain_sink);
}
