//! Multi-objective optimisation with double sampling.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::products;
use crate::balance::solver::project_simplex;
use crate::balance::{Build, Coefficients, CrossBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// Approaches the weights of the shortest combination of the gradients by projected steps whose direction is unbiased,
/// because it multiplies gradients of two batches: `λ ← Π(λ − γ(J₁J₂ᵀλ + ρλ))`. The parameters follow the mean of both
/// batches, `(J₁ + J₂)ᵀλ/2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoDo {
    /// γ, the step of the weights.
    pub gamma: f64,
    /// ρ, draws the weights towards each other.
    pub rho: f64,
}

impl Default for MoDo {
    fn default() -> Self {
        Self { gamma: 0.1, rho: 0.1 }
    }
}

impl Describe for MoDo {
    const SUMMARY: &'static str = "the shortest combination of the gradients, approached by unbiased projected steps";
    const SOURCE: &'static str = "Chen et al., NeurIPS 2023";
}

impl Build for MoDo {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("gamma", self.gamma)?;
        hyper::not_negative("rho", self.rho)?;
        Ok(Method::Cross(Box::new(DoubleSampling { hyper: self.clone(), weights: vec![1.0 / tasks as f64; tasks] })))
    }
}

struct DoubleSampling {
    hyper: MoDo,
    weights: Vec<f64>,
}

impl Memory for DoubleSampling {
    fn save(&self) -> Value {
        memory::save(&self.weights)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.weights.len();
        memory::restore(&mut self.weights, saved, |weights| weights.len() == tasks)
    }
}

impl CrossBalancer for DoubleSampling {
    fn batches(&self) -> usize {
        2
    }

    fn coefficients(&mut self, _: &Step, cross: &[Vec<f64>]) -> Vec<Coefficients> {
        let MoDo { gamma, rho } = self.hyper;
        let moved: Vec<f64> = products(cross, &self.weights)
            .iter()
            .zip(&self.weights)
            .map(|(pull, weight)| weight - gamma * (pull + rho * weight))
            .collect();
        self.weights = project_simplex(&moved);
        let half = Coefficients {
            shared: self.weights.iter().map(|weight| weight / 2.0).collect(),
            task: vec![0.5; self.weights.len()],
            max_norm: None,
        };
        vec![half.clone(), half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        for (example, expected) in [
            (ex_a(), vec![vec![0.525, 0.475], vec![0.5335, 0.4665], vec![0.536_390, 0.463_610]]),
            (ex_b(), vec![vec![0.255_556, 0.422_222, 0.322_222], vec![0.222_259, 0.461_704, 0.316_037]]),
        ] {
            // both batches alike: only to check the arithmetic
            let mut driver = example.driver(&MoDo::default());
            for weights in expected {
                let answer = driver.step(&example.losses, &example.gradients);
                assert_close(&answer.coefficients.shared, &weights, 1e-6);
                assert_close(&answer.combined, &example.combine(&answer.coefficients.shared), 1e-12);
                assert_close(&answer.coefficients.task, &vec![1.0; weights.len()], 0.0);
            }
        }
    }
}
