//! The boundary: all that a device must offer.

use std::ops::Range;

use dfdx::tensor::Storage;

use super::{Buffer, FieldIds, Key, Kind};

/// How a matrix lies in a flat buffer: element (i, j) of matrix e is at `offset + e·batch + i·row + j·col`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Where the first matrix starts.
    pub offset: usize,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
    /// Distance between the matrices of a batch.
    pub batch: usize,
}

impl Matrix {
    /// One contiguous row-major matrix with this many columns.
    pub fn row_major(cols: usize) -> Self {
        Self { offset: 0, row: cols, col: 1, batch: 0 }
    }

    /// The same numbers read as the transpose.
    pub fn transposed(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }

    /// The same without its first rows.
    pub fn from_row(self, row: usize) -> Self {
        Self { offset: self.offset + row * self.row, ..self }
    }

    /// The matrices of a batch from number `count` on.
    pub fn skip(self, count: usize) -> Self {
        Self { offset: self.offset + count * self.batch, ..self }
    }

    /// A batch of such matrices, `stride` apart.
    pub fn every(self, stride: usize) -> Self {
        Self { batch: stride, ..self }
    }
}

/// `batch` matrix products `C_e ← A_e·B_e` (or `C_e += A_e·B_e`): A is m×k, B is k×n, C is m×n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Product {
    pub batch: usize,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
}

/// Extents of a bank of linear maps on the (never materialised) concatenation of field embeddings and numeric token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldsShape {
    /// Rows, B.
    pub batch: usize,
    /// Width of an embedding row, D.
    pub width: usize,
    /// Linear maps side by side (experts), E.
    pub groups: usize,
    /// Outputs of each map, N.
    pub out: usize,
    /// Numerical columns, P; with none there is no numeric token.
    pub numerical: usize,
    /// Categorical fields, F.
    pub fields: usize,
}

impl FieldsShape {
    /// Inputs of each linear map, H0: the embedded fields and the numeric token.
    pub fn inputs(&self) -> usize {
        (self.fields + usize::from(self.numerical > 0)) * self.width
    }
}

/// What [`Kernels::fields_linear`] reads.
pub struct FieldsInputs<'a, D: Kernels> {
    /// Which compact row each sample takes in each field.
    pub ids: &'a D::Ids,
    /// Embeddings of the distinct ids, U×D.
    pub compact: &'a Buffer<D>,
    /// Numerical columns, B×P.
    pub numerical: &'a Buffer<D>,
    /// Numeric token's weights, P×D.
    pub token_weight: &'a Buffer<D>,
    /// Numeric token's bias, D.
    pub token_bias: &'a Buffer<D>,
    /// The maps' weights, E×H0×N.
    pub weight: &'a Buffer<D>,
    /// The maps' biases, E×N.
    pub bias: &'a Buffer<D>,
}

/// Where a gradient goes.
pub struct Sink<'a, D: Kernels> {
    /// The gradient's buffer.
    pub buffer: &'a mut Buffer<D>,
    /// Add to what is there; otherwise its content is stale and is overwritten.
    pub accumulate: bool,
}

/// Where [`Kernels::fields_linear_back`] writes: the gradient of each field of [`FieldsInputs`].
#[allow(missing_docs)]
pub struct FieldsSinks<'a, D: Kernels> {
    pub compact: Sink<'a, D>,
    pub token_weight: Sink<'a, D>,
    pub token_bias: Sink<'a, D>,
    pub weight: Sink<'a, D>,
    pub bias: Sink<'a, D>,
}

/// Extents and constants of batch normalisation, ReLU and dropout on E groups of B×N activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormShape {
    /// Groups, E.
    pub groups: usize,
    /// Rows, B.
    pub batch: usize,
    /// Columns of a group, N.
    pub cols: usize,
    /// Share of the units dropped, in `[0, 1)`.
    pub dropout: f32,
    /// The masks' key.
    pub key: Key,
}

/// A gated sum over some experts of a bank, by as many columns of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixShape {
    /// Rows, B.
    pub batch: usize,
    /// Width of an expert's output, N.
    pub cols: usize,
    /// Which experts of the bank.
    pub experts: Range<usize>,
    /// Width of the gate: as many columns as candidates in all.
    pub gate: usize,
    /// The gate's column for the first of these experts.
    pub first: usize,
}

/// Which units are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the units, in `[0, 1)`.
    pub share: f32,
    /// The mask's key.
    pub key: Key,
}

/// BatchNorm's addend to the variance.
pub const NORM_EPS: f32 = 1e-5;
/// How far the running statistics move towards a batch's.
pub const NORM_MOMENTUM: f32 = 0.1;

/// Adam's numbers for one step of one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Which step of the parameter this is, from 1.
    pub index: u32,
    /// Step size divided by the first moment's bias correction.
    pub step_size: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Square root of the second moment's bias correction.
    pub root_correction2: f32,
    /// Added to the root of the corrected second moment.
    pub eps: f32,
    /// L2 penalty added to the gradient.
    pub weight_decay: f32,
    /// What stays of the value before the step: decoupled weight decay.
    pub keep: f32,
}

/// Which coordinates of a parameter its gradients hold; the gradient of the others is zero.
pub enum Held<'a, D: Kernels> {
    /// All.
    All,
    /// Of an embedding table, the rows of a batch, compactly.
    Rows {
        /// Width of a row.
        width: usize,
        /// The batch's index.
        ids: &'a D::Ids,
    },
}

