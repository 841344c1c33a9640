//! Lengths of training in epochs or steps: warm-ups and averaging windows.

use serde::{Deserialize, Serialize};

use super::Step;

/// A length of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// So many passes over the training rows.
    Epochs(u64),
    /// So many optimizer steps, for runs of few epochs.
    Steps(u64),
}

/// When a span began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    step: u64,
    epoch: u64,
}

impl Moment {
    /// Before the first step.
    pub(super) const START: Self = Self { step: 0, epoch: 0 };

    pub(super) fn of(step: &Step) -> Self {
        Self { step: step.index, epoch: step.epoch }
    }
}

impl Span {
    /// Whether the span that began at `since` is over at this step.
    pub(super) fn is_over(self, since: Moment, step: &Step) -> bool {
        match self {
            Span::Epochs(epochs) => step.epoch.saturating_sub(since.epoch) >= epochs,
            Span::Steps(steps) => step.index.saturating_sub(since.step) >= steps,
        }
    }

    /// The number, from 0, of the span of this length in which the step lies, counted from the start of training.
    pub(super) fn window(self, step: &Step) -> u64 {
        match self {
            Span::Epochs(epochs) => step.epoch / epochs.max(1),
            Span::Steps(steps) => step.index / steps.max(1),
        }
    }

    /// Fails when the span is empty.
    pub(super) fn check_not_empty(self, name: &str) -> Result<(), String> {
        match self {
            Span::Epochs(0) | Span::Steps(0) => Err(format!("`{name}` must be at least one epoch or step")),
            _ => Ok(()),
        }
    }
}

/// The mean of the losses of several steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MeanLosses {
    sum: Vec<f64>,
    steps: u64,
}

impl MeanLosses {
    pub(super) fn new(tasks: usize) -> Self {
        Self { sum: vec![0.0; tasks], steps: 0 }
    }

    pub(super) fn tasks(&self) -> usize {
        self.sum.len()
    }

    pub(super) fn add(&mut self, losses: &[f64]) {
        self.sum.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        self.steps += 1;
    }

    /// The means, raised to at least 1e-8; `None` before the first step.
    pub(super) fn mean(&self) -> Option<Vec<f64>> {
        let mean = |sum: &f64| (sum / self.steps as f64).max(super::LOSS_FLOOR);
        (self.steps > 0).then(|| self.sum.iter().map(mean).collect())
    }
}
