//! GPU kernels: one-dimensional kernels over flat memory (`kernels/*.cu`) and products, behind what a GPU must offer.
//!
//! Kernels know nothing of blocks, shared memory or atomics, so the same source runs on an NVIDIA GPU and, compiled as C++,
//! in the tests of machines without one. What a kernel does is memory-bound or small; the arithmetic is in products.
//! On the same GPU results repeat to the bit: every sum has one order.

mod blas;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
pub(crate) mod emulated;
mod fields;
mod index;
mod layers;
mod routed;
mod steps;

use super::kernels::{
    AdamStep, ColumnMap, Dropout, Fault, FieldsInputs, FieldsShape, FieldsSinks, Held, Kernels, MissedSteps, MixShape,
    NormInputs, NormShape, Product, RouteRule, RoutedInputs, RoutedShape, RoutedSinks, Sink, StepBounds, TaskGradients,
    WaitingTable,
};
use super::random::drop_threshold;
use super::{Buffer, FieldIds};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
use index::Ids;
use routed::Routes;

/// The kernels' source, for a compiler that knows CUDA or C++.
pub(crate) const SOURCE: &str = concat!(
    include_str!("kernels/common.cu"),
    include_str!("kernels/plain.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/fields.cu"),
    include_str!("kernels/steps.cu"),
    include_str!("kernels/routed.cu"),
);

/// Arguments that a kernel takes at most, see `Arguments` in `kernels/common.cu`.
pub(crate) const ARGUMENTS: usize = 40;

/// Rows summed by one thread where a sum over a batch's rows is cut.
const ROWS: usize = 64;

/// What can lie in a GPU's memory as it lies here.
pub trait Word: bytemuck::Pod + Default {}

impl Word for f32 {}
impl Word for f64 {}
impl Word for u32 {}

/// What the kernels need of a GPU. Work is done in the order in which it is asked for. After a fault nothing more is done,
/// whatever is fetched is zero, and [`Gpu::fault`] says what happened.
pub trait Gpu: Clone + 'static {
    /// Some words in the GPU's memory; a clone is a copy.
    type Memory<T: Word>: Clone;

    /// Memory of any content.
    fn allocate<T: Word>(&self, len: usize) -> Self::Memory<T>;
    /// Overwrites the memory's words from `at` on.
    fn send<T: Word>(&self, words: &[T], to: &mut Self::Memory<T>, at: usize);
    /// What is sent from now on may come while the GPU works: it is used only after the next [`Gpu::arrive`]. Nothing is
    /// launched before [`Gpu::sent_ahead`].
    fn send_ahead(&self) {}
    /// All has been sent that comes ahead.
    fn sent_ahead(&self) {}
    /// Work asked for from now on waits for what was sent ahead.
    fn arrive(&self) {}
    /// Brings the words back, once all work before is done.
    fn fetch<T: Word>(&self, from: &Self::Memory<T>) -> Vec<T>;
    /// Where the memory starts; 0 when it is empty.
    fn address<T: Word>(memory: &Self::Memory<T>) -> u64;
    /// How many words it holds.
    fn length<T: Word>(memory: &Self::Memory<T>) -> usize;
    /// Runs a kernel of [`SOURCE`] with so many threads.
    ///
    /// # Safety
    /// Addresses among the arguments must be those of memory that holds what the kernel reads and writes for this number
    /// of threads, and what it writes must not be borrowed.
    unsafe fn launch(&self, kernel: &'static str, threads: u32, arguments: &[u64]);
    /// `batch` products in f32, see [`Product`]; the strides of rows or of columns of each factor are 1.
    ///
    /// # Safety
    /// The addresses must be those of memory that holds the matrices, and C must not be borrowed.
    unsafe fn multiply(&self, product: &Product, a: u64, b: u64, c: u64);
    /// Room for things that are kept from step to step.
    fn kept(&self) -> &std::cell::RefCell<steps::Kept<Self>>;
    /// What went wrong, if anything did.
    fn fault(&self) -> Option<Fault>;
}

/// An f32 as an argument.
fn real(value: f32) -> u64 {
    u64::from(value.to_bits())
}

/// A yes or no as an argument.
fn flag(value: bool) -> u64 {
    u64::from(value)
}

