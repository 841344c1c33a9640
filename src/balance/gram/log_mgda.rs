//! MGDA on the logarithms of the losses.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::min_norm_simplex;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The shortest convex combination of the gradients of `ln L_k`, scaled so that the weights of the losses sum to 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogMgda {
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Describe for LogMgda {
    const SUMMARY: &'static str = "multiple-gradient descent on the logarithms of the losses";
    const SOURCE: &'static str = "Liu et al. (FAMO), NeurIPS 2023 (baseline)";
}

impl Build for LogMgda {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Memory for LogMgda {}

impl GramBalancer for LogMgda {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let losses = step.positive_losses();
        let a = min_norm_simplex(&gram.of_log_losses(&losses));
        let of_losses: Vec<f64> = a.iter().zip(&losses).map(|(a, loss)| a / loss).collect();
        let c: f64 = of_losses.iter().sum();
        Coefficients::tasks_weighted(of_losses.iter().map(|w| w / c).collect(), gram).clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        let coefficients = ex_a().coefficients(&LogMgda::default());
        assert_close(&coefficients.shared, &[0.647_059, 0.352_941], 1e-6);
        assert_close(&ex_a().combined(&coefficients), &[0.941_176, 0.705_882], 1e-6);
        assert_eq!(coefficients.task, coefficients.shared);
        // The reference finds the weights by an iteration that stops a little early.
        let coefficients = ex_b().coefficients(&LogMgda::default());
        assert_close(&coefficients.shared, &[0.285_718, 0.523_812, 0.190_470], 1e-5);
        assert_close(&ex_b().combined(&coefficients), &[0.047_624, 0.333_342, 0.476_188], 2e-5);
    }
}
