//! A linear map of the fields.

use dfdx::shapes::Dim;

use super::fields::field_maps;
use super::{Builder, Embedded, Fields};
use crate::tensor::op::FieldMaps;
use crate::tensor::{Kernels, Tape, Var};

/// `W·e + b`, with nothing behind it.
pub struct Projection<O: Dim> {
    maps: FieldMaps<O>,
}

impl<O: Dim> Projection<O> {
    /// `name` is PyTorch's module, a `Linear`.
    pub fn new<E: Dim, D: Kernels>(b: &mut Builder<D>, name: &str, fields: &Fields<E>, out: O) -> Self {
        Self { maps: field_maps(b, &|_| name.to_owned(), 1, fields, out) }
    }

    /// Its output: B×N.
    pub fn forward<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Var<(usize, O)> {
        e.linear(tape, self.maps).ungrouped()
    }
}
