//! Linear → (BatchNorm →) ReLU → dropout, one or a bank of them side by side.

use dfdx::shapes::Dim;

use super::{Builder, Init, TorchNorm};
use crate::tensor::op::{Norm, bank_linear, norm_relu_dropout, relu_dropout, shared_linear};
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

/// What hidden layers are made of, beside the linear map and ReLU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Share of the units dropped in training.
    pub dropout: f32,
    /// Whether a batch normalisation stands between the linear map and ReLU.
    pub norm: bool,
    /// Modules of a hidden layer in PyTorch's `Sequential`, where each takes an index.
    modules: usize,
}

impl Style {
    /// MTOReclib's: normalised; no module for a dropout of 0.
    pub fn mtoreclib(dropout: f32) -> Self {
        Self { dropout, norm: true, modules: if dropout > 0.0 { 4 } else { 3 } }
    }

    /// MTOReclib's without batch normalisation.
    pub fn plain(dropout: f32) -> Self {
        Self { dropout, norm: false, modules: if dropout > 0.0 { 3 } else { 2 } }
    }

    /// MTReclib's: normalised; a module for every dropout.
    pub fn mtreclib(dropout: f32) -> Self {
        Self { dropout, norm: true, modules: 4 }
    }

    /// Where the linear map of a layer stands in PyTorch's `Sequential`.
    pub fn index(&self, layer: usize) -> usize {
        layer * self.modules
    }
}

/// What follows the linear map of a hidden layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activation {
    Norm(Norm),
    Plain { dropout: f32 },
}

impl Activation {
    /// For hidden layer number `layer` of a bank of `groups` MLPs of `cols` units; `mlp(e)` names PyTorch's MLP of group e.
    pub(super) fn new<D: Kernels>(
        b: &mut Builder<D>,
        mlp: &dyn Fn(usize) -> String,
        layer: usize,
        (groups, cols): (usize, usize),
        style: Style,
    ) -> Self {
        if style.norm {
            let index = style.index(layer) + 1;
            Self::Norm(norm(b, &|e| format!("{}.mlp.{index}", mlp(e)), groups, cols, style.dropout))
        } else {
            Self::Plain { dropout: style.dropout }
        }
    }

    pub(super) fn forward<N: Dim, D: Kernels>(
        self,
        tape: &Tape<D>,
        x: Var<(usize, usize, N)>,
    ) -> Var<(usize, usize, N)> {
        match self {
            Self::Norm(norm) => norm_relu_dropout(tape, x, norm),
            Self::Plain { dropout } => relu_dropout(tape, x, dropout),
        }
    }
}

/// A bank of linear maps from I to O units.
pub struct Maps<I: Dim, O: Dim> {
    name: String,
    groups: usize,
    inputs: I,
    outputs: O,
    weight: ParamId,
    bias: ParamId,
}

impl<I: Dim, O: Dim> Maps<I, O> {
    /// `groups` maps; `name(e)` is PyTorch's `Linear` of group e.
    pub fn new<D: Kernels>(
        b: &mut Builder<D>,
        name: &dyn Fn(usize) -> String,
        groups: usize,
        (inputs, outputs): (I, O),
    ) -> Self {
        let (i, o) = (inputs.size(), outputs.size());
        let first = name(0);
        let init = Builder::<D>::linear_bound(i);
        let weight = b.add(format!("{first}.weight"), Kind::Weight, groups * i * o, init);
        let bias = b.add(format!("{first}.bias"), Kind::Weight, groups * o, init);
        b.torch_linear(name, groups, (i, o), (weight, bias));
        Self { name: first, groups, inputs, outputs, weight, bias }
    }

    /// E×B×I to E×B×O.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, usize, I)>) -> Var<(usize, usize, O)> {
        let x = tape.fitted(&self.name, x, (x.shape.0, x.shape.1, self.inputs));
        bank_linear(tape, x, self.weight, self.bias, self.outputs)
    }

    /// The same input for every map: B×I to E×B×O.
    pub fn forward_shared<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize, usize, O)> {
        let x = tape.fitted(&self.name, x, (x.shape.0, self.inputs));
        shared_linear(tape, x, self.groups, self.weight, self.bias, self.outputs)
    }
}

/// A bank of hidden layers from I to O units.
pub struct Block<I: Dim, O: Dim> {
    maps: Maps<I, O>,
    activation: Activation,
}

impl<I: Dim, O: Dim> Block<I, O> {
    /// `groups` layers; `mlp(e)` names PyTorch's MLP of group e, in which this is hidden layer number `layer`.
    pub fn new<D: Kernels>(
        b: &mut Builder<D>,
        mlp: &dyn Fn(usize) -> String,
        layer: usize,
        groups: usize,
        (inputs, outputs): (I, O),
        style: Style,
    ) -> Self {
        let index = style.index(layer);
        let maps = Maps::new(b, &|e| format!("{}.mlp.{index}", mlp(e)), groups, (inputs, outputs));
        Self { maps, activation: Activation::new(b, mlp, layer, (groups, outputs.size()), style) }
    }

    /// E×B×I to E×B×O.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, usize, I)>) -> Var<(usize, usize, O)> {
        self.activation.forward(tape, self.maps.forward(tape, x))
    }

    /// The same input for every layer of the bank: B×I to E×B×O.
    pub fn forward_shared<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize, usize, O)> {
        self.activation.forward(tape, self.maps.forward_shared(tape, x))
    }
}

/// The parameters of a bank of batch normalisations; `name(e)` is PyTorch's module of group e.
fn norm<D: Kernels>(
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
        b.norms.push(TorchNorm { name: name(e), passes: 1 });
    }
    norm
}
