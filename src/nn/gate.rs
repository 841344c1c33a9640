//! Softmax gates over a bank of experts.

use dfdx::shapes::Dim;

use super::fields::field_maps;
use super::{Builder, Embedded, Fields};
use crate::tensor::op::{FieldMaps, softmax};
use crate::tensor::{Kernels, Tape, Var};

/// `softmax(W·e + b)` over a number of experts known at run time.
pub struct Gate {
    maps: FieldMaps<usize>,
}

impl Gate {
    /// `name` is PyTorch's module, a `Sequential` of one `Linear`.
    pub fn new<E: Dim, D: Kernels>(b: &mut Builder<D>, name: &str, fields: &Fields<E>, experts: usize) -> Self {
        Self { maps: field_maps(b, &|_| format!("{name}.0"), 1, fields, experts) }
    }

    /// The experts' weights for each sample: B×E, rows sum to 1.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, usize)> {
        softmax(tape, e.linear(tape, self.maps).ungrouped())
    }
}
