//! Softmax gates over candidates whose number is known at run time.

use dfdx::shapes::Dim;

use super::fields::field_maps;
use super::{Builder, Embedded, Fields, Maps};
use crate::tensor::op::{Candidates, FieldMaps, mix, softmax};
use crate::tensor::{Kernels, Tape, Var};

/// `softmax(W·e + b)` on the fields.
pub struct Gate {
    name: String,
    maps: FieldMaps<usize>,
}

impl Gate {
    /// `name` is PyTorch's module, a `Sequential` of one `Linear`.
    pub fn new<E: Dim, D: Kernels>(b: &mut Builder<D>, name: &str, fields: &Fields<E>, candidates: usize) -> Self {
        Self { name: name.to_owned(), maps: field_maps(b, &|_| format!("{name}.0"), 1, fields, candidates) }
    }

    /// The gated sum of as many candidates: B×N.
    pub fn mix<E: Dim, N: Dim, D: Kernels>(
        &self,
        tape: &Tape<D>,
        e: &Embedded<E, D>,
        candidates: &[Candidates<N>],
    ) -> Var<(usize, N)> {
        tape.expect_width(&self.name, self.maps.out, Candidates::count(candidates));
        mix(tape, self.forward(tape, e), candidates)
    }

    /// The candidates' weights for each sample: B×J, rows sum to 1.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, usize)> {
        softmax(tape, e.linear(tape, self.maps).ungrouped())
    }
}

/// `softmax(W·x + b)` on a hidden representation.
pub struct HiddenGate<I: Dim> {
    name: String,
    candidates: usize,
    maps: Maps<I, usize>,
}

impl<I: Dim> HiddenGate<I> {
    /// `name` is PyTorch's module, a `Sequential` of one `Linear`.
    pub fn new<D: Kernels>(b: &mut Builder<D>, name: &str, inputs: I, candidates: usize) -> Self {
        let maps = Maps::new(b, &|_| format!("{name}.0"), 1, (inputs, candidates));
        Self { name: name.to_owned(), candidates, maps }
    }

    /// The gated sum of as many candidates: B×N.
    pub fn mix<N: Dim, D: Kernels>(
        &self,
        tape: &Tape<D>,
        x: Var<(usize, I)>,
        candidates: &[Candidates<N>],
    ) -> Var<(usize, N)> {
        tape.expect_width(&self.name, self.candidates, Candidates::count(candidates));
        mix(tape, self.forward(tape, x), candidates)
    }

    /// The candidates' weights for each sample: B×J, rows sum to 1.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize, usize)> {
        softmax(tape, self.maps.forward_shared(tape, x).ungrouped())
    }
}
