//! Fair resource allocation between tasks.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::fair_point;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The α-fair direction, `G w = w^(−1/α)`: α = 0 is the mean gradient, 1 the Nash bargaining solution, ∞ max–min fair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FairGrad {
    /// α, how much fairness counts against the sum of the gains.
    pub alpha: f64,
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Default for FairGrad {
    fn default() -> Self {
        Self { alpha: 1.0, max_norm: None }
    }
}

impl Describe for FairGrad {
    const SUMMARY: &'static str = "the α-fair allocation of the step between the tasks";
    const SOURCE: &'static str = "Ban & Ji, ICML 2024";
}

impl Build for FairGrad {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::not_negative("alpha", self.alpha)?;
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Memory for FairGrad {}

impl GramBalancer for FairGrad {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        let w = if self.alpha == 0.0 {
            vec![1.0 / gram.tasks() as f64; gram.tasks()]
        } else {
            fair_point(gram, self.alpha)
        };
        Coefficients::tasks_weighted(w, gram).clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_t};

    #[test]
    fn the_standard_examples() {
        let fair = |alpha| FairGrad { alpha, max_norm: None };
        let coefficients = ex_a().coefficients(&fair(2.0));
        assert_close(&coefficients.shared, &[0.583_622, 0.512_752], 1e-6);
        assert_eq!(coefficients.task, coefficients.shared);
        assert_eq!(ex_a().coefficients(&fair(0.0)).shared, [0.5, 0.5]);
        assert_close(&ex_t().combined(&ex_t().coefficients(&fair(1.0))), &[0.0766, 0.9985, 0.9985], 1e-4);
        // ‖d‖² = Σ w^(1 − 1/α).
        let w = ex_a().coefficients(&fair(5.0)).shared;
        let expected: f64 = w.iter().map(|w| w.powf(0.8)).sum();
        assert!((ex_a().gram.quadratic(&w) - expected).abs() < 1e-8);
    }
}
