//! Single kernels at the sizes of MMoE `Paper`: 8 experts, batch 2048, 17 tokens of width 128, layers of 512 and 256.
//!
//! `cargo bench --bench kernels [-- FILTER]`. Throughput is in multiplications for products and in values read and
//! written for the rest, so that it can be held against the machine's rates (see `benches/README.md`).

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mtorec::tensor::kernels::{
    FieldsInputs, FieldsShape, FieldsSinks, Matrix, MixShape, NormInputs, NormShape, Product, Sink,
};
use mtorec::tensor::{AdamStep, Buffer, Cpu, FieldIds, FieldLayout, Held, Kernels, Key, Route};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BATCH: usize = 2048;
const EXPERTS: usize = 8;
const WIDTH: usize = 128;
const LAYERS: [usize; 2] = [512, 256];

fn noise(device: &Cpu, len: usize) -> Buffer<Cpu> {
    let mut rng = ChaCha8Rng::seed_from_u64(len as u64);
    device.upload(&(0..len).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>())
}

/// The second layer of the expert bank: forward, and the products of its pull-back.
fn products(c: &mut Criterion) {
    let device = Cpu::default();
    let [inputs, outputs] = LAYERS;
    let x = Matrix::row_major(inputs).every(BATCH * inputs);
    let w = Matrix::row_major(outputs).every(inputs * outputs);
    let y = Matrix::row_major(outputs).every(BATCH * outputs);
    let cases = [
        ("forward", (BATCH, inputs, outputs), (x, w, y)),
        ("inputs", (BATCH, outputs, inputs), (y, w.transposed(), x)),
        ("weights", (inputs, BATCH, outputs), (x.transposed(), y, w)),
    ];
    let mut group = c.benchmark_group("product");
    for groups in [1, EXPERTS] {
        for (name, (m, k, n), (a, b, out)) in cases {
            let p = Product { batch: groups, m, k, n, a, b, c: out, accumulate: false };
            let (a, b, mut out) =
                (noise(&device, groups * m * k), noise(&device, groups * k * n), device.zeros(groups * m * n));
            group.throughput(Throughput::Elements((groups * m * k * n) as u64));
            group.bench_function(format!("{name} of {groups}"), |bench| {
                bench.iter(|| device.product(&p, &a, &b, &mut out))
            });
        }
    }
}

/// The first layer on one batch: what it reads, and where its pull-back writes.
struct FirstLayer {
    device: Cpu,
    shape: FieldsShape,
    ids: FieldIds,
    /// Compact rows, numerical columns, token weight and bias, the maps' weight and bias.
    buffers: [Buffer<Cpu>; 6],
    out: Buffer<Cpu>,
}

impl FirstLayer {
    fn new(ids: FieldIds, numerical: usize) -> Self {
        let device = Cpu::default();
        let (groups, out, fields) = (EXPERTS, LAYERS[0], ids.fields());
        let shape = FieldsShape { batch: BATCH, width: WIDTH, groups, out, numerical, fields };
        let lens = [
            ids.len() * WIDTH,
            BATCH * numerical,
            numerical * WIDTH,
            if numerical > 0 { WIDTH } else { 0 },
            EXPERTS * shape.inputs() * shape.out,
            EXPERTS * shape.out,
        ];
        let buffers = lens.map(|len| noise(&device, len));
        let out = noise(&device, EXPERTS * BATCH * shape.out);
        Self { device, shape, ids, buffers, out }
    }

    fn inputs(&self) -> FieldsInputs<'_, Cpu> {
        let [compact, numerical, token_weight, token_bias, weight, bias] = &self.buffers;
        FieldsInputs { ids: &self.ids, compact, numerical, token_weight, token_bias, weight, bias }
    }

    fn time(&self, group: &mut BenchmarkGroup<WallTime>, name: &str) {
        let mut out = self.out.clone();
        group.bench_function(format!("forward, {name}"), |bench| {
            bench.iter(|| self.device.fields_linear(&self.shape, &self.inputs(), &mut out));
        });
        let [mut compact, _, mut token_weight, mut token_bias, mut weight, mut bias] = self.buffers.clone();
        group.bench_function(format!("backward, {name}"), |bench| {
            bench.iter(|| {
                fn sink(buffer: &mut Buffer<Cpu>) -> Sink<'_, Cpu> {
                    Sink { buffer, accumulate: false }
                }
                let sinks = FieldsSinks {
                    compact: sink(&mut compact),
                    token_weight: sink(&mut token_weight),
                    token_bias: sink(&mut token_bias),
                    weight: sink(&mut weight),
                    bias: sink(&mut bias),
                };
                self.device.fields_linear_back(&self.shape, &self.inputs(), &self.out, sinks);
            });
        });
    }
}

/// With few ids in each field, and with one field of very many.
fn fields(c: &mut Criterion) {
    let mut group = c.benchmark_group("fields");
    for (name, wide) in [("16 fields of 31", None), ("and one of 1000000", Some(1_000_000))] {
        let sizes: Vec<usize> = std::iter::repeat_n(31, 16).chain(wide).collect();
        let layout = FieldLayout::new(sizes.iter().copied(), WIDTH);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let draw = |_| sizes.iter().map(|&size| rng.random_range(0..size as u32)).collect::<Vec<_>>();
        let categorical: Vec<u32> = (0..BATCH).flat_map(draw).collect();
        let mut ids = FieldIds::default();
        ids.index(&layout, &categorical, BATCH);
        FirstLayer::new(ids.clone(), 63).time(&mut group, name);
        group.bench_function(format!("index, {name}"), |bench| bench.iter(|| ids.index(&layout, &categorical, BATCH)));
    }
}

