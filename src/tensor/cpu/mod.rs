//! The CPU's kernels: fused passes over flat slices, `gemm` for matrix products, rayon across fixed partitions.
//!
//! How work is cut into pieces depends on its shape alone and every sum has one order, so results are the same bits on
//! any number of threads. SIMD is chosen at run time: loops are written for the compiler's vectoriser inside
//! `simd_fn!`, which compiles them once for each instruction set. Beside the slices of
//! `tensor/buffer.rs` and memory maps, all `unsafe` is here.

#[macro_use]
mod simd;

mod activate;
mod adam;
mod columns;
mod fields;
mod held;
mod lanes;
mod loss;
mod mixture;
mod normalise;
mod pieces;
mod probability;
mod product;
mod reduce;
mod rms_norm;
mod routed;
mod routes;
mod scratch;
mod swiglu;
mod tokens;
mod updates;

use dfdx::shapes::HasShape;
use dfdx::tensor::{Tensor, TensorFromVec, ZerosTensor};

#[cfg(any(test, feature = "cuda"))]
pub(super) use {columns::map as map_columns, routes::Routes};

use super::buffer::CpuSlice;
use super::kernels::{
    AdamStep, ColumnMap, Dropout, FieldsInputs, FieldsShape, FieldsSinks, Held, Kernels, MissedSteps, MixShape,
    NormInputs, NormShape, Product, RouteRule, RoutedInputs, RoutedShape, RoutedSinks, Sink, StepBounds, TaskGradients,
    WaitingTable,
};
use super::{Buffer, Cpu, FieldIds};

impl Kernels for Cpu {
    type Buffer = Tensor<(usize,), f32, Cpu>;
    type Ids = FieldIds;

    fn len(buffer: &Buffer<Self>) -> usize {
        buffer.shape().0
    }

    fn zeros(&self, len: usize) -> Buffer<Self> {
        ZerosTensor::zeros_like(self, &(len,))
    }

    fn upload(&self, values: &[f32]) -> Buffer<Self> {
        self.tensor_from_vec(values.to_vec(), (values.len(),))
    }

    fn write(&self, buffer: &mut Buffer<Self>, values: &[f32]) {
        buffer.slice_mut().copy_from_slice(values);
    }

    fn download(&self, buffer: &Buffer<Self>) -> Vec<f32> {
        buffer.slice().to_vec()
    }

    fn ids(&self, ids: FieldIds) -> FieldIds {
        ids
    }

    fn recycle(&self, ids: FieldIds) -> FieldIds {
        ids
    }

    fn product(&self, product: &Product, a: &Buffer<Self>, b: &Buffer<Self>, c: &mut Buffer<Self>) {
        product::product(product, a.slice(), b.slice(), c.slice_mut());
    }

    fn add_bias(&self, groups: usize, batch: usize, bias: &Buffer<Self>, x: &mut Buffer<Self>) {
        reduce::add_bias(groups, batch, bias.slice(), x.slice_mut());
    }

    fn column_sums(&self, groups: usize, batch: usize, x: &Buffer<Self>, out: Sink<Self>) {
        reduce::column_sums(groups, batch, x.slice(), out.buffer.slice_mut(), out.accumulate);
    }

    fn copy(&self, len: usize, from: (&Buffer<Self>, usize), to: (Sink<Self>, usize)) {
        let ((from, start), (sink, at)) = (from, to);
        let (from, to) = (&from.slice()[start..start + len], &mut sink.buffer.slice_mut()[at..at + len]);
        if sink.accumulate { reduce::add(from, to) } else { to.copy_from_slice(from) }
    }

    fn clear(&self, buffer: &mut Buffer<Self>) {
        buffer.slice_mut().fill(0.0);
    }

    fn gather_rows(&self, width: usize, table: &Buffer<Self>, ids: &FieldIds, out: &mut Buffer<Self>) {
        fields::gather_rows(width, table.slice(), ids, out.slice_mut());
    }

    fn fields_linear(&self, shape: &FieldsShape, inputs: &FieldsInputs<Self>, out: &mut Buffer<Self>) {
        fields::forward(shape, &fields::Inputs::of(inputs), out.slice_mut());
    }

