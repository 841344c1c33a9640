//! What the learning curve says of single steps: losses, task weights, and how far the task gradients agree. Sampled, so that
//! looking costs next to nothing.

use serde_json::{Value, json};

use super::Report;
use crate::balance::gram::Gram;

/// Steps of an epoch that are noted, at most.
const NOTED: usize = 100;
/// A look at the task gradients for its own sake costs a backward pass a task, nearly a step each: this many steps apart for
/// every task, looking stays under 2 % of the time.
const APART: u64 = 75;

/// What is noted of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Away,
    /// What the step has at hand.
    Numbers,
    /// The task gradients too, even if that takes backward passes of their own.
    Gradients,
}

/// The noted steps of an epoch.
pub(super) struct StepCurve {
    every: usize,
    apart: u64,
    pub lines: Vec<Value>,
}

impl StepCurve {
    /// For an epoch of this many steps.
    pub fn new(steps: usize, tasks: usize) -> Self {
        Self { every: steps.div_ceil(NOTED).max(1), apart: APART * tasks as u64, lines: Vec::new() }
    }

    /// What to note of a step, by its number in the epoch and in all.
    pub fn look(&self, in_epoch: u32, in_all: u64) -> Look {
        if in_all.is_multiple_of(self.apart) {
            Look::Gradients
        } else if (in_epoch as usize).is_multiple_of(self.every) {
            Look::Numbers
        } else {
            Look::Away
        }
    }

    /// Notes a step.
    pub fn note(&mut self, look: Look, epoch: usize, step: u64, report: &Report) {
        if look == Look::Away {
            return;
        }
        let mut line = json!({
            "step": step,
            "epoch": epoch + 1,
            "loss": report.losses,
            "weight": report.weights,
        });
        if let Some(gram) = &report.gram {
            line["cosine"] = json!(cosines(gram));
        }
        self.lines.push(line);
    }
}

/// The cosines between the shared gradients of tasks 1 and 2, 1 and 3, …, 2 and 3, …
fn cosines(gram: &Gram) -> Vec<f64> {
    let tasks = gram.tasks();
    (0..tasks).flat_map(|i| (i + 1..tasks).map(move |j| gram.cos(i, j))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_rare_and_the_first_step_is_among_them() {
        let looks = |steps: usize, tasks| {
            let curve = StepCurve::new(steps, tasks);
            let looks: Vec<Look> = (0..steps).map(|at| curve.look(at as u32, at as u64)).collect();
            let count = |wanted| looks.iter().filter(|look| **look == wanted).count();
            assert_eq!(looks[0], Look::Gradients);
            (count(Look::Gradients), count(Look::Numbers))
        };
        assert_eq!(looks(20, 2), (1, 19));
        let (gradients, numbers) = looks(1000, 2);
        assert!(gradients == 7 && numbers > 90, "{gradients} {numbers}");
        let (gradients, numbers) = looks(13_500, 3);
        assert!(gradients == 60 && numbers <= 100, "{gradients} {numbers}");
    }

    #[test]
    fn cosines_come_by_pairs_of_tasks() {
        let gram = Gram::from_gradients(&[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]).unwrap();
        let found = cosines(&gram);
        let expected = [0.0, 0.5f64.sqrt(), 0.5f64.sqrt()];
        assert!(found.len() == 3 && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }
}