/// Four fields with so many distinct ids in the batch, by either route: where they meet is the crossover of `Route::of`.
fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("routes");
    for distinct in [512, 1024, 1536, 1792, 2048] {
        let layout = FieldLayout::new([distinct; 4], WIDTH);
        let categorical: Vec<u32> = (0..BATCH * 4).map(|i| ((i / 4 * 5 + i % 4) % distinct) as u32).collect();
        for route in [Route::Table, Route::Direct] {
            let mut ids = FieldIds::default();
            ids.index_by(&layout, &categorical, BATCH, |_| route);
            FirstLayer::new(ids, 0).time(&mut group, &format!("{distinct} ids, {route:?}"));
        }
    }
}

fn norm(c: &mut Criterion) {
    let device = Cpu::default();
    let mut group = c.benchmark_group("norm, relu, dropout");
    for cols in LAYERS {
        let (columns, len) = (EXPERTS * cols, EXPERTS * BATCH * cols);
        let key = Key::of_step(1, 1);
        let shape = NormShape { groups: EXPERTS, batch: BATCH, cols, dropout: 0.2, key };
        let (x, gain, shift) = (noise(&device, len), noise(&device, columns), device.zeros(columns));
        let mut shift_gradient = device.zeros(columns);
        let (mut statistics, mut out) = (device.zeros(2 * columns), device.zeros(len));
        group.throughput(Throughput::Elements(3 * len as u64));
        group.bench_function(format!("forward, {cols}"), |bench| {
            bench.iter(|| device.norm_relu_dropout(&shape, &x, &gain, &shift, &mut statistics, &mut out));
        });
        let inputs = NormInputs { x: &x, out: &out, gain: &gain, statistics: &statistics };
        let (mut pulled, mut d_gain) = (noise(&device, len), device.zeros(columns));
        let values = device.download(&pulled);
        group.throughput(Throughput::Elements(7 * len as u64));
        group.bench_function(format!("backward, {cols}"), |bench| {
            bench.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    // a gradient pulled back again and again would end in denormal numbers
                    device.write(&mut pulled, &values);
                    let start = Instant::now();
                    let gain = Sink { buffer: &mut d_gain, accumulate: false };
                    let shift = Sink { buffer: &mut shift_gradient, accumulate: false };
                    device.norm_relu_dropout_back(&shape, &inputs, &mut pulled, gain, shift);
                    total += start.elapsed();
                }
                total
            });
        });
    }
}

fn mixture(c: &mut Criterion) {
    let device = Cpu::default();
    let cols = LAYERS[1];
    let (gate, x) = (noise(&device, BATCH * EXPERTS), noise(&device, EXPERTS * BATCH * cols));
    let mut out = device.zeros(BATCH * cols);
    let mut group = c.benchmark_group("mixture");
    group.throughput(Throughput::Elements((EXPERTS * BATCH * cols) as u64));
    let shape = MixShape { batch: BATCH, cols, experts: 0..EXPERTS, gate: EXPERTS, first: 0 };
    group.bench_function("forward", |bench| {
        bench.iter(|| device.mix(&shape, &gate, &x, Sink { buffer: &mut out, accumulate: false }));
    });
    let (mut d_gate, mut d_x) = (gate.clone(), x.clone());
    group.bench_function("backward", |bench| {
        bench.iter(|| {
            let gate_sink = Sink { buffer: &mut d_gate, accumulate: false };
            let x_sink = Sink { buffer: &mut d_x, accumulate: false };
            device.mix_back(&shape, (&gate, &x), &out, gate_sink, Some(x_sink));
        });
    });
}

fn updates(c: &mut Criterion) {
    let device = Cpu::default();
    let len = EXPERTS * 17 * WIDTH * LAYERS[0];
    let mut buffers: Vec<_> = (0..4).map(|_| noise(&device, len)).collect();
    let step = AdamStep {
        index: 1,
        step_size: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        root_correction2: 1.0,
        eps: 1e-8,
        weight_decay: 1e-6,
        keep: 1.0,
    };
    let mut group = c.benchmark_group("parameters");
    group.throughput(Throughput::Elements(2 * len as u64));
    group.bench_function("Gram of two tasks", |bench| {
        bench.iter(|| black_box(device.gram(2, &[vec![Some(&buffers[0]), Some(&buffers[1])]])));
    });
    group.throughput(Throughput::Elements(4 * len as u64));
    group.bench_function("Gram of two tasks' updates", |bench| {
        bench.iter(|| {
            let mut gram = [0.0; 4];
            let (gradients, moments) = ([Some(&buffers[0]), Some(&buffers[1])], (&buffers[2], &buffers[3]));
            device.add_update_gram(&step, Held::All, moments, &gradients, &mut gram);
            black_box(gram)
        });
    });
    group.throughput(Throughput::Elements(7 * len as u64));
    let [value, m, v, gradient] = &mut buffers[..] else { unreachable!("four buffers") };
    device.write(v, &vec![1.0; len]);
    group.bench_function("Adam", |bench| {
        bench.iter(|| device.adam(&step, Held::All, value, (m, v), &[(1.0, gradient)]))
    });
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20);
    targets = products, fields, routes, norm, mixture, updates
}
criterion_main!(kernels);
