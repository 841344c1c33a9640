//! The first layer: a bank of linear maps on the concatenated field embeddings and numeric token, which is never built.

use std::rc::Rc;

use dfdx::shapes::Dim;

use crate::tensor::kernels::{FieldsInputs, FieldsShape, FieldsSinks};
use crate::tensor::{Buffer, Kernels, Matrix, NodeId, Op, ParamId, Product, Pull, Tape, Var};

/// The embeddings of a batch's distinct ids: U×D, from a table of D columns. Its gradient is the table's compact gradient.
pub fn embed<E: Dim, D: Kernels>(
    tape: &Tape<D>,
    ids: &Rc<D::Ids>,
    distinct: usize,
    table: ParamId,
    width: E,
) -> Var<(usize, E)> {
    let mut out = tape.workspace().take(distinct * width.size());
    tape.device().gather_rows(width.size(), &tape.params()[table].value, ids, &mut out);
    tape.record(out, (distinct, width), Embed { table })
}

struct Embed {
    table: ParamId,
}

impl<D: Kernels> Op<D> for Embed {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![], vec![self.table])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        pull.deposit_gradient(self.table, cotangent);
    }
}

/// The numeric token: `Linear(P → D)` on the raw numerical columns (weight P×D, bias D; both empty when P is 0).
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct NumericToken<E: Dim> {
    pub weight: Var<(usize, E)>,
    pub bias: Var<(usize,)>,
}

impl<E: Dim> NumericToken<E> {
    /// Numerical columns, P.
    pub fn columns(&self) -> usize {
        self.weight.shape.0
    }
}

/// A bank of E maps from the fields to `out` units: weight E×H0×N, bias E×N.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct FieldMaps<O: Dim> {
    pub groups: usize,
    pub out: O,
    pub weight: ParamId,
    pub bias: ParamId,
}

/// Applies a bank of maps to the fields of a batch: E×B×N.
///
/// `compact` holds the embeddings of the batch's distinct ids (from [`embed`]), `numerical` the B×P numerical columns.
pub fn fields_linear<E: Dim, O: Dim, D: Kernels>(
    tape: &Tape<D>,
    ids: &Rc<D::Ids>,
    fields: usize,
    compact: Var<(usize, E)>,
    numerical: Var<(usize, usize)>,
    token: NumericToken<E>,
    maps: FieldMaps<O>,
) -> Var<(usize, usize, O)> {
    let batch = numerical.shape.0;
    let shape = FieldsShape {
        batch,
        width: compact.shape.1.size(),
        groups: maps.groups,
        out: maps.out.size(),
        numerical: token.columns(),
        fields,
    };
    let op = FieldsLinear::<D> {
        shape,
        ids: Rc::clone(ids),
        compact: compact.node,
        numerical: numerical.node,
        token: [token.weight.node, token.bias.node],
        weight: maps.weight,
        bias: maps.bias,
    };
    let mut out = tape.workspace().take(maps.groups * batch * maps.out.size());
    let params = tape.params();
    {
        let (compact, numerical) = (tape.node_value(op.compact), tape.node_value(op.numerical));
        let (token_weight, token_bias) = (tape.value(token.weight), tape.value(token.bias));
        let inputs = FieldsInputs::<D> {
            ids: op.ids.as_ref(),
            compact: &compact,
            numerical: &numerical,
            token_weight: &token_weight,
            token_bias: &token_bias,
            weight: &params[maps.weight].value,
            bias: &params[maps.bias].value,
        };
        tape.device().fields_linear(&shape, &inputs, &mut out);
    }
    tape.record(out, (maps.groups, batch, maps.out), op)
}

struct FieldsLinear<D: Kernels> {
    shape: FieldsShape,
    ids: Rc<D::Ids>,
    compact: NodeId,
    numerical: NodeId,
    /// Weight and bias of the numeric token.
    token: [NodeId; 2],
    weight: ParamId,
    bias: ParamId,
}

impl<D: Kernels> Op<D> for FieldsLinear<D> {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        let token = self.token.iter().filter(|_| self.shape.numerical > 0);
        (std::iter::once(&self.compact).chain(token).copied().collect(), vec![self.weight, self.bias])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let shape = &self.shape;
        let mut compact = pull.cotangent(self.compact);
        let mut weight = pull.gradient(self.weight, shape.groups * shape.inputs() * shape.out);
        let mut bias = pull.gradient(self.bias, shape.groups * shape.out);
        let [mut token_weight, mut token_bias] = self.token.map(|node| pull.cotangent(node));
        let inputs = FieldsInputs::<D> {
            ids: self.ids.as_ref(),
            compact: pull.value(self.compact),
            numerical: pull.value(self.numerical),
            token_weight: pull.value(self.token[0]),
            token_bias: pull.value(self.token[1]),
            weight: pull.param(self.weight),
            bias: pull.param(self.bias),
        };
        let sinks = FieldsSinks {
            compact: compact.sink(),
            token_weight: token_weight.sink(),
            token_bias: token_bias.sink(),
            weight: weight.sink(),
            bias: bias.sink(),
        };
        pull.device().fields_linear_back(shape, &inputs, &cotangent, sinks);
        pull.put_cotangent(self.compact, compact);
        pull.put_gradient(self.weight, weight);
        pull.put_gradient(self.bias, bias);
        pull.put_cotangent(self.token[0], token_weight);
        pull.put_cotangent(self.token[1], token_bias);
        pull.workspace().give(cotangent);
    }
}

/// The numeric token of each sample: B×D; without numerical columns 0×D.
pub fn numeric_token<E: Dim, D: Kernels>(
    tape: &Tape<D>,
    numerical: Var<(usize, usize)>,
    token: NumericToken<E>,
) -> Var<(usize, E)> {
    let (columns, width) = token.weight.shape;
    let batch = if columns > 0 { numerical.shape.0 } else { 0 };
    let op = Token {
        numerical: numerical.node,
        token: [token.weight.node, token.bias.node],
        batch,
        columns,
        width: width.size(),
    };
    let mut out = tape.workspace().take(batch * width.size());
    if batch > 0 {
        let (x, w) = (Matrix::row_major(columns), Matrix::row_major(width.size()));
        let p = Product { batch: 1, m: batch, k: columns, n: width.size(), a: x, b: w, c: w, accumulate: false };
        tape.device().product(&p, &tape.value(numerical), &tape.value(token.weight), &mut out);
        tape.device().add_bias(1, batch, &tape.value(token.bias), &mut out);
    }
    tape.record(out, (batch, width), op)
}

struct Token {
    numerical: NodeId,
    token: [NodeId; 2],
    batch: usize,
    columns: usize,
    width: usize,
}

impl<D: Kernels> Op<D> for Token {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (self.token.iter().filter(|_| self.batch > 0).copied().collect(), vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        if self.batch > 0 {
            let [mut weight, mut bias] = self.token.map(|node| pull.cotangent(node));
            let sink = weight.sink();
            let (x, w) = (Matrix::row_major(self.columns), Matrix::row_major(self.width));
            let (m, k, n, accumulate) = (self.columns, self.batch, self.width, sink.accumulate);
            let p = Product { batch: 1, m, k, n, a: x.transposed(), b: w, c: w, accumulate };
            pull.device().product(&p, pull.value(self.numerical), &cotangent, sink.buffer);
            pull.device().column_sums(1, self.batch, &cotangent, bias.sink());
            pull.put_cotangent(self.token[0], weight);
            pull.put_cotangent(self.token[1], bias);
        }
        pull.workspace().give(cotangent);
    }
}