/// Runs a kernel for every one of `threads` indices.
fn run<G: Gpu>(gpu: &G, kernel: &'static str, threads: usize, arguments: &[u64]) {
    if threads == 0 {
        return;
    }
    assert!(arguments.len() <= ARGUMENTS, "`{kernel}` has {} arguments", arguments.len());
    let threads = u32::try_from(threads).expect("kernels index up to 2^32 elements");
    // SAFETY: the functions of this module hand kernels the addresses of buffers whose lengths they derive from the same
    // extents as the number of threads and the other arguments; outputs are borrowed mutably by the caller.
    unsafe { gpu.launch(kernel, threads, arguments) }
}

/// Where f32 memory starts.
fn at<G: Gpu>(buffer: &G::Memory<f32>) -> u64 {
    G::address(buffer)
}

/// Where a part of f32 memory starts.
fn part<G: Gpu>(buffer: &G::Memory<f32>, offset: usize) -> u64 {
    assert!(offset <= G::length(buffer), "a part begins within its memory");
    G::address(buffer) + 4 * offset as u64
}

/// New memory with these words.
fn sent<G: Gpu, T: Word>(gpu: &G, words: &[T]) -> G::Memory<T> {
    let mut memory = gpu.allocate(words.len());
    if !words.is_empty() {
        gpu.send(words, &mut memory, 0);
    }
    memory
}

/// `batch` products, bounds checked.
fn multiply<G: Gpu>(gpu: &G, p: &Product, a: &G::Memory<f32>, b: &G::Memory<f32>, c: &mut G::Memory<f32>) {
    if p.batch * p.m * p.n == 0 {
        return;
    }
    if p.k == 0 {
        assert!(p.accumulate, "an empty product only adds");
        return;
    }
    assert!(p.c.col == 1, "the result of a product is row-major");
    p.check(G::length(a), G::length(b), G::length(c));
    // SAFETY: just checked; C is borrowed mutably.
    unsafe { gpu.multiply(p, G::address(a), G::address(b), G::address(c)) }
}

/// The sum of doubles, on the host.
fn total<G: Gpu>(gpu: &G, parts: &G::Memory<f64>) -> f64 {
    let len = G::length(parts);
    let few: G::Memory<f64> = gpu.allocate(len.min(64));
    run(gpu, "sum_doubles", len.min(64), &[G::address(parts), G::address(&few), len as u64]);
    gpu.fetch(&few).iter().sum()
}

impl<G: Gpu> Kernels for G {
    type Buffer = G::Memory<f32>;
    type Ids = Ids<G>;
    type Routes = Routes<G>;

    fn len(buffer: &Buffer<Self>) -> usize {
        G::length(buffer)
    }

    fn fault(&self) -> Option<Fault> {
        Gpu::fault(self)
    }

    fn zeros(&self, len: usize) -> Buffer<Self> {
        let mut buffer = self.allocate(len);
        self.clear(&mut buffer);
        buffer
    }

    fn upload(&self, values: &[f32]) -> Buffer<Self> {
        sent(self, values)
    }

    fn write(&self, buffer: &mut Buffer<Self>, values: &[f32]) {
        assert_eq!(values.len(), G::length(buffer), "a buffer is overwritten whole");
        if !values.is_empty() {
            self.send(values, buffer, 0);
        }
    }

    fn download(&self, buffer: &Buffer<Self>) -> Vec<f32> {
        self.fetch(buffer)
    }

    fn ahead<T>(&self, load: impl FnOnce() -> T) -> T {
        self.send_ahead();
        let loaded = load();
        self.sent_ahead();
        loaded
    }

    fn arrive(&self) {
        Gpu::arrive(self);
    }

    fn ids(&self, ids: FieldIds) -> Self::Ids {
        Ids::new(self, ids)
    }

    fn recycle(&self, ids: Self::Ids) -> FieldIds {
        ids.host
    }

    fn product(&self, product: &Product, a: &Buffer<Self>, b: &Buffer<Self>, c: &mut Buffer<Self>) {
        multiply(self, product, a, b, c);
    }

    fn add_bias(&self, groups: usize, batch: usize, bias: &Buffer<Self>, x: &mut Buffer<Self>) {
        let cols = G::length(bias) / groups.max(1);
        run(self, "add_bias", groups * batch * cols, &[at::<G>(bias), at::<G>(x), cols as u64, (batch * cols) as u64]);
    }

    fn column_sums(&self, groups: usize, batch: usize, x: &Buffer<Self>, out: Sink<Self>) {
        let cols = G::length(out.buffer) / groups.max(1);
        layers::column_sums(self, (groups, batch, cols), (at::<G>(x), cols), out);
    }

