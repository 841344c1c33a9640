//! Routers, and sparse experts as one product each way: every expert gets as many slots as the busiest one has samples,
//! and slots without a sample hold zeros.

use super::{Gpu, at, flag, multiply, real, run, sent};
use crate::tensor::cpu::Routes as HostRoutes;
use crate::tensor::kernels::{GATE_EPS, Matrix, Product, RouteRule, RoutedInputs, RoutedShape, RoutedSinks, Sink};

/// Which experts the samples of a batch take.
pub struct Routes<G: Gpu> {
    top_k: usize,
    /// How many choices there are, B·k.
    len: usize,
    /// Slots an expert.
    most: usize,
    /// The expert of each choice, by sample.
    chosen: G::Memory<u32>,
    /// Where each expert's choices start (and the last one's end), where choices by expert stand by sample, and the slot of
    /// each choice by sample.
    words: G::Memory<u32>,
    experts: usize,
}

impl<G: Gpu> Routes<G> {
    fn starts(&self) -> u64 {
        G::address(&self.words)
    }

    fn by_sample(&self) -> u64 {
        self.starts() + 4 * (self.experts + 1) as u64
    }

    fn slots(&self) -> u64 {
        self.by_sample() + 4 * self.len as u64
    }
}

/// Chooses the experts of each row of logits.
pub(super) fn choose<G: Gpu>(
    gpu: &G,
    rule: &RouteRule,
    (logits, bias): (&G::Memory<f32>, &G::Memory<f32>),
    gates: &mut G::Memory<f32>,
    loads: &mut G::Memory<f32>,
) -> Routes<G> {
    let len = G::length(gates);
    let batch = len / rule.top_k;
    let (scores, biased) = (gpu.allocate::<f32>(batch * rule.experts), gpu.allocate::<f32>(batch * rule.experts));
    let best: G::Memory<f32> = gpu.allocate(batch * rule.groups);
    let chosen: G::Memory<u32> = gpu.allocate(len);
    let buffers = [logits, bias, &scores, &biased, &best].map(at::<G>);
    let numbers = [rule.experts, rule.top_k, rule.groups, rule.groups_kept].map(|n| n as u64);
    let rest = [flag(rule.normalise), real(rule.scaling), real(GATE_EPS)];
    let arguments = [&buffers[..], &[G::address(&chosen), at::<G>(gates)], &numbers, &rest].concat();
    run(gpu, "choose_experts", batch, &arguments);
    // after a fault what comes back is zeros: a valid choice, of which nothing is made
    let host = HostRoutes::new(rule.experts, rule.top_k, gpu.fetch(&chosen));
    let most = (0..rule.experts).map(|expert| host.load(expert)).max().unwrap_or(0);
    let words: Vec<u32> = host
        .starts()
        .iter()
        .map(|start| *start as u32)
        .chain(host.by_sample().iter().copied())
        .chain(host.slots(most))
        .collect();
    let counts: Vec<f32> = (0..rule.experts).map(|expert| host.load(expert) as f32).collect();
    gpu.send(&counts, loads, 0);
    Routes { top_k: rule.top_k, len, most, chosen, words: sent(gpu, &words), experts: rule.experts }
}

/// The gradient of the logits for a cotangent of the gate values.
pub(super) fn choose_back<G: Gpu>(
    gpu: &G,
    rule: &RouteRule,
    routes: &Routes<G>,
    logits: &G::Memory<f32>,
    cotangent: &G::Memory<f32>,
    sink: Sink<G>,
) {
    let buffers = [at::<G>(logits), G::address(&routes.chosen), at::<G>(cotangent), at::<G>(sink.buffer)];
    let numbers = [rule.experts as u64, rule.top_k as u64, flag(rule.normalise)];
    let rest = [real(rule.scaling), real(GATE_EPS), flag(sink.accumulate)];
    run(gpu, "choose_experts_back", routes.len / rule.top_k, &[&buffers[..], &numbers, &rest].concat());
}

/// The extents of the slots' products.
struct Slots {
    experts: usize,
    most: usize,
    width: usize,
    hidden: usize,
}

impl Slots {
    fn new<G: Gpu>(shape: &RoutedShape, routes: &Routes<G>) -> Self {
        Self { experts: shape.experts, most: routes.most, width: shape.width, hidden: shape.hidden }
    }

    fn len(&self) -> usize {
        self.experts * self.most
    }

    /// Rows of `cols` values, one a slot.
    fn rows(&self, cols: usize) -> Matrix {
        Matrix::row_major(cols).every(self.most * cols)
    }

    /// The experts' matrices of this many rows and columns.
    fn weights(&self, rows: usize, cols: usize) -> Matrix {
        Matrix::row_major(cols).every(rows * cols)
    }

    /// A product an expert.
    fn product(&self, extents: [usize; 3], a: Matrix, b: Matrix, c: Matrix, accumulate: bool) -> Product {
        let [m, k, n] = extents;
        Product { batch: self.experts, m, k, n, a, b, c, accumulate }
    }

