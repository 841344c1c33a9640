//! Softmax gates over candidates whose number is known at run time.

use dfdx::shapes::Dim;

use super::fields::field_maps;
use super::{Builder, Embedded, Fields, Maps};
use crate::tensor::op::{FieldMaps, softmax};
use crate::tensor::{Kernels, Tape, Var};

/// `softmax(W·e + b)` on the fields.
pub struct Gate {
    maps: FieldMaps<usize>,
}

impl Gate {
    /// `name` is PyTorch's module, a `Sequential` of one `Linear`.
    pub fn new<E: Dim, D: Kernels>(b: &mut Builder<D>, name: &str, fields: &Fields<E>, candidates: usize) -> Self {
        Self { maps: field_maps(b, &|_| format!("{name}.0"), 1, fields, candidates) }
    }

    /// The candidates' weights for each sample: B×J, rows sum to 1.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, usize)> {
        softmax(tape, e.linear(tape, self.maps).ungrouped())
    }
}

/// `softmax(W·x + b)` on a hidden representation.
pub struct HiddenGate<I: Dim> {
    maps: Maps<I, usize>,
}

impl<I: Dim> HiddenGate<I> {
    /// `name` is PyTorch's module, a `Sequential` of one `Linear`.
    pub fn new<D: Kernels>(b: &mut Builder<D>, name: &str, inputs: I, candidates: usize) -> Self {
        Self { maps: Maps::new(b, &|_| format!("{name}.0"), 1, (inputs, candidates)) }
    }

    /// The candidates' weights for each sample: B×J, rows sum to 1.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, I)>) -> Var<(usize, usize)> {
        softmax(tape, self.maps.forward_shared(tape, x).ungrouped())
    }
}
