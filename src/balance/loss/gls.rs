//! The geometric mean of the losses.

use serde::{Deserialize, Serialize};

use crate::balance::{Build, LossBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// `total = (Π L_k)^(1/K)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gls {}

impl Describe for Gls {
    const SUMMARY: &'static str = "the geometric mean of the losses";
    const SOURCE: &'static str = "Chennupati et al., CVPR Workshops 2019";
}

impl Build for Gls {
    fn build(&self, _: usize) -> Result<Method, String> {
        Ok(Method::Loss(Box::new(self.clone())))
    }
}

impl Memory for Gls {}

impl LossBalancer for Gls {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let losses = step.positive_losses();
        let tasks = losses.len() as f64;
        // Through logarithms: a product of many small losses underflows.
        let mean = (losses.iter().map(|loss| loss.ln()).sum::<f64>() / tasks).exp();
        losses.iter().map(|loss| mean / (tasks * loss)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, assert_derivatives, ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        let weights = ex_a().weights(&Gls {});
        assert_close(&weights, &[0.25, 1.0], 1e-12);
        assert_close(&ex_a().combine(&weights), &[-0.5, 2.0], 1e-12);
        assert_close(&ex_b().weights(&Gls {}), &[0.166_667, 0.333_333, 0.666_667], 1e-6);
    }

    #[test]
    fn weights_are_the_derivatives_of_the_mean() {
        let losses = ex_b().losses;
        let weights = ex_b().weights(&Gls {});
        let total = |losses: &[f64]| losses.iter().product::<f64>().cbrt();
        assert_derivatives(total, &losses, &weights);
        // The mean is homogeneous of degree 1.
        let sum: f64 = weights.iter().zip(&losses).map(|(w, loss)| w * loss).sum();
        assert!((sum - total(&losses)).abs() < 1e-12);
    }
}
