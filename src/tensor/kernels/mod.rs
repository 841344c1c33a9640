//! The boundary: all that a device must offer.

mod extents;
mod steps;

pub use extents::{
    Dropout, FieldsInputs, FieldsShape, FieldsSinks, GATE_EPS, Matrix, MixShape, NORM_EPS, NORM_MOMENTUM, NormInputs,
    NormShape, Product, RMS_EPS, RouteRule, RoutedInputs, RoutedShape, RoutedSinks, SQUARES_EPS, Sink,
};
pub use steps::{AdamStep, ColumnMap, Held, MissedSteps, StepBounds, TaskGradients, WaitingTable};

use super::{Buffer, FieldIds};

/// Why a device has stopped computing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub message: String,
    /// What might help.
    pub hint: Option<String>,
}

/// The kernels a device must offer. Buffers are flat; row-major unless a [`Matrix`] says otherwise; an output not marked
/// as accumulating is overwritten whole. Every kernel is deterministic: the same inputs give the same bits on any number
/// of threads (on the CPU; a GPU may repeat to rounding).
pub trait Kernels: Clone + 'static {
    /// A row of f32 values on the device; a clone is a copy.
    type Buffer: Clone;
    /// A batch's [`FieldIds`] where the kernels can reach them.
    type Ids;

    /// What went wrong, if anything did: memory that could not be had, a driver that gave up. After that nothing more is
    /// computed, and results mean nothing.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// How many values a buffer holds.
    fn len(buffer: &Buffer<Self>) -> usize;
    /// A new buffer of zeros.
    fn zeros(&self, len: usize) -> Buffer<Self>;
    /// A new buffer of these values.
    fn upload(&self, values: &[f32]) -> Buffer<Self>;
    /// Overwrites a buffer of the same length.
    fn write(&self, buffer: &mut Buffer<Self>, values: &[f32]);
    /// The values of a buffer.
    fn download(&self, buffer: &Buffer<Self>) -> Vec<f32>;
    /// Runs `load`, which uploads, writes and brings indices, and nothing else: what it brings is used only after the next
    /// [`arrive`](Kernels::arrive), so it may come while the device computes.
    fn ahead<T>(&self, load: impl FnOnce() -> T) -> T {
        load()
    }
    /// Has whatever is asked for from now on wait until what was loaded ahead is there.
    fn arrive(&self) {}
    /// Brings a batch's index to the device.
    fn ids(&self, ids: FieldIds) -> Self::Ids;
    /// Gives the index back for the next batch, if it is still on the host.
    fn recycle(&self, ids: Self::Ids) -> FieldIds;

    /// Batched matrix product.
    fn product(&self, product: &Product, a: &Buffer<Self>, b: &Buffer<Self>, c: &mut Buffer<Self>);
    /// Adds the row vector of each group to every row: `x[e, b, :] += bias[e, :]` for x of E×B×N.
    fn add_bias(&self, groups: usize, batch: usize, bias: &Buffer<Self>, x: &mut Buffer<Self>);
    /// Column sums: `out[e, :] = Σ_b x[e, b, :]`.
    fn column_sums(&self, groups: usize, batch: usize, x: &Buffer<Self>, out: Sink<Self>);
    /// `to[at..at + len] (+)= from[start..start + len]`, for `from` and `to` with where to start in each.
    fn copy(&self, len: usize, from: (&Buffer<Self>, usize), to: (Sink<Self>, usize));
    /// Zeros all over.
    fn clear(&self, buffer: &mut Buffer<Self>);

    /// The table rows of a batch's distinct ids: U×width.
    fn gather_rows(&self, width: usize, table: &Buffer<Self>, ids: &Self::Ids, out: &mut Buffer<Self>);
    /// A bank of linear maps on the concatenated fields, E×B×N, without building the concatenation (DESIGN §4.4).
    fn fields_linear(&self, shape: &FieldsShape, inputs: &FieldsInputs<Self>, out: &mut Buffer<Self>);
    /// The pull-back of [`Kernels::fields_linear`].
    fn fields_linear_back(
        &self,
        shape: &FieldsShape,
        inputs: &FieldsInputs<Self>,
        cotangent: &Buffer<Self>,
        sinks: FieldsSinks<Self>,
    );

    /// Batch normalisation with the batch's statistics, then ReLU, then inverted dropout. `statistics` receives the means
    /// (E·N) and then the biased variances (E·N).
    fn norm_relu_dropout(
        &self,
        shape: &NormShape,
        x: &Buffer<Self>,
        gain: &Buffer<Self>,
        shift: &Buffer<Self>,
        statistics: &mut Buffer<Self>,
        out: &mut Buffer<Self>,
    );
    /// The pull-back of [`Kernels::norm_relu_dropout`]; `cotangent` becomes the gradient of `x` in place.
    fn norm_relu_dropout_back(
        &self,
        shape: &NormShape,
        inputs: &NormInputs<Self>,
        cotangent: &mut Buffer<Self>,
        gain: Sink<Self>,
        shift: Sink<Self>,
    );
    /// Normalisation with running statistics, then ReLU, in place.
    fn norm_relu_eval(
        &self,
        shape: &NormShape,
        x: &mut Buffer<Self>,
        gain: &Buffer<Self>,
        shift: &Buffer<Self>,
        running: (&Buffer<Self>, &Buffer<Self>),
    );
    /// Moves running mean and variance towards a batch's statistics; the variance is made unbiased.
    fn move_statistics(
        &self,
        batch: usize,
        statistics: &Buffer<Self>,
        mean: &mut Buffer<Self>,
        variance: &mut Buffer<Self>,
    );

    /// Softmax over each row of a B×cols matrix.
    fn softmax(&self, cols: usize, x: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back; `cotangent` becomes the gradient of the input in place.
    fn softmax_back(&self, cols: usize, out: &Buffer<Self>, cotangent: &mut Buffer<Self>);
    /// Gated sum: `out[b, :] (+)= Σ_e gate[b, e]·x[e, b, :]`; see [`MixShape`].
    fn mix(&self, shape: &MixShape, gate: &Buffer<Self>, x: &Buffer<Self>, out: Sink<Self>);
    /// Its pull-back: the chosen columns of the gate, and the chosen experts of the bank, where that is wanted.
    fn mix_back(
        &self,
        shape: &MixShape,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        cotangent: &Buffer<Self>,
        gate: Sink<Self>,
        x: Option<Sink<Self>>,
    );

    /// ReLU, then inverted dropout.
    fn relu_dropout(&self, dropout: Dropout, x: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back; `cotangent` becomes the gradient of the input in place.
    fn relu_dropout_back(&self, dropout: Dropout, out: &Buffer<Self>, cotangent: &mut Buffer<Self>);
    /// Scaled inner products of rows: `out[b, e] = scale·⟨x[e, b], y[e, b]⟩` for x and y of E×B×N.
    fn row_dots(&self, groups: usize, scale: f32, x: &Buffer<Self>, y: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back to x: `x̄[e, b] (+)= scale·c[b, e]·y[e, b]`; the one to y is the same.
    fn row_dots_back(&self, groups: usize, scale: f32, cotangent: &Buffer<Self>, y: &Buffer<Self>, x: Sink<Self>);
    /// The mean over a sample's tokens: `out[b] = (token[b] + Σ_f E[id_f])/(F + 1)`, B×width; `token` may be empty, and is
    /// then not counted.
    fn mean_token(
        &self,
        width: usize,
        ids: &Self::Ids,
        compact: &Buffer<Self>,
        token: &Buffer<Self>,
        out: &mut Buffer<Self>,
    );
    /// Its pull-back.
    fn mean_token_back(
        &self,
        width: usize,
        ids: &Self::Ids,
        cotangent: &Buffer<Self>,
        compact: Sink<Self>,
        token: Sink<Self>,
    );
    /// One row in front of every row: `out[b] = [row | x[b]]`.
    fn prefix_rows(&self, row: &Buffer<Self>, x: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back.
    fn prefix_rows_back(&self, cotangent: &Buffer<Self>, row: Sink<Self>, x: Sink<Self>);

    /// The logit of a product of probabilities: `out = logit(σ(a)·σ(b))`.
    fn product_logits(&self, a: &Buffer<Self>, b: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back to a; the one to b is the same with a and b exchanged.
    fn product_logits_back(&self, a: &Buffer<Self>, b: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>);
    /// The logit of a mixture of probabilities: `out[b] = logit(scale·Σ_c gate[b, c]·σ(x[c, b]))`, x of C×B.
    fn mixture_logits(&self, scale: f32, gate: &Buffer<Self>, x: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back.
    fn mixture_logits_back(
        &self,
        scale: f32,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        cotangent: &Buffer<Self>,
        gate: Sink<Self>,
        x: Sink<Self>,
    );

    /// Mean binary cross-entropy of logits against labels in {0, 1}, in nats, reduced in f64.
    fn bce(&self, logits: &Buffer<Self>, labels: &Buffer<Self>) -> f64;
    /// Its pull-back for a scalar cotangent.
    fn bce_back(&self, logits: &Buffer<Self>, labels: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>);

    /// Inner products of the gradients of K tasks over some parameters, `out[i·K + j] = Σ g_i·g_j`, in f64; a gradient that
    /// is absent is zero.
    fn gram(&self, tasks: usize, parameters: &[Vec<Option<&Buffer<Self>>>]) -> Vec<f64>;
    /// One Adam step with the gradient `Σ w·g`.
    fn adam(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &[(f32, &Buffer<Self>)],
    );
    /// The same for the batch's rows alone: the others miss this step and take it in [`Kernels::adam_catch_up`].
    fn adam_batch_rows(
        &self,
        step: &AdamStep,
        ids: &Self::Ids,
        table: WaitingTable<Self>,
        gradients: &[(f32, &Buffer<Self>)],
    );
    /// Takes the steps that rows of a table (the batch's, or all) have missed: gradient 0, no weight decay.
    fn adam_catch_up(&self, missed: &MissedSteps, ids: Option<&Self::Ids>, table: WaitingTable<Self>);

    /// One Adam step with the gradient `Σ w·g`, shortened for the whole parameter until no coordinate that the gradients
    /// hold moves further than the bounds allow; ε is added to the root of the uncorrected second moment (Clippy).
    fn clipped_adam(
        &self,
        step: &AdamStep,
        bounds: StepBounds,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &[(f32, &Buffer<Self>)],
    );
    /// Adds the inner products of the steps that Adam would take with each task's gradient alone, from the moments that the
    /// tasks share: `gram[i·K + j] += D_i·D_j`, in f64 (PUB).
    fn add_update_gram(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        moments: (&Buffer<Self>, &Buffer<Self>),
        gradients: &TaskGradients<Self>,
        gram: &mut [f64],
    );
    /// Moves the value by the weighted sum of those steps, and the moments by the weighted sum of the gradients.
    fn adam_by_task(
        &self,
        step: &AdamStep,
        held: Held<Self>,
        value: &mut Buffer<Self>,
        moments: (&mut Buffer<Self>, &mut Buffer<Self>),
        gradients: &TaskGradients<Self>,
        weights: &[f32],
    );
    /// A running average: `average ← keep·average + take·gradient`.
    fn blend(&self, held: Held<Self>, gradient: &Buffer<Self>, keep: f32, take: f32, average: &mut Buffer<Self>);
    /// Adds the squares of a gradient to their sums, `S += g²`, and gives `Σ g²/√(S + 1e-7)`, in f64 (ExcessMTL).
    fn excess(&self, held: Held<Self>, gradient: &Buffer<Self>, sums: &mut Buffer<Self>) -> f64;
    /// `out[p] = f(columns[0][p], columns[1][p], …)`, by runs of coordinates in any order.
    fn map_columns(&self, columns: &[&Buffer<Self>], map: ColumnMap, out: &mut Buffer<Self>);

    /// Which experts each sample of a batch takes, where the kernels can reach it.
    type Routes;

    /// Each row of a B×cols matrix divided by its root mean square, times the gain of its columns.
    fn rms_norm(&self, cols: usize, x: &Buffer<Self>, gain: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back for the inputs (x, gain); `cotangent` becomes the gradient of x in place.
    fn rms_norm_back(
        &self,
        cols: usize,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        cotangent: &mut Buffer<Self>,
        gain: Sink<Self>,
    );
    /// Gated linear units: `out = silu(g) ⊙ u` for rows `x = [g | u]` of B×2·cols.
    fn swiglu(&self, cols: usize, x: &Buffer<Self>, out: &mut Buffer<Self>);
    /// Its pull-back.
    fn swiglu_back(&self, cols: usize, x: &Buffer<Self>, cotangent: &Buffer<Self>, sink: Sink<Self>);

    /// Chooses each sample's experts from a router's logits (B×R) and correction bias (R). `gates` receives the gate
    /// values of the chosen experts (B×k, by ascending expert), `loads` how many samples each expert has got (R).
    fn route(
        &self,
        rule: &RouteRule,
        inputs: (&Buffer<Self>, &Buffer<Self>),
        gates: &mut Buffer<Self>,
        loads: &mut Buffer<Self>,
    ) -> Self::Routes;
    /// The pull-back of the gate values to the logits, the choice being constant.
    fn route_back(
        &self,
        rule: &RouteRule,
        routes: &Self::Routes,
        logits: &Buffer<Self>,
        cotangent: &Buffer<Self>,
        sink: Sink<Self>,
    );
    /// Sum of each sample's experts, `out[b] = Σ_j gates[b, j]·expert_j(x[b])`, computing the chosen ones only. Every
    /// expert is `x ↦ (silu(g) ⊙ u)·down` with `[g | u] = x·up`; `projected` keeps `[g | u]` of each choice, by expert.
    fn routed(
        &self,
        shape: &RoutedShape,
        routes: &Self::Routes,
        inputs: &RoutedInputs<Self>,
        projected: &mut Buffer<Self>,
        out: &mut Buffer<Self>,
    );
    /// The pull-back of [`Kernels::routed`].
    fn routed_back(
        &self,
        shape: &RoutedShape,
        routes: &Self::Routes,
        inputs: &RoutedInputs<Self>,
        projected: &Buffer<Self>,
        cotangent: &Buffer<Self>,
        sinks: RoutedSinks<Self>,
    );
    /// Moves a router's correction bias by `rate` towards equal loads: up where an expert got less than the mean, down
    /// where it got more.
    fn balance(&self, rate: f32, loads: &Buffer<Self>, bias: &mut Buffer<Self>);
}
