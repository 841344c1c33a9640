//! Towers: from a hidden representation to one task's logits.

use dfdx::shapes::Dim;

use super::block::sequential_index;
use super::{Block, Builder};
use crate::tensor::op::output;
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

/// A two-layer MLP and a linear output unit.
pub struct Tower<I: Dim, A: Dim, B: Dim> {
    first: Block<I, A>,
    second: Block<A, B>,
    weight: ParamId,
    bias: ParamId,
}

impl<I: Dim, A: Dim, B: Dim> Tower<I, A, B> {
    /// `name` is PyTorch's module.
    pub fn new<D: Kernels>(b: &mut Builder<D>, name: &str, inputs: I, (first, second): (A, B), dropout: f32) -> Self {
        let mlp = |_: usize| name.to_owned();
        let hidden = second.size();
        let last = format!("{name}.mlp.{}", sequential_index(2, dropout));
        let init = Builder::<D>::linear_bound(hidden);
        let tower = Self {
            first: Block::new(b, &mlp, 0, 1, (inputs, first), dropout),
            second: Block::new(b, &mlp, 1, 1, (first, second), dropout),
            weight: b.add(format!("{last}.weight"), Kind::Weight, hidden, init),
            bias: b.add(format!("{last}.bias"), Kind::Weight, 1, init),
        };
        b.torch_linear(&|_| last.clone(), 1, (hidden, 1), (tower.weight, tower.bias));
        tower
    }

    /// The task's logits: B.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize,)> {
        let hidden = self.second.forward(tape, self.first.forward(tape, x.grouped()));
        output(tape, hidden.ungrouped(), self.weight, self.bias)
    }
}
