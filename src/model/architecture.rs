//! What an architecture and a built model offer.

use super::Widths;
use crate::data::Schema;
use crate::nn::{Batch, Builder};
use crate::tensor::{Kernels, Tape, Var};

/// Hyper-parameters of an architecture that can be built at any widths on any device.
pub trait Architecture {
    /// Why these hyper-parameters do not fit a schema, in words a pipeline's author understands.
    ///
    /// # Errors
    /// When they do not.
    fn fits(&self, schema: &Schema) -> Result<(), String> {
        let _ = schema;
        Ok(())
    }

    /// Makes the layers.
    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, builder: &mut Builder<D>) -> Box<dyn Model<D>>;
}

/// A built model: forward only.
pub trait Model<D: Kernels> {
    /// The logits of each task for each row: K vectors of length B, the k-th of P(label k = 1).
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>>;
}
