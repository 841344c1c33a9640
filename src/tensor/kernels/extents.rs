//! What kernels are told of the extents of their buffers, what they read, and where they write.

use std::ops::Range;

use super::Kernels;
use crate::tensor::{Buffer, Key};

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

impl Product {
    /// Makes sure that buffers of these lengths hold every element that the strides reach.
    ///
    /// # Panics
    /// When they do not: a mistake of the operation that asks.
    pub(crate) fn check(&self, a: usize, b: usize, c: usize) {
        let last = |matrix: Matrix, rows: usize, cols: usize| {
            let first = matrix.offset + (self.batch.max(1) - 1) * matrix.batch;
            first + (rows.max(1) - 1) * matrix.row + (cols.max(1) - 1) * matrix.col
        };
        if self.k > 0 {
            assert!(last(self.a, self.m, self.k) < a, "A of a product lies within its buffer");
            assert!(last(self.b, self.k, self.n) < b, "B of a product lies within its buffer");
        }
        assert!(last(self.c, self.m, self.n) < c, "C of a product lies within its buffer");
    }
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
/// Added to a sum of squares before its root is divided by (ExcessMTL).
pub const SQUARES_EPS: f32 = 1e-7;
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