    fn fields_linear_back(
        &self,
        shape: &FieldsShape,
        inputs: &FieldsInputs<Self>,
        cotangent: &Buffer<Self>,
        sinks: FieldsSinks<Self>,
    ) {
        fields::backward(shape, &fields::Inputs::of(inputs), cotangent.slice(), sinks);
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
        let affine = (gain.slice(), shift.slice());
        normalise::forward(shape, x.slice(), affine, statistics.slice_mut(), out.slice_mut());
    }

    fn norm_relu_dropout_back(
        &self,
        shape: &NormShape,
        inputs: &NormInputs<Self>,
        cotangent: &mut Buffer<Self>,
        gain: Sink<Self>,
        shift: Sink<Self>,
    ) {
        let inputs = normalise::Inputs {
            x: inputs.x.slice(),
            out: inputs.out.slice(),
            gain: inputs.gain.slice(),
            statistics: inputs.statistics.slice(),
        };
        let gain = (gain.buffer.slice_mut(), gain.accumulate);
        let shift = (shift.buffer.slice_mut(), shift.accumulate);
        normalise::backward(shape, &inputs, cotangent.slice_mut(), gain, shift);
    }

    fn norm_relu_eval(
        &self,
        shape: &NormShape,
        x: &mut Buffer<Self>,
        gain: &Buffer<Self>,
        shift: &Buffer<Self>,
        running: (&Buffer<Self>, &Buffer<Self>),
    ) {
        normalise::eval(shape, x.slice_mut(), (gain.slice(), shift.slice()), (running.0.slice(), running.1.slice()));
    }

    fn move_statistics(
        &self,
        batch: usize,
        statistics: &Buffer<Self>,
        mean: &mut Buffer<Self>,
        variance: &mut Buffer<Self>,
    ) {
        normalise::move_statistics(batch, statistics.slice(), mean.slice_mut(), variance.slice_mut());
    }

    fn softmax(&self, cols: usize, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        mixture::softmax(cols, x.slice(), out.slice_mut());
    }

    fn softmax_back(&self, cols: usize, out: &Buffer<Self>, cotangent: &mut Buffer<Self>) {
        mixture::softmax_back(cols, out.slice(), cotangent.slice_mut());
    }

    fn mix(&self, shape: &MixShape, gate: &Buffer<Self>, x: &Buffer<Self>, out: Sink<Self>) {
        mixture::mix(shape, gate.slice(), x.slice(), out.buffer.slice_mut(), out.accumulate);
    }

    fn mix_back(
        &self,
        shape: &MixShape,
        (gate, x): (&Buffer<Self>, &Buffer<Self>),
        cotangent: &Buffer<Self>,
        gate_sink: Sink<Self>,
        x_sink: Option<Sink<Self>>,
    ) {
        let x_sink = x_sink.map(parts);
        mixture::mix_back(shape, (gate.slice(), x.slice()), cotangent.slice(), parts(gate_sink), x_sink);
    }

    fn relu_dropout(&self, dropout: Dropout, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        activate::relu_dropout(dropout, x.slice(), out.slice_mut());
    }

    fn relu_dropout_back(&self, dropout: Dropout, out: &Buffer<Self>, cotangent: &mut Buffer<Self>) {
        activate::relu_dropout_back(dropout, out.slice(), cotangent.slice_mut());
    }

    fn row_dots(&self, groups: usize, scale: f32, x: &Buffer<Self>, y: &Buffer<Self>, out: &mut Buffer<Self>) {
        mixture::row_dots(groups, scale, x.slice(), y.slice(), out.slice_mut());
    }

    fn row_dots_back(&self, groups: usize, scale: f32, cotangent: &Buffer<Self>, y: &Buffer<Self>, x: Sink<Self>) {
        mixture::row_dots_back(groups, scale, cotangent.slice(), y.slice(), x.buffer.slice_mut(), x.accumulate);
    }

    fn mean_token(
        &self,
        width: usize,
        ids: &FieldIds,
        compact: &Buffer<Self>,
        token: &Buffer<Self>,
        out: &mut Buffer<Self>,
    ) {
        tokens::mean(width, ids, compact.slice(), token.slice(), out.slice_mut());
    }

