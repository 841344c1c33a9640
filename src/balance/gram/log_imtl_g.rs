//! IMTL-G on the logarithms of the losses.

use serde::{Deserialize, Serialize};

use super::Gram;
use super::imtl_g::equal_projections;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// [`ImtlG`](super::ImtlG) on the gradients of `ln L_k`: `total = Σ a_k ln L_k`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogImtlG {
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Describe for LogImtlG {
    const SUMMARY: &'static str = "equal projections on the gradients of the logarithms of the losses";
    const SOURCE: &'static str = "Liu et al. (FAMO), NeurIPS 2023 (baseline)";
}

impl Build for LogImtlG {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Memory for LogImtlG {}

impl GramBalancer for LogImtlG {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let losses = step.positive_losses();
        let a = equal_projections(&gram.of_log_losses(&losses));
        let w = a.iter().zip(&losses).map(|(a, loss)| a / loss).collect();
        Coefficients::tasks_weighted(w, gram).clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        let coefficients = ex_a().coefficients(&LogImtlG::default());
        assert_close(&coefficients.shared, &[1.634_512, 1.461_952], 1e-6);
        assert_close(&ex_a().combined(&coefficients), &[1.807_072, 2.923_904], 1e-6);
        assert_eq!(coefficients.task, coefficients.shared);
        let coefficients = ex_b().coefficients(&LogImtlG::default());
        assert_close(&ex_b().combined(&coefficients), &[-0.136_845, 0.843_274, 1.823_393], 1e-5);
    }
}
