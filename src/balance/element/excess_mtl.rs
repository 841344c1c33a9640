//! Multi-task learning robust to noisy labels.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::softmax::softmax;
use crate::balance::span::{MeanLosses, Moment};
use crate::balance::{Build, ExcessBalancer, Memory, Method, Span, Step, hyper, memory};
use crate::registry::Describe;

/// A task's excess risk is floored here before anything is divided by it.
const EXCESS_FLOOR: f64 = 1e-7;

/// Weighs the tasks by how far each is from its own optimum, as the curvature of AdaGrad measures it, and not by its loss,
/// which noisy labels keep high: `w_k ← w_k exp(η e_k/e_k(0))`, summing to K.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExcessMtl {
    /// η, the step of the weights.
    pub eta: f64,
    /// How long the weights stay 1 while the excess risks that are compared with, `e(0)`, are averaged.
    pub warm_up: Span,
}

impl Default for ExcessMtl {
    fn default() -> Self {
        Self { eta: 1e-2, warm_up: Span::Steps(1) }
    }
}

impl Describe for ExcessMtl {
    const SUMMARY: &'static str = "weights grow with the excess risk, estimated by the curvature of AdaGrad";
    const SOURCE: &'static str = "He et al., ICML 2024";
}

impl Build for ExcessMtl {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("eta", self.eta)?;
        self.warm_up.check_not_empty("warm_up")?;
        let state = State { initial: MeanLosses::new(tasks), logits: vec![0.0; tasks] };
        Ok(Method::Excess(Box::new(Robust { hyper: self.clone(), state })))
    }
}

struct Robust {
    hyper: ExcessMtl,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// The excess risks of the warm-up.
    initial: MeanLosses,
    /// Logarithms of the weights: products of exponentials would overflow.
    logits: Vec<f64>,
}

impl Memory for Robust {
    fn save(&self) -> Value {
        memory::save(&self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.state.logits.len();
        memory::restore(&mut self.state, saved, |state| state.logits.len() == tasks && state.initial.tasks() == tasks)
    }
}

impl ExcessBalancer for Robust {
    fn weights(&mut self, step: &Step, excess: &[f64]) -> Vec<f64> {
        let tasks = excess.len() as f64;
        let State { initial, logits } = &mut self.state;
        match initial.mean() {
            Some(initial) if self.hyper.warm_up.is_over(Moment::START, step) => {
                for ((logit, excess), initial) in logits.iter_mut().zip(excess).zip(initial) {
                    *logit += self.hyper.eta * excess / initial.max(EXCESS_FLOOR);
                }
                // only differences count
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                logits.iter_mut().for_each(|logit| *logit -= largest);
            }
            _ => initial.add(excess),
        }
        softmax(logits).iter().map(|weight| tasks * weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{Driver, assert_close};

    #[test]
    fn the_standard_example() {
        let mut driver = Driver::of(&ExcessMtl::default(), 2);
        for (gradients, weights) in [
            ([[2.0, 0.0], [-1.0, 2.0]], [1.0, 1.0]),
            ([[1.0, 0.0], [-1.0, 2.0]], [0.997_583, 1.002_417]),
            ([[1.0, 0.0], [-1.0, 1.0]], [0.997_085, 1.002_915]),
        ] {
            let answer = driver.step(&[1.0, 1.0], &gradients.map(|g| g.to_vec()));
            assert_close(&answer.coefficients.shared, &weights, 1e-6);
            assert_eq!(answer.coefficients.task, answer.coefficients.shared);
        }
    }

    #[test]
    fn weights_stay_even_through_a_longer_warm_up() {
        let mut driver = Driver::of(&ExcessMtl { eta: 1.0, warm_up: Span::Steps(3) }, 2);
        let gradients = [vec![2.0, 0.0], vec![-1.0, 2.0]];
        let weights: Vec<Vec<f64>> = (0..4).map(|_| driver.step(&[1.0, 1.0], &gradients).coefficients.shared).collect();
        assert!(weights[..3].iter().all(|w| *w == [1.0, 1.0]) && weights[3] != [1.0, 1.0], "{weights:?}");
    }
}
