//! Towers: from a hidden representation to logits.

use dfdx::shapes::{Const, Dim};

use super::{Block, Builder, Maps, Style};
use crate::tensor::{Kernels, Tape, Var};

/// A bank of two-layer MLPs with a linear output unit each.
pub struct Towers<I: Dim, A: Dim, B: Dim> {
    first: Block<I, A>,
    second: Block<A, B>,
    output: Maps<B, Const<1>>,
}

impl<I: Dim, A: Dim, B: Dim> Towers<I, A, B> {
    /// `name(e)` is PyTorch's module of tower e.
    pub fn new<D: Kernels>(
        b: &mut Builder<D>,
        name: &dyn Fn(usize) -> String,
        count: usize,
        inputs: I,
        (first, second): (A, B),
        style: Style,
    ) -> Self {
        let last = style.index(2);
        Self {
            first: Block::new(b, name, 0, count, (inputs, first), style),
            second: Block::new(b, name, 1, count, (first, second), style),
            output: Maps::new(b, &|e| format!("{}.mlp.{last}", name(e)), count, (second, Const)),
        }
    }

    /// Every tower's logits on the same input: E×B.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize, usize)> {
        let hidden = self.second.forward(tape, self.first.forward_shared(tape, x));
        self.output.forward(tape, hidden).squeezed()
    }
}

/// One task's tower.
pub struct Tower<I: Dim, A: Dim, B: Dim>(Towers<I, A, B>);

impl<I: Dim, A: Dim, B: Dim> Tower<I, A, B> {
    /// `name` is PyTorch's module.
    pub fn new<D: Kernels>(b: &mut Builder<D>, name: &str, inputs: I, widths: (A, B), style: Style) -> Self {
        Self(Towers::new(b, &|_| name.to_owned(), 1, inputs, widths, style))
    }

    /// The task's logits: B.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize,)> {
        self.0.forward(tape, x).flattened()
    }
}