    fn copy(&self, len: usize, from: (&Buffer<Self>, usize), to: (Sink<Self>, usize)) {
        let ((from, start), (sink, first)) = (from, to);
        assert!(start + len <= G::length(from) && first + len <= G::length(sink.buffer), "both parts are there");
        let arguments = [part::<G>(from, start), part::<G>(sink.buffer, first), flag(sink.accumulate)];
        run(self, "copy", len, &arguments);
    }

    fn clear(&self, buffer: &mut Buffer<Self>) {
        run(self, "fill", G::length(buffer), &[at::<G>(buffer), real(0.0)]);
    }

    fn gather_rows(&self, width: usize, table: &Buffer<Self>, ids: &Self::Ids, out: &mut Buffer<Self>) {
        let arguments = [at::<G>(table), ids.rows(), at::<G>(out), width as u64];
        run(self, "gather_rows", G::length(out), &arguments);
    }

    fn fields_linear(&self, shape: &FieldsShape, inputs: &FieldsInputs<Self>, out: &mut Buffer<Self>) {
        fields::forward(self, shape, inputs, out);
    }

    fn fields_linear_back(
        &self,
        shape: &FieldsShape,
        inputs: &FieldsInputs<Self>,
        cotangent: &Buffer<Self>,
        sinks: FieldsSinks<Self>,
    ) {
        fields::backward(self, shape, inputs, cotangent, sinks);
    }

    fn norm_relu_dropout(
        &self,
        shape: &NormShape,
        x: &Buffer<Self>,
        gain: &Buffer<Self>,
        shift: &Buffer<Self>,
        statistics: &mut Buffer<Self>,
        out: &mut Buffer<Self>,
    ) {
        layers::norm(self, shape, x, (gain, shift), statistics, out);
    }

    fn norm_relu_dropout_back(
        &self,
        shape: &NormShape,
        inputs: &NormInputs<Self>,
        cotangent: &mut Buffer<Self>,
        gain: Sink<Self>,
        shift: Sink<Self>,
    ) {
        layers::norm_back(self, shape, inputs, cotangent, gain, shift);
    }

    fn norm_relu_eval(
        &self,
        shape: &NormShape,
        x: &mut Buffer<Self>,
        gain: &Buffer<Self>,
        shift: &Buffer<Self>,
        running: (&Buffer<Self>, &Buffer<Self>),
    ) {
        let address = at::<G>(x);
        let statistics = (at::<G>(running.0), at::<G>(running.1));
        layers::norm_apply(self, shape, (address, address), statistics, (gain, shift));
    }

    fn move_statistics(
        &self,
        batch: usize,
        statistics: &Buffer<Self>,
        mean: &mut Buffer<Self>,
        variance: &mut Buffer<Self>,
    ) {
        let unbiased = batch as f32 / (batch as f32 - 1.0).max(1.0);
        let momentum = super::kernels::NORM_MOMENTUM;
        let arguments = [at::<G>(statistics), at::<G>(mean), at::<G>(variance), real(momentum), real(unbiased)];
        run(self, "move_statistics", G::length(mean), &arguments);
    }

    fn softmax(&self, cols: usize, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        run(self, "softmax", G::length(x) / cols, &[at::<G>(x), at::<G>(out), cols as u64]);
    }

    fn softmax_back(&self, cols: usize, out: &Buffer<Self>, cotangent: &mut Buffer<Self>) {
        run(self, "softmax_back", G::length(out) / cols, &[at::<G>(out), at::<G>(cotangent), cols as u64]);
    }

    fn mix(&self, shape: &MixShape, gate: &Buffer<Self>, x: &Buffer<Self>, out: Sink<Self>) {
        layers::mix(self, shape, gate, x, out);
    }

    fn mix_back(
        &self,
        shape: &MixShape,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        cotangent: &Buffer<Self>,
        gate: Sink<Self>,
        x: Option<Sink<Self>>,
    ) {
        layers::mix_back(self, shape, inputs, cotangent, gate, x);
    }

    fn relu_dropout(&self, dropout: Dropout, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        let [key0, key1] = dropout.key.words().map(u64::from);
        let keep = real(1.0 / (1.0 - dropout.share));
        let threshold = u64::from(drop_threshold(dropout.share));
        run(self, "relu_dropout", G::length(x), &[at::<G>(x), at::<G>(out), threshold, keep, key0, key1]);
    }

    fn relu_dropout_back(&self, dropout: Dropout, out: &Buffer<Self>, cotangent: &mut Buffer<Self>) {
        let keep = real(1.0 / (1.0 - dropout.share));
        run(self, "relu_dropout_back", G::length(out), &[at::<G>(out), at::<G>(cotangent), keep]);
    }

