//! Multi-objective optimisation with gradients corrected for the bias of stochastic ones.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::gram::Gram;
use crate::balance::softmax::softmax;
use crate::balance::solver::project_simplex;
use crate::balance::{Blend, Build, Coefficients, Memory, Method, Step, TrackBalancer, hyper, memory};
use crate::registry::Describe;

/// Follows the gradients by moving averages `Y ← Y − β(Y − g)`, and the weights of the shortest combination of the averages
/// by projected steps `λ ← Π(λ − γ(Y Yᵀ λ + ρ λ))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoCo {
    /// β, the step of the averages.
    pub beta: f64,
    /// γ, the step of the weights.
    pub gamma: f64,
    /// ρ, draws the weights towards each other.
    pub rho: f64,
    /// As LibMTL has it: gradients normalised and multiplied by their loss, β = 0.5/√t, γ = 0.1/√t, ρ = 0, and a softmax in
    /// place of the projection; the other hyper-parameters then do not count.
    pub libmtl_variant: bool,
}

impl Default for MoCo {
    fn default() -> Self {
        Self { beta: 0.1, gamma: 0.1, rho: 0.1, libmtl_variant: false }
    }
}

impl Describe for MoCo {
    const SUMMARY: &'static str = "the shortest combination of averaged gradients, approached by projected steps";
    const SOURCE: &'static str = "Fernando et al., ICLR 2023";
}

impl Build for MoCo {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::share("beta", self.beta)?;
        hyper::positive("beta", self.beta)?;
        hyper::not_negative("gamma", self.gamma)?;
        hyper::not_negative("rho", self.rho)?;
        Ok(Method::Track(Box::new(Corrected { hyper: self.clone(), weights: vec![1.0 / tasks as f64; tasks] })))
    }
}

struct Corrected {
    hyper: MoCo,
    weights: Vec<f64>,
}

impl Memory for Corrected {
    fn save(&self) -> Value {
        memory::save(&self.weights)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.weights.len();
        memory::restore(&mut self.weights, saved, |weights| weights.len() == tasks)
    }
}

/// `1/√t` in step t.
fn fading(step: &Step) -> f64 {
    1.0 / ((step.index + 1) as f64).sqrt()
}

impl TrackBalancer for Corrected {
    fn blend(&self, step: &Step, task: usize, norm: &dyn Fn() -> f64) -> Blend {
        if self.hyper.libmtl_variant {
            let beta = 0.5 * fading(step);
            Blend { keep: 1.0 - beta, take: beta * step.losses[task] / (norm() + 1e-8) }
        } else {
            Blend { keep: 1.0 - self.hyper.beta, take: self.hyper.beta }
        }
    }

    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let MoCo { gamma, rho, libmtl_variant, .. } = self.hyper;
        let (gamma, rho) = if libmtl_variant { (0.1 * fading(step), 0.0) } else { (gamma, rho) };
        let pull = gram.mul(&self.weights);
        let moved: Vec<f64> =
            self.weights.iter().zip(pull).map(|(weight, pull)| weight - gamma * (pull + rho * weight)).collect();
        self.weights = if libmtl_variant { softmax(&moved) } else { project_simplex(&moved) };
        Coefficients::tasks_alone(self.weights.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let answer = example.driver(&MoCo::default()).step(&example.losses, &example.gradients);
        assert_close(&answer.coefficients.shared, &[0.50025, 0.49975], 1e-9);
        assert_close(&answer.combined, &[0.050_075, 0.099_950], 1e-9);
        assert_eq!(answer.coefficients.task, [1.0, 1.0]);
    }

    #[test]
    fn the_variant_of_libmtl() {
        let example = ex_a();
        let mut driver = example.driver(&MoCo { libmtl_variant: true, ..MoCo::default() });
        let first = driver.step(&example.losses, &example.gradients);
        assert_close(&first.coefficients.shared, &[0.499_268, 0.500_732], 1e-6);
        assert_close(&first.combined, &[0.110_821, 0.027_992], 1e-6);
        for expected in [[0.149_784, 0.037_932], [0.170_287, 0.043_192]] {
            assert_close(&driver.step(&example.losses, &example.gradients).combined, &expected, 1e-6);
        }
    }
}