    fn mean_token_back(
        &self,
        width: usize,
        ids: &FieldIds,
        cotangent: &Buffer<Self>,
        compact: Sink<Self>,
        token: Sink<Self>,
    ) {
        tokens::mean_back(width, ids, cotangent.slice(), parts(compact), parts(token));
    }

    fn prefix_rows(&self, row: &Buffer<Self>, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        tokens::prefix(row.slice(), x.slice(), out.slice_mut());
    }

    fn prefix_rows_back(&self, cotangent: &Buffer<Self>, row: Sink<Self>, x: Sink<Self>) {
        tokens::prefix_back(cotangent.slice(), parts(row), parts(x));
    }

    fn product_logits(&self, a: &Buffer<Self>, b: &Buffer<Self>, out: &mut Buffer<Self>) {
        probability::product_logits(a.slice(), b.slice(), out.slice_mut());
    }

    fn product_logits_back(&self, a: &Buffer<Self>, b: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>) {
        probability::product_logits_back(a.slice(), b.slice(), cotangent.slice(), parts(sink));
    }

    fn mixture_logits(&self, scale: f32, gate: &Buffer<Self>, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        probability::mixture_logits(scale, gate.slice(), x.slice(), out.slice_mut());
    }

    fn mixture_logits_back(
        &self,
        scale: f32,
        (gate, x): (&Buffer<Self>, &Buffer<Self>),
        cotangent: &Buffer<Self>,
        gate_sink: Sink<Self>,
        x_sink: Sink<Self>,
    ) {
        let inputs = (gate.slice(), x.slice());
        probability::mixture_logits_back(scale, inputs, cotangent.slice(), parts(gate_sink), parts(x_sink));
    }

    fn bce(&self, logits: &Buffer<Self>, labels: &Buffer<Self>) -> f64 {
        loss::bce(logits.slice(), labels.slice())
    }

    fn bce_back(&self, logits: &Buffer<Self>, labels: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>) {
        loss::bce_back(logits.slice(), labels.slice(), cotangent.slice()[0], sink.buffer.slice_mut(), sink.accumulate);
    }

    fn gram(&self, tasks: usize, parameters: &[Vec<Option<&Buffer<Self>>>]) -> Vec<f64> {
        let mut gram = vec![0.0; tasks * tasks];
        for gradients in parameters {
            let (present, slices): (Vec<usize>, Vec<&[f32]>) =
                gradients.iter().enumerate().filter_map(|(task, g)| Some((task, g.as_ref()?.slice()))).unzip();
            let part = reduce::gram(&slices);
            for (a, i) in present.iter().enumerate() {
                for (b, j) in present.iter().enumerate() {
                    gram[i * tasks + j] += part[a * present.len() + b];
                }
            }
        }
        gram
    }

    fn adam(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &[(f32, &Buffer<Self>)],
    ) {
        let gradients: Vec<_> = gradients.iter().map(|(w, gradient)| (*w, gradient.slice())).collect();
        adam::adam(step, held, value.slice_mut(), (moments.0.slice_mut(), moments.1.slice_mut()), &gradients);
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
        let gradients: Vec<_> = gradients.iter().map(|(w, gradient)| (*w, gradient.slice())).collect();
        let moments = (moments.0.slice_mut(), moments.1.slice_mut());
        updates::clipped(step, bounds, held, value.slice_mut(), moments, &gradients);
    }

    fn add_update_gram(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        moments: (&Buffer<Self>, &Buffer<Self>),
        gradients: &TaskGradients<Self>,
        gram: &mut [f64],
    ) {
        let gradients: Vec<_> = gradients.iter().map(|gradient| gradient.map(|gradient| gradient.slice())).collect();
        updates::add_gram(step, held, (moments.0.slice(), moments.1.slice()), &gradients, gram);
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
        let gradients: Vec<_> = gradients.iter().map(|gradient| gradient.map(|gradient| gradient.slice())).collect();
        let moments = (moments.0.slice_mut(), moments.1.slice_mut());
        updates::by_task(step, held, value.slice_mut(), moments, &gradients, weights);
    }

