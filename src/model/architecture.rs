//! What an architecture and a built model offer.

use std::ops::RangeInclusive;

use super::Widths;
use crate::data::Schema;
use crate::nn::{Batch, Builder};
use crate::tensor::{Kernels, ParamId, Tape, Var};

/// Hyper-parameters of an architecture that can be built at any widths on any device.
pub trait Architecture {
    /// How many tasks it takes.
    const TASKS: RangeInclusive<usize> = 1..=usize::MAX;

    /// MTOReclib's modules that list parts of the model a second time: the name there, the part's own name. A
    /// `state_dict` holds the tensors under both.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];

    /// Whether a model can be built with these hyper-parameters, whatever the data and the sizes.
    ///
    /// # Errors
    /// When none can: the first field that does not fit.
    fn fits(&self) -> Result<(), Misfit> {
        Ok(())
    }

    /// Makes the layers.
    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, builder: &mut Builder<D>) -> Box<dyn Model<D>>;
}

/// A hyper-parameter with which no model can be built, in words a pipeline's author understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl Misfit {
    pub(super) fn new(field: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), remedy: remedy.into() }
    }

    /// Counts of layers of which a model needs one at least: a bank of none has no output.
    pub(super) fn in_counts(counts: &[(&'static str, usize)]) -> Result<(), Self> {
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => {
                Err(Self::new(field, format!("`{field}` should be at least 1, not 0"), "give 1 or more"))
            }
            None => Ok(()),
        }
    }
}

/// A built model: forward only.
pub trait Model<D: Kernels> {
    /// The logits of each task for each row: K vectors of length B, the k-th of P(label k = 1).
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>>;

    /// What adapts within a step, if the model is trained to be good after adapting (meta learning).
    fn adaptation(&self) -> Option<Adaptation> {
        None
    }
}

/// Parameters that take a plain gradient step on one half of every batch (the support set) before the losses of the other
/// half (the query set) are formed and differentiated: first-order MAML (Finn et al., ICML 2017).
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptation {
    /// The parameters that take the step; they go back to where they were before the optimizer moves them.
    pub params: Vec<ParamId>,
    /// Its length, as a multiple of the gradient of the tasks' mean loss.
    pub rate: f32,
}
