//! Smooth Tchebycheff scalarisation, as its authors train with it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::softmax::softmax;
use crate::balance::span::{MeanLosses, Moment};
use crate::balance::{Build, LossBalancer, Memory, Method, Span, Step, hyper, memory};
use crate::registry::Describe;

/// A smooth maximum of the log-losses relative to their values after a warm-up:
/// `total = K μ ln Σ exp(ln(L_k/N_k)/μ)`. During the warm-up and while `N`, the mean losses, is measured,
/// `total = Σ ln L_k`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stch {
    /// μ, how smooth the maximum is: towards 0 it becomes the plain maximum.
    pub mu: f64,
    /// How long the losses may settle first.
    pub warmup: Span,
    /// Over what the losses are then averaged into `N`.
    pub measure: Span,
}

impl Default for Stch {
    fn default() -> Self {
        Self { mu: 1.0, warmup: Span::Epochs(4), measure: Span::Epochs(1) }
    }
}

impl Describe for Stch {
    const SUMMARY: &'static str = "smooth Tchebycheff on log-losses relative to their values after a warm-up";
    const SOURCE: &'static str = "Lin et al., ICML 2024";
}

impl Build for Stch {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::positive("mu", self.mu)?;
        self.measure.check_not_empty("measure")?;
        let state = State { warm_since: None, reference: MeanLosses::new(tasks) };
        Ok(Method::Loss(Box::new(Smooth { hyper: self.clone(), state })))
    }
}

struct Smooth {
    hyper: Stch,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// When the warm-up ended.
    warm_since: Option<Moment>,
    /// `N`.
    reference: MeanLosses,
}

impl Memory for Smooth {
    fn save(&self) -> Value {
        memory::save(&self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.state.reference.tasks();
        memory::restore(&mut self.state, saved, |state| state.reference.tasks() == tasks)
    }
}

impl LossBalancer for Smooth {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let losses = step.positive_losses();
        let of_log_sum: Vec<f64> = losses.iter().map(|loss| 1.0 / loss).collect();
        if !self.hyper.warmup.is_over(Moment::START, step) {
            return of_log_sum;
        }
        let since = *self.state.warm_since.get_or_insert(Moment::of(step));
        match self.state.reference.mean() {
            Some(reference) if self.hyper.measure.is_over(since, step) => {
                let relative: Vec<f64> =
                    losses.iter().zip(&reference).map(|(loss, n)| (loss / n).ln() / self.hyper.mu).collect();
                let tasks = losses.len() as f64;
                softmax(&relative).iter().zip(&losses).map(|(p, loss)| tasks * p / loss).collect()
            }
            _ => {
                self.state.reference.add(step.losses);
                of_log_sum
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, assert_derivatives, ex_a};

    #[test]
    fn the_standard_example() {
        let hyper = Stch { warmup: Span::Epochs(1), ..Stch::default() };
        let Ok(Method::Loss(mut method)) = hyper.build(2) else { panic!("a loss balancer") };
        let mut at = |index, epoch, losses: &[f64]| method.weights(&Step { index, epoch, seed: 0, losses });
        assert_eq!(at(0, 0, &[0.5, 0.25]), [2.0, 4.0]);
        // N = (0.6, 0.5), the mean of the epoch after the warm-up.
        assert_eq!(at(1, 1, &[0.5, 0.5]), [2.0, 2.0]);
        assert_close(&at(2, 1, &[0.7, 0.5]), &[1.0 / 0.7, 2.0], 1e-12);
        let weights = at(3, 2, &[0.5, 0.125]);
        assert_close(&weights, &[3.076_923, 3.692_308], 1e-6);
        assert_close(&ex_a().combine(&weights), &[2.461_538, 7.384_615], 1e-6);
        let total = |losses: &[f64]| 2.0 * (losses[0] / 0.6 + losses[1] / 0.5).ln();
        assert_derivatives(total, &[0.5, 0.125], &weights);
    }
}
