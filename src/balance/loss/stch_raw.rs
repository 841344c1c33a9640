//! Smooth Tchebycheff scalarisation, as the paper defines it.

use serde::{Deserialize, Serialize};

use crate::balance::softmax::softmax;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// A smooth maximum of the weighted losses: `total = μ ln Σ exp(λ_k (L_k − z_k)/μ)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StchRaw {
    /// μ, how smooth the maximum is, in units of the losses (the paper tries 0.01 to 1).
    pub mu: f64,
    /// λ, the preference between the tasks; empty for 1/K each.
    pub preference: Vec<f64>,
    /// `z`, the ideal losses; empty for 0 each.
    pub ideal: Vec<f64>,
}

impl Default for StchRaw {
    fn default() -> Self {
        Self { mu: 0.1, preference: Vec::new(), ideal: Vec::new() }
    }
}

impl Describe for StchRaw {
    const SUMMARY: &'static str = "smooth Tchebycheff: a smooth maximum of the weighted losses";
    const SOURCE: &'static str = "Lin et al., ICML 2024";
}

impl Build for StchRaw {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::positive("mu", self.mu)?;
        let preference = hyper::weight_per_task("preference", &self.preference, tasks, 1.0 / tasks as f64)?;
        let ideal = hyper::per_task("ideal", &self.ideal, tasks, 0.0)?;
        Ok(Method::Loss(Box::new(SmoothMaximum { mu: self.mu, preference, ideal })))
    }
}

struct SmoothMaximum {
    mu: f64,
    preference: Vec<f64>,
    ideal: Vec<f64>,
}

impl Memory for SmoothMaximum {}

impl LossBalancer for SmoothMaximum {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let above_ideal = step.losses.iter().zip(&self.ideal).map(|(loss, ideal)| loss - ideal);
        let weighted: Vec<f64> = above_ideal.zip(&self.preference).map(|(d, lambda)| lambda * d / self.mu).collect();
        softmax(&weighted).iter().zip(&self.preference).map(|(p, lambda)| lambda * p).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, assert_derivatives, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        for (mu, expected_total, expected) in
            [(0.1, 0.264_268, [0.433_518, 0.066_482]), (1.0, 0.853_785, [0.273_369, 0.226_631])]
        {
            let weights = example.weights(&StchRaw { mu, ..StchRaw::default() });
            assert_close(&weights, &expected, 1e-6);
            let total = |losses: &[f64]| mu * losses.iter().map(|loss| (0.5 * loss / mu).exp()).sum::<f64>().ln();
            assert!((total(&example.losses) - expected_total).abs() < 1e-6);
            assert_derivatives(total, &example.losses, &weights);
        }
    }
}
