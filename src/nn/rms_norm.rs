//! Root mean square normalisation.

use dfdx::shapes::Dim;

use super::{Builder, Init};
use crate::tensor::op::rms_norm;
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

/// Rows divided by their root mean square, times a learned scale that starts at 1.
pub struct RmsNorm<N: Dim> {
    name: String,
    width: N,
    gain: ParamId,
}

impl<N: Dim> RmsNorm<N> {
    /// `name` is PyTorch's module, an `RMSNorm`.
    pub fn new<D: Kernels>(b: &mut Builder<D>, name: &str, width: N) -> Self {
        let weight = format!("{name}.weight");
        let gain = b.add(&weight, Kind::Weight, width.size(), Init::Constant(1.0));
        b.torch(weight, vec![width.size()], gain, 0, vec![1]);
        Self { name: name.to_owned(), width, gain }
    }

    /// B×N to B×N.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, x: Var<(usize, N)>) -> Var<(usize, N)> {
        let x = tape.fitted(&self.name, x, (x.shape.0, self.width));
        rms_norm(tape, x, self.gain)
    }
}
