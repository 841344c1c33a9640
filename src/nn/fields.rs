//! The inputs: one embedding table for all fields, and the numeric token.

use std::rc::Rc;

use dfdx::shapes::Dim;

use super::block::Activation;
use super::{Batch, Builder, Init, Style};
use crate::data::Schema;
use crate::tensor::op::{FieldMaps, NumericToken, add, embed, fields_linear, mean_token, numeric_token, parameter};
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

/// Embedding table of V×D for all fields and a `Linear(P → D)` for the numerical columns.
pub struct Fields<E: Dim> {
    fields: usize,
    /// The table.
    pub table: ParamId,
    /// Weight and bias of the numeric token; empty without numerical columns.
    pub token: [ParamId; 2],
    columns: usize,
    width: E,
}

/// The fields of one batch, ready for first layers: the concatenation `e` of METHODS A.0, never built.
pub struct Embedded<E: Dim, D: Kernels> {
    ids: Rc<D::Ids>,
    fields: usize,
    compact: Var<(usize, E)>,
    numerical: Var<(usize, usize)>,
    token: NumericToken<E>,
}

impl<E: Dim> Fields<E> {
    /// Under MTOReclib's names. The table is uniform on `±gain·√(6/(V + D))` (Xavier on the V×D matrix), the token as any
    /// PyTorch `Linear`.
    pub fn new<D: Kernels>(b: &mut Builder<D>, schema: &Schema, width: E, gain: f64) -> Self {
        Self::named(b, schema, width, gain, "embedding.embedding.weight", "numerical_layer")
    }

    /// Under these names of PyTorch's table and of its `Linear`.
    pub fn named<D: Kernels>(
        b: &mut Builder<D>,
        schema: &Schema,
        width: E,
        gain: f64,
        table: &str,
        token: &str,
    ) -> Self {
        let bound = xavier(gain, schema.vocabulary(), width.size());
        let fields = Self::unlisted(b, schema, width, bound, (table, token));
        let d = width.size();
        b.torch(table.into(), vec![schema.vocabulary(), d], fields.table, 0, vec![d, 1]);
        if fields.columns > 0 {
            let [weight, bias] = fields.token;
            b.torch_linear(&|_| token.to_owned(), 1, (fields.columns, d), (weight, bias));
        }
        fields
    }

    /// The parameters alone, for a model that says itself where PyTorch keeps them; the table is uniform on `±bound`.
    pub fn unlisted<D: Kernels>(
        b: &mut Builder<D>,
        schema: &Schema,
        width: E,
        bound: f64,
        (table, token): (&str, &str),
    ) -> Self {
        let (rows, d, columns) = (schema.vocabulary(), width.size(), schema.numerical.len());
        let table = b.add(table, Kind::Table { width: d }, rows * d, Init::Uniform(bound));
        let init = Builder::<D>::linear_bound(columns);
        // without numerical columns there is no token: its parameters are empty
        let bias = if columns == 0 { 0 } else { d };
        let token = [
            b.add(format!("{token}.weight"), Kind::Weight, columns * d, init),
            b.add(format!("{token}.bias"), Kind::Weight, bias, init),
        ];
        Self { fields: schema.fields.len(), table, token, columns, width }
    }

    /// Width of the concatenation, H0 = (F + 1)·D.
    pub fn inputs(&self) -> usize {
        (self.fields + usize::from(self.columns > 0)) * self.width.size()
    }

    /// Looks a batch's distinct ids up.
    pub fn embed<D: Kernels>(&self, tape: &Tape<D>, batch: &Batch<D>) -> Embedded<E, D> {
        let numerical = tape.input(&batch.numerical, (batch.rows, self.columns));
        let compact = embed(tape, &batch.ids, batch.distinct, self.table, self.width);
        let bias = if self.columns == 0 { 0 } else { self.width.size() };
        let token = NumericToken {
            weight: parameter(tape, self.token[0], (self.columns, self.width)),
            bias: parameter(tape, self.token[1], (bias,)),
        };
        Embedded { ids: Rc::clone(&batch.ids), fields: self.fields, compact, numerical, token }
    }
}

/// Xavier's bound for a table of V×D.
pub fn xavier(gain: f64, rows: usize, width: usize) -> f64 {
    gain * (6.0 / (rows + width) as f64).sqrt()
}

impl<E: Dim, D: Kernels> Embedded<E, D> {
    /// A bank of linear maps on the concatenation: E×B×N.
    pub fn linear<O: Dim>(&self, tape: &Tape<D>, maps: FieldMaps<O>) -> Var<(usize, usize, O)> {
        fields_linear(tape, &self.ids, self.fields, self.compact, self.numerical, self.token, maps)
    }

    /// The sum with another embedding of the same batch.
    pub fn plus(&self, tape: &Tape<D>, other: &Self) -> Self {
        let token = NumericToken {
            weight: add(tape, self.token.weight, other.token.weight),
            bias: add(tape, self.token.bias, other.token.bias),
        };
        let compact = add(tape, self.compact, other.compact);
        Self { ids: Rc::clone(&self.ids), fields: self.fields, compact, numerical: self.numerical, token }
    }

    /// The mean over a sample's tokens: B×D.
    pub fn mean_token(&self, tape: &Tape<D>) -> Var<(usize, E)> {
        let token = numeric_token(tape, self.numerical, self.token);
        mean_token(tape, &self.ids, self.numerical.shape.0, self.compact, token)
    }
}

/// The first hidden layer of a bank of MLPs on the fields.
pub struct FieldBlock<O: Dim> {
    maps: FieldMaps<O>,
    activation: Activation,
}

impl<O: Dim> FieldBlock<O> {
    /// `mlp(e)` names PyTorch's MLP of group e.
    pub fn new<E: Dim, D: Kernels>(
        b: &mut Builder<D>,
        mlp: &dyn Fn(usize) -> String,
        groups: usize,
        (fields, out): (&Fields<E>, O),
        style: Style,
    ) -> Self {
        let index = style.index(0);
        let maps = field_maps(b, &|e| format!("{}.mlp.{index}", mlp(e)), groups, fields, out);
        Self { maps, activation: Activation::new(b, mlp, 0, (groups, out.size()), style) }
    }

    /// E×B×N.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, usize, O)> {
        self.activation.forward(tape, e.linear(tape, self.maps))
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
