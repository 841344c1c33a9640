//! The inputs: one embedding table for all fields, and the numeric token.

use std::rc::Rc;

use dfdx::shapes::Dim;

use super::block::{norm, sequential_index};
use super::{Batch, Builder, Init};
use crate::data::Schema;
use crate::tensor::op::{FieldMaps, Norm, NumericToken, embed, fields_linear, norm_relu_dropout};
use crate::tensor::{Kernels, Kind, Tape, Var};

/// Embedding table of V×D for all fields and a `Linear(P → D)` for the numerical columns.
pub struct Fields<E: Dim> {
    fields: usize,
    table: crate::tensor::ParamId,
    token: NumericToken,
    width: E,
}

/// The fields of one batch, ready for first layers: the concatenation `e` of METHODS A.0, never built.
pub struct Embedded<E: Dim, D: Kernels> {
    ids: Rc<D::Ids>,
    fields: usize,
    compact: Var<(usize, E)>,
    numerical: Var<(usize, usize)>,
    token: NumericToken,
}

impl<E: Dim> Fields<E> {
    /// The table is uniform on `±gain·√(6/(V + D))` (Xavier on the V×D matrix), the token as any PyTorch `Linear`.
    pub fn new<D: Kernels>(b: &mut Builder<D>, schema: &Schema, width: E, gain: f64) -> Self {
        let (rows, d, columns) = (schema.vocabulary(), width.size(), schema.numerical.len());
        let bound = gain * (6.0 / (rows + d) as f64).sqrt();
        let table = b.add("embedding.embedding.weight", Kind::Table { width: d }, rows * d, Init::Uniform(bound));
        b.torch("embedding.embedding.weight".into(), vec![rows, d], table, 0, vec![d, 1]);
        let init = Builder::<D>::linear_bound(columns);
        // without numerical columns there is no token: its parameters are empty
        let bias = if columns == 0 { 0 } else { d };
        let token = NumericToken {
            columns,
            weight: b.add("numerical_layer.weight", Kind::Weight, columns * d, init),
            bias: b.add("numerical_layer.bias", Kind::Weight, bias, init),
        };
        if columns > 0 {
            b.torch_linear(&|_| "numerical_layer".into(), 1, (columns, d), (token.weight, token.bias));
        }
        Self { fields: schema.fields.len(), table, token, width }
    }

    /// Width of the concatenation, H0 = (F + 1)·D.
    pub fn inputs(&self) -> usize {
        (self.fields + usize::from(self.token.columns > 0)) * self.width.size()
    }

    /// Looks a batch's distinct ids up.
    pub fn embed<D: Kernels>(&self, tape: &Tape<D>, batch: &Batch<D>) -> Embedded<E, D> {
        let numerical = tape.input(&batch.numerical, (batch.rows, self.token.columns));
        let compact = embed(tape, &batch.ids, batch.distinct, self.table, self.width);
        Embedded { ids: Rc::clone(&batch.ids), fields: self.fields, compact, numerical, token: self.token }
    }
}

impl<E: Dim, D: Kernels> Embedded<E, D> {
    /// A bank of linear maps on the concatenation: E×B×N.
    pub fn linear<O: Dim>(&self, tape: &Tape<D>, maps: FieldMaps<O>) -> Var<(usize, usize, O)> {
        fields_linear(tape, &self.ids, self.fields, self.compact, self.numerical, self.token, maps)
    }
}

/// The first hidden layer of a bank of MLPs on the fields: linear maps, BatchNorm, ReLU, dropout.
pub(super) struct FieldBlock<O: Dim> {
    maps: FieldMaps<O>,
    norm: Norm,
}

impl<O: Dim> FieldBlock<O> {
    /// `mlp(e)` names PyTorch's MLP of group e.
    pub(super) fn new<E: Dim, D: Kernels>(
        b: &mut Builder<D>,
        mlp: &dyn Fn(usize) -> String,
        groups: usize,
        (fields, out): (&Fields<E>, O),
        dropout: f32,
    ) -> Self {
        let index = sequential_index(0, dropout);
        let maps = field_maps(b, &|e| format!("{}.mlp.{index}", mlp(e)), groups, fields, out);
        let norm = norm(b, &|e| format!("{}.mlp.{}", mlp(e), index + 1), groups, out.size(), dropout);
        Self { maps, norm }
    }

    pub(super) fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, usize, O)> {
        norm_relu_dropout(tape, e.linear(tape, self.maps), self.norm)
    }
}

/// A bank of PyTorch `Linear`s on the fields; `name(e)` is the module of group e.
pub(super) fn field_maps<E: Dim, O: Dim, D: Kernels>(
    b: &mut Builder<D>,
    name: &dyn Fn(usize) -> String,
    groups: usize,
    fields: &Fields<E>,
    out: O,
) -> FieldMaps<O> {
    let (inputs, outputs) = (fields.inputs(), out.size());
    let init = Builder::<D>::linear_bound(inputs);
    let weight = b.add(format!("{}.weight", name(0)), Kind::Weight, groups * inputs * outputs, init);
    let bias = b.add(format!("{}.bias", name(0)), Kind::Weight, groups * outputs, init);
    b.torch_linear(name, groups, (inputs, outputs), (weight, bias));
    FieldMaps { groups, out, weight, bias }
}