    fn row_dots(&self, groups: usize, scale: f32, x: &Buffer<Self>, y: &Buffer<Self>, out: &mut Buffer<Self>) {
        let rows = G::length(out);
        let extents = [G::length(x) / rows, rows / groups, groups].map(|n| n as u64);
        run(self, "row_dots", rows, &[&[at::<G>(x), at::<G>(y), at::<G>(out)], &extents[..], &[real(scale)]].concat());
    }

    fn row_dots_back(&self, groups: usize, scale: f32, cotangent: &Buffer<Self>, y: &Buffer<Self>, x: Sink<Self>) {
        let rows = G::length(cotangent);
        let extents = [G::length(y) / rows, rows / groups, groups].map(|n| n as u64);
        let buffers = [at::<G>(cotangent), at::<G>(y), at::<G>(x.buffer)];
        let arguments = [&buffers, &extents[..], &[real(scale), flag(x.accumulate)]].concat();
        run(self, "row_dots_back", G::length(y), &arguments);
    }

    fn mean_token(
        &self,
        width: usize,
        ids: &Self::Ids,
        compact: &Buffer<Self>,
        token: &Buffer<Self>,
        out: &mut Buffer<Self>,
    ) {
        fields::mean_token(self, width, ids, compact, token, out);
    }

    fn mean_token_back(
        &self,
        width: usize,
        ids: &Self::Ids,
        cotangent: &Buffer<Self>,
        compact: Sink<Self>,
        token: Sink<Self>,
    ) {
        fields::mean_token_back(self, width, ids, cotangent, compact, token);
    }

    fn prefix_rows(&self, row: &Buffer<Self>, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        let (front, width) = layers::prefix_widths::<G>(row, x, out);
        let arguments = [at::<G>(row), at::<G>(x), at::<G>(out), front as u64, width as u64];
        run(self, "prefix_rows", G::length(out), &arguments);
    }

    fn prefix_rows_back(&self, cotangent: &Buffer<Self>, row: Sink<Self>, x: Sink<Self>) {
        layers::prefix_rows_back(self, cotangent, row, x);
    }

    fn product_logits(&self, a: &Buffer<Self>, b: &Buffer<Self>, out: &mut Buffer<Self>) {
        run(self, "product_logits", G::length(out), &[at::<G>(a), at::<G>(b), at::<G>(out)]);
    }

    fn product_logits_back(&self, a: &Buffer<Self>, b: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>) {
        let buffers = [at::<G>(a), at::<G>(b), at::<G>(cotangent), at::<G>(sink.buffer), flag(sink.accumulate)];
        run(self, "product_logits_back", G::length(a), &buffers);
    }

    fn mixture_logits(&self, scale: f32, gate: &Buffer<Self>, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        let batch = G::length(out);
        let critics = (G::length(gate) / batch) as u64;
        run(self, "mixture_logits", batch, &[at::<G>(gate), at::<G>(x), at::<G>(out), real(scale), critics]);
    }

    fn mixture_logits_back(
        &self,
        scale: f32,
        (gate, x): (&Buffer<Self>, &Buffer<Self>),
        cotangent: &Buffer<Self>,
        gate_sink: Sink<Self>,
        x_sink: Sink<Self>,
    ) {
        let batch = G::length(cotangent);
        let buffers = [gate, x, cotangent, gate_sink.buffer, x_sink.buffer].map(at::<G>);
        let critics = (G::length(gate) / batch) as u64;
        let numbers = [real(scale), critics, flag(gate_sink.accumulate), flag(x_sink.accumulate)];
        run(self, "mixture_logits_back", batch, &[&buffers[..], &numbers].concat());
    }

    fn bce(&self, logits: &Buffer<Self>, labels: &Buffer<Self>) -> f64 {
        let len = G::length(logits);
        let parts: G::Memory<f64> = self.allocate(len.min(4096));
        let arguments = [at::<G>(logits), at::<G>(labels), G::address(&parts), len as u64];
        run(self, "bce_parts", len.min(4096), &arguments);
        total(self, &parts) / len as f64
    }

    fn bce_back(&self, logits: &Buffer<Self>, labels: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>) {
        let buffers = [logits, labels, cotangent, sink.buffer].map(at::<G>);
        run(self, "bce_back", G::length(logits), &[&buffers[..], &[flag(sink.accumulate)]].concat());
    }

    fn gram(&self, tasks: usize, parameters: &[Vec<Option<&Buffer<Self>>>]) -> Vec<f64> {
        steps::gram(self, tasks, parameters)
    }