    fn blend(&self, held: Held<Self>, gradient: &Buffer<Self>, keep: f32, take: f32, average: &mut Buffer<Self>) {
        columns::blend(held, gradient.slice(), keep, take, average.slice_mut());
    }

    fn excess(&self, held: Held<Self>, gradient: &Buffer<Self>, sums: &mut Buffer<Self>) -> f64 {
        columns::excess(held, gradient.slice(), sums.slice_mut())
    }

    fn map_columns(&self, columns: &[&Buffer<Self>], map: ColumnMap, out: &mut Buffer<Self>) {
        let columns: Vec<_> = columns.iter().map(|column| column.slice()).collect();
        columns::map(&columns, map, out.slice_mut());
    }

    fn adam_batch_rows(
        &self,
        step: &AdamStep,
        ids: &FieldIds,
        table: WaitingTable<Self>,
        gradients: &[(f32, &Buffer<Self>)],
    ) {
        let gradients: Vec<_> = gradients.iter().map(|(w, g)| (*w, g.slice())).collect();
        adam::batch_rows(step, ids, table, &gradients);
    }

    fn adam_catch_up(&self, missed: &MissedSteps, ids: Option<&FieldIds>, table: WaitingTable<Self>) {
        adam::catch_up(missed, ids, table);
    }

    type Routes = routes::Routes;

    fn rms_norm(&self, cols: usize, x: &Buffer<Self>, gain: &Buffer<Self>, out: &mut Buffer<Self>) {
        rms_norm::forward(cols, x.slice(), gain.slice(), out.slice_mut());
    }

    fn rms_norm_back(
        &self,
        cols: usize,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        cotangent: &mut Buffer<Self>,
        gain: Sink<Self>,
    ) {
        let inputs = (inputs.0.slice(), inputs.1.slice());
        rms_norm::backward(cols, inputs, cotangent.slice_mut(), parts(gain));
    }

    fn swiglu(&self, cols: usize, x: &Buffer<Self>, out: &mut Buffer<Self>) {
        swiglu::forward(cols, x.slice(), out.slice_mut());
    }

    fn swiglu_back(&self, cols: usize, x: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>) {
        swiglu::backward(cols, x.slice(), cotangent.slice(), parts(sink));
    }

    fn route(
        &self,
        rule: &RouteRule,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        gates: &mut Buffer<Self>,
        loads: &mut Buffer<Self>,
    ) -> routes::Routes {
        routes::choose(rule, (inputs.0.slice(), inputs.1.slice()), gates.slice_mut(), loads.slice_mut())
    }

    fn route_back(
        &self,
        rule: &RouteRule,
        routes: &routes::Routes,
        logits: &Buffer<Self>,
        cotangent: &Buffer<Self>,
        sink: Sink<Self>,
    ) {
        routes::backward(rule, routes, logits.slice(), cotangent.slice(), parts(sink));
    }

    fn routed(
        &self,
        shape: &RoutedShape,
        routes: &routes::Routes,
        inputs: &RoutedInputs<Self>,
        projected: &mut Buffer<Self>,
        out: &mut Buffer<Self>,
    ) {
        routed::forward(shape, routes, &routed::Inputs::of(inputs), projected.slice_mut(), out.slice_mut());
    }

    fn routed_back(
        &self,
        shape: &RoutedShape,
        routes: &routes::Routes,
        inputs: &RoutedInputs<Self>,
        projected: &Buffer<Self>,
        cotangent: &Buffer<Self>,
        sinks: RoutedSinks<Self>,
    ) {
        let inputs = routed::Inputs::of(inputs);
        routed::backward(shape, routes, &inputs, (projected.slice(), cotangent.slice()), sinks);
    }

    fn balance(&self, rate: f32, loads: &Buffer<Self>, bias: &mut Buffer<Self>) {
        routes::balance(rate, loads.slice(), bias.slice_mut());
    }
}

/// A sink as a slice and whether to add to it.
fn parts(sink: Sink<'_, Cpu>) -> (&mut [f32], bool) {
    (sink.buffer.slice_mut(), sink.accumulate)
}