impl<'a, D: Kernels> Held<'a, D> {
    /// What a batch's gradients of a parameter hold.
    pub fn of(kind: Kind, ids: &'a D::Ids) -> Self {
        match kind {
            Kind::Table { width } => Held::Rows { width, ids },
            Kind::Weight | Kind::Statistic => Held::All,
        }
    }
}

impl<D: Kernels> Clone for Held<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Kernels> Copy for Held<'_, D> {}

/// The gradients of K tasks with respect to one parameter; absent for a task that does not reach it, whose gradient is zero.
pub type TaskGradients<'a, D> = [Option<&'a Buffer<D>>];

/// A function of the K entries at each coordinate, for a run of coordinates: the number of the first, K slices, the output.
pub type ColumnMap<'a> = &'a (dyn Fn(usize, &[&[f32]], &mut [f32]) + Sync);

/// How far one step may move a coordinate: `relative·|value| + absolute`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepBounds {
    /// As a share of the coordinate's size.
    pub relative: f32,
    /// Whatever its size.
    pub absolute: f32,
}

/// The steps of a parameter so far, for rows that have not taken the latest.
#[derive(Debug, Clone, Copy)]
pub struct MissedSteps<'a> {
    /// Every step from the first.
    pub steps: &'a [AdamStep],
    /// Steps after its last gradient in which a row still moves; after them its moments decay without moving it.
    pub window: usize,
}

/// An embedding table of which rows may wait with their steps, and what Adam remembers of it.
pub struct WaitingTable<'a, D: Kernels> {
    /// Width of a row.
    pub width: usize,
    /// The rows.
    pub value: &'a mut Buffer<D>,
    /// First moments.
    pub m: &'a mut Buffer<D>,
    /// Second moments.
    pub v: &'a mut Buffer<D>,
    /// Steps each row has taken; 0 for one that never had a gradient.
    pub taken: &'a mut [u32],
}

/// The kernels a device must offer. Buffers are flat; row-major unless a [`Matrix`] says otherwise; an output not marked
/// as accumulating is overwritten whole. Every kernel is deterministic: the same inputs give the same bits on any number
/// of threads (on the CPU; a GPU may repeat to rounding).
pub trait Kernels: Storage<f32> + Clone + 'static {
    /// A batch's [`FieldIds`] where the kernels can reach them.
    type Ids;

    /// A new buffer of zeros.
    fn zeros(&self, len: usize) -> Buffer<Self>;
    /// A new buffer of these values.
    fn upload(&self, values: &[f32]) -> Buffer<Self>;
    /// Overwrites a buffer of the same length.
    fn write(&self, buffer: &mut Buffer<Self>, values: &[f32]);
    /// The values of a buffer.
    fn download(&self, buffer: &Buffer<Self>) -> Vec<f32>;
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
    fn bce_back(&self, logits: &Buffer<Self>, labels: &Buffer<Self>, cotangent: f32, sink: Sink<Self>);

    /// Adds the inner products of K buffers, `gram[i·K + j] += Σ x_i·x_j`, in f64.
    fn add_gram(&self, buffers: &[&Buffer<Self>], gram: &mut [f64]);
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

/// How a router chooses among its experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RouteRule {
    /// Experts, R.
    pub experts: usize,
    /// Experts a sample takes, k.
    pub top_k: usize,
    /// Contiguous groups that the experts form; one group is no limit.
    pub groups: usize,
    /// Groups that a sample may choose from.
    pub groups_kept: usize,
    /// Divide the gate values by their sum.
    pub normalise: bool,
    /// Factor on the gate values.
    pub scaling: f32,
}

/// Added to the sum that gate values are divided by.
pub const GATE_EPS: f32 = 1e-20;
/// RMSNorm's addend to the mean square.
pub const RMS_EPS: f32 = 1e-6;

/// Extents of a bank of experts that samples are routed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedShape {
    /// Experts, R.
    pub experts: usize,
    /// Inputs and outputs of an expert, N.
    pub width: usize,
    /// Hidden units of an expert, H.
    pub hidden: usize,
}

/// What [`Kernels::routed`] reads.
pub struct RoutedInputs<'a, D: Kernels> {
    /// The samples, B×N.
    pub x: &'a Buffer<D>,
    /// Gate values of the chosen experts, B×k.
    pub gates: &'a Buffer<D>,
    /// The first matrix of each expert, R×N×2H: columns of g, then of u.
    pub up: &'a Buffer<D>,
    /// The second, R×H×N.
    pub down: &'a Buffer<D>,
}

/// Where [`Kernels::routed_back`] writes: the gradient of each field of [`RoutedInputs`].
#[allow(missing_docs)]
pub struct RoutedSinks<'a, D: Kernels> {
    pub x: Sink<'a, D>,
    pub gates: Sink<'a, D>,
    pub up: Sink<'a, D>,
    pub down: Sink<'a, D>,
}

/// What the pull-back of normalisation reads.
pub struct NormInputs<'a, D: Kernels> {
    /// The input that was normalised.
    pub x: &'a Buffer<D>,
    /// The output: a unit is active where it is positive.
    pub out: &'a Buffer<D>,
    /// The scale γ.
    pub gain: &'a Buffer<D>,
    /// Means and biased variances.
    pub statistics: &'a Buffer<D>,
}