    fn adam(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &[(f32, &Buffer<Self>)],
    ) {
        steps::adam(self, step, held, value, moments, gradients);
    }

    fn adam_batch_rows(
        &self,
        step: &AdamStep,
        ids: &Self::Ids,
        table: WaitingTable<Self>,
        gradients: &[(f32, &Buffer<Self>)],
    ) {
        steps::batch_rows(self, step, ids, table, gradients);
    }

    fn adam_catch_up(&self, missed: &MissedSteps, ids: Option<&Self::Ids>, table: WaitingTable<Self>) {
        steps::catch_up(self, missed, ids, table);
    }

    fn clipped_adam(
        &self,
        step: &AdamStep,
        bounds: StepBounds,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &[(f32, &Buffer<Self>)],
    ) {
        steps::clipped(self, step, bounds, held, value, moments, gradients);
    }

    fn add_update_gram(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        moments: (&Buffer<Self>, &Buffer<Self>),
        gradients: &TaskGradients<Self>,
        gram: &mut [f64],
    ) {
        steps::add_update_gram(self, step, held, moments, gradients, gram);
    }

    fn adam_by_task(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &TaskGradients<Self>,
        weights: &[f32],
    ) {
        steps::by_task(self, step, held, value, moments, gradients, weights);
    }

    fn blend(&self, held: Held<Self>, gradient: &Buffer<Self>, keep: f32, take: f32, average: &mut Buffer<Self>) {
        let (of, width) = steps::places(held, G::length(average));
        let arguments = [at::<G>(average), at::<G>(gradient), of, width, real(keep), real(take)];
        run(self, "blend", G::length(average), &arguments);
    }

    fn excess(&self, held: Held<Self>, gradient: &Buffer<Self>, sums: &mut Buffer<Self>) -> f64 {
        steps::excess(self, held, gradient, sums)
    }

    fn map_columns(&self, columns: &[&Buffer<Self>], map: ColumnMap, out: &mut Buffer<Self>) {
        steps::map_columns(self, columns, map, out);
    }

    fn rms_norm(&self, cols: usize, x: &Buffer<Self>, gain: &Buffer<Self>, out: &mut Buffer<Self>) {
        let inverse = layers::rms_inverse(self, cols, x);
        let arguments = [at::<G>(x), at::<G>(&inverse), at::<G>(gain), at::<G>(out), cols as u64];
        run(self, "rms_apply", G::length(x), &arguments);
    }

    fn rms_norm_back(
        &self,
        cols: usize,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        cotangent: &mut Buffer<Self>,
        gain: Sink<Self>,
    ) {
        layers::rms_norm_back(self, cols, inputs, cotangent, gain);
    }

    fn swiglu(&self, cols: usize, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        run(self, "swiglu", G::length(out), &[at::<G>(x), at::<G>(out), cols as u64]);
    }

    fn swiglu_back(&self, cols: usize, x: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>) {
        let buffers = [x, cotangent, sink.buffer].map(at::<G>);
        let arguments = [&buffers[..], &[cols as u64, flag(sink.accumulate)]].concat();
        run(self, "swiglu_back", G::length(cotangent), &arguments);
    }

    fn route(
        &self,
        rule: &RouteRule,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        gates: &mut Buffer<Self>,
        loads: &mut Buffer<Self>,
    ) -> Self::Routes {
        routed::choose(self, rule, inputs, gates, loads)
    }

    fn route_back(
        &self,
        rule: &RouteRule,
        routes: &Self::Routes,
        logits: &Buffer<Self>,
        cotangent: &Buffer<Self>,
        sink: Sink<Self>,
    ) {
        routed::choose_back(self, rule, routes, logits, cotangent, sink);
    }

    fn routed(
        &self,
        shape: &RoutedShape,
        routes: &Self::Routes,
        inputs: &RoutedInputs<Self>,
        projected: &mut Buffer<Self>,
        out: &mut Buffer<Self>,
    ) {
        routed::forward(self, shape, routes, inputs, projected, out);
    }

    fn routed_back(
        &self,
        shape: &RoutedShape,
        routes: &Self::Routes,
        inputs: &RoutedInputs<Self>,
        projected: &Buffer<Self>,
        cotangent: &Buffer<Self>,
        sinks: RoutedSinks<Self>,
    ) {
        routed::backward(self, shape, routes, inputs, (projected, cotangent), sinks);
    }

    fn balance(&self, rate: f32, loads: &Buffer<Self>, bias: &mut Buffer<Self>) {
        run(self, "balance_loads", G::length(bias), &[at::<G>(loads), at::<G>(bias), real(rate)]);
    }
}
