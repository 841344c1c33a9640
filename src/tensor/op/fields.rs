//! The first layer: a bank of linear maps on the concatenated field embeddings and numeric token, which is never built.

use std::rc::Rc;

use dfdx::shapes::Dim;

use crate::tensor::kernels::{FieldsInputs, FieldsShape, FieldsSinks};
use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

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

/// The numeric token's parameters: `Linear(P → D)` on the raw numerical columns (weight P×D, bias D).
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct NumericToken {
    pub columns: usize,
    pub weight: ParamId,
    pub bias: ParamId,
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
    token: NumericToken,
    maps: FieldMaps<O>,
) -> Var<(usize, usize, O)> {
    let batch = numerical.shape.0;
    let shape = FieldsShape {
        batch,
        width: compact.shape.1.size(),
        groups: maps.groups,
        out: maps.out.size(),
        numerical: token.columns,
        fields,
    };
    let op = FieldsLinear::<D> {
        shape,
        ids: Rc::clone(ids),
        compact: compact.node,
        numerical: numerical.node,
        token,
        weight: maps.weight,
        bias: maps.bias,
    };
    let mut out = tape.workspace().take(maps.groups * batch * maps.out.size());
    let params = tape.params();
    {
        let (compact, numerical) = (tape.node_value(op.compact), tape.node_value(op.numerical));
        let inputs = FieldsInputs {
            ids: op.ids.as_ref(),
            compact: &compact,
            numerical: &numerical,
            token_weight: &params[token.weight].value,
            token_bias: &params[token.bias].value,
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
    token: NumericToken,
    weight: ParamId,
    bias: ParamId,
}

impl<D: Kernels> Op<D> for FieldsLinear<D> {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        let mut params = vec![self.weight, self.bias];
        if self.token.columns > 0 {
            params.extend([self.token.weight, self.token.bias]);
        }
        (vec![self.compact], params)
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let shape = &self.shape;
        let mut compact = pull.cotangent(self.compact);
        let mut weight = pull.gradient(self.weight, shape.groups * shape.inputs() * shape.out);
        let mut bias = pull.gradient(self.bias, shape.groups * shape.out);
        let mut token_weight = pull.gradient(self.token.weight, shape.numerical * shape.width);
        let token = if shape.numerical > 0 { shape.width } else { 0 };
        let mut token_bias = pull.gradient(self.token.bias, token);
        let inputs = FieldsInputs {
            ids: self.ids.as_ref(),
            compact: pull.value(self.compact),
            numerical: pull.value(self.numerical),
            token_weight: pull.param(self.token.weight),
            token_bias: pull.param(self.token.bias),
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
        pull.put_gradient(self.token.weight, token_weight);
        pull.put_gradient(self.token.bias, token_bias);
        pull.workspace().give(cotangent);
    }
}
