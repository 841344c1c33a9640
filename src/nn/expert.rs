//! Networks from the fields to a hidden representation: a shared bottom, or a bank of experts.

use dfdx::shapes::Dim;

use super::fields::FieldBlock;
use super::{Block, Builder, Embedded, Fields, Style};
use crate::tensor::{Kernels, Tape, Var};

/// A bank of two-layer MLPs on the fields, run as one wide matrix.
pub struct Experts<A: Dim, B: Dim> {
    first: FieldBlock<A>,
    second: Block<A, B>,
}

impl<A: Dim, B: Dim> Experts<A, B> {
    /// `count` experts of these widths; `name(e)` is PyTorch's module of expert e.
    pub fn new<E: Dim, D: Kernels>(
        b: &mut Builder<D>,
        name: &dyn Fn(usize) -> String,
        count: usize,
        fields: &Fields<E>,
        (first, second): (A, B),
        style: Style,
    ) -> Self {
        Self {
            first: FieldBlock::new(b, name, count, (fields, first), style),
            second: Block::new(b, name, 1, count, (first, second), style),
        }
    }

    /// The experts' outputs: E×B×N.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, usize, B)> {
        self.second.forward(tape, self.first.forward(tape, e))
    }
}

/// One two-layer MLP on the fields.
pub struct Bottom<A: Dim, B: Dim>(Experts<A, B>);

impl<A: Dim, B: Dim> Bottom<A, B> {
    /// `name` is PyTorch's module.
    pub fn new<E: Dim, D: Kernels>(
        b: &mut Builder<D>,
        name: &str,
        fields: &Fields<E>,
        widths: (A, B),
        style: Style,
    ) -> Self {
        Self(Experts::new(b, &|_| name.to_owned(), 1, fields, widths, style))
    }

    /// Its output: B×N.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, B)> {
        self.0.forward(tape, e).ungrouped()
    }
}
