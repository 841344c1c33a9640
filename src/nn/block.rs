//! Linear → BatchNorm → ReLU → dropout, one or a bank of them side by side.

use dfdx::shapes::Dim;

use super::Builder;
use crate::tensor::op::{Norm, bank_linear, norm_relu_dropout};
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

use super::Init;

/// A bank of hidden layers from I to O units.
pub struct Block<I: Dim, O: Dim> {
    name: String,
    inputs: I,
    outputs: O,
    weight: ParamId,
    bias: ParamId,
    norm: Norm,
}

/// Where a hidden layer of an MLP stands in PyTorch's `Sequential`: Linear, BatchNorm1d, ReLU and, unless its share is 0,
/// Dropout take an index each.
pub(super) fn sequential_index(layer: usize, dropout: f32) -> usize {
    layer * if dropout > 0.0 { 4 } else { 3 }
}

impl<I: Dim, O: Dim> Block<I, O> {
    /// `groups` layers; `mlp(e)` names PyTorch's MLP of group e, in which this is hidden layer number `layer`.
    pub fn new<D: Kernels>(
        b: &mut Builder<D>,
        mlp: &dyn Fn(usize) -> String,
        layer: usize,
        groups: usize,
        (inputs, outputs): (I, O),
        dropout: f32,
    ) -> Self {
        let index = sequential_index(layer, dropout);
        let linear = |e: usize| format!("{}.mlp.{index}", mlp(e));
        let (i, o) = (inputs.size(), outputs.size());
        let name = linear(0);
        let init = Builder::<D>::linear_bound(i);
        let weight = b.add(format!("{name}.weight"), Kind::Weight, groups * i * o, init);
        let bias = b.add(format!("{name}.bias"), Kind::Weight, groups * o, init);
        b.torch_linear(&linear, groups, (i, o), (weight, bias));
        let norm = norm(b, &|e| format!("{}.mlp.{}", mlp(e), index + 1), groups, o, dropout);
        Self { name, inputs, outputs, weight, bias, norm }
    }

    /// E×B×I to E×B×O.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, usize, I)>) -> Var<(usize, usize, O)> {
        tape.expect_width(&self.name, self.inputs.size(), x.shape.2.size());
        norm_relu_dropout(tape, bank_linear(tape, x, self.weight, self.bias, self.outputs), self.norm)
    }
}

/// The parameters of a bank of batch normalisations; `name(e)` is PyTorch's module of group e.
pub(super) fn norm<D: Kernels>(
    b: &mut Builder<D>,
    name: &dyn Fn(usize) -> String,
    groups: usize,
    cols: usize,
    dropout: f32,
) -> Norm {
    let all = groups * cols;
    let first = name(0);
    let norm = Norm {
        gain: b.add(format!("{first}.weight"), Kind::Weight, all, Init::Constant(1.0)),
        shift: b.add(format!("{first}.bias"), Kind::Weight, all, Init::Constant(0.0)),
        mean: b.add(format!("{first}.running_mean"), Kind::Statistic, all, Init::Constant(0.0)),
        variance: b.add(format!("{first}.running_var"), Kind::Statistic, all, Init::Constant(1.0)),
        dropout,
    };
    for e in 0..groups {
        let parts =
            [("weight", norm.gain), ("bias", norm.shift), ("running_mean", norm.mean), ("running_var", norm.variance)];
        for (part, param) in parts {
            b.torch(format!("{}.{part}", name(e)), vec![cols], param, e * cols, vec![1]);
        }
        b.norms.push(name(e));
    }
    norm
}