    /// Rows of samples in the slots of their choices.
    fn fill<G: Gpu>(&self, gpu: &G, routes: &Routes<G>, x: &G::Memory<f32>) -> G::Memory<f32> {
        let slots = gpu.allocate(self.len() * self.width);
        let buffers = [at::<G>(x), routes.starts(), routes.by_sample(), at::<G>(&slots)];
        let numbers = [self.width, self.most, routes.top_k].map(|n| n as u64);
        run(gpu, "fill_slots", self.len() * self.width, &[&buffers[..], &numbers].concat());
        slots
    }

    /// Adds each sample's slots up.
    fn sum<G: Gpu>(&self, gpu: &G, routes: &Routes<G>, slots: &G::Memory<f32>, out: Sink<G>) {
        let buffers = [at::<G>(slots), routes.slots(), at::<G>(out.buffer)];
        let numbers = [self.width as u64, routes.top_k as u64, flag(out.accumulate)];
        run(gpu, "sum_slots", routes.len / routes.top_k * self.width, &[&buffers[..], &numbers].concat());
    }
}

/// Sum of each sample's experts.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    shape: &RoutedShape,
    routes: &Routes<G>,
    inputs: &RoutedInputs<G>,
    kept: &mut G::Memory<f32>,
    out: &mut G::Memory<f32>,
) {
    let s = Slots::new(shape, routes);
    let Slots { most, width, hidden, .. } = s;
    let x = s.fill(gpu, routes, inputs.x);
    let mut projected = gpu.allocate(s.len() * 2 * hidden);
    let up = s.weights(width, 2 * hidden);
    let p = s.product([most, width, 2 * hidden], s.rows(width), up, s.rows(2 * hidden), false);
    multiply(gpu, &p, &x, inputs.up, &mut projected);
    let units: G::Memory<f32> = gpu.allocate(s.len() * hidden);
    let read = [at::<G>(&projected), at::<G>(inputs.gates), routes.starts(), routes.by_sample()];
    let numbers = [at::<G>(kept), at::<G>(&units), hidden as u64, most as u64];
    run(gpu, "slot_units", s.len() * hidden, &[read, numbers].concat());
    let mut answers = gpu.allocate(s.len() * width);
    let down = s.weights(hidden, width);
    let p = s.product([most, hidden, width], s.rows(hidden), down, s.rows(width), false);
    multiply(gpu, &p, &units, inputs.down, &mut answers);
    s.sum(gpu, routes, &answers, Sink { buffer: out, accumulate: false });
}

/// The pull-back of [`forward`].
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    shape: &RoutedShape,
    routes: &Routes<G>,
    inputs: &RoutedInputs<G>,
    (kept, cotangent): (&G::Memory<f32>, &G::Memory<f32>),
    sinks: RoutedSinks<G>,
) {
    let s = Slots::new(shape, routes);
    let Slots { most, width, hidden, .. } = s;
    let (x, c) = (s.fill(gpu, routes, inputs.x), s.fill(gpu, routes, cotangent));
    let (up, down) = (s.weights(width, 2 * hidden), s.weights(hidden, width));

    let mut d_units = gpu.allocate(s.len() * hidden);
    let p = s.product([most, width, hidden], s.rows(width), down.transposed(), s.rows(hidden), false);
    multiply(gpu, &p, &c, inputs.down, &mut d_units);
    let (units, terms) = (gpu.allocate::<f32>(s.len() * hidden), gpu.allocate::<f32>(s.len() * hidden));
    let d_projected: G::Memory<f32> = gpu.allocate(s.len() * 2 * hidden);
    let read = [at::<G>(kept), at::<G>(inputs.gates), routes.starts(), routes.by_sample(), at::<G>(&d_units)];
    let written = [&units, &d_projected, &terms].map(at::<G>);
    let arguments = [&read[..], &written, &[hidden as u64, most as u64]].concat();
    run(gpu, "slot_units_back", s.len() * hidden, &arguments);
    let buffers = [at::<G>(&terms), routes.slots(), at::<G>(sinks.gates.buffer)];
    let arguments = [&buffers[..], &[hidden as u64, flag(sinks.gates.accumulate)]].concat();
    run(gpu, "sum_gate_terms", routes.len, &arguments);

    let accumulate = sinks.up.accumulate;
    let p = s.product([width, most, 2 * hidden], s.rows(width).transposed(), s.rows(2 * hidden), up, accumulate);
    multiply(gpu, &p, &x, &d_projected, sinks.up.buffer);
    let accumulate = sinks.down.accumulate;
    let p = s.product([hidden, most, width], s.rows(hidden).transposed(), s.rows(width), down, accumulate);
    multiply(gpu, &p, &units, &c, sinks.down.buffer);
    let mut d_x = gpu.allocate(s.len() * width);
    let p = s.product([most, 2 * hidden, width], s.rows(2 * hidden), up.transposed(), s.rows(width), false);
    multiply(gpu, &p, &d_projected, inputs.up, &mut d_x);
    s.sum(gpu, routes, &d_x, sinks.x);
}
