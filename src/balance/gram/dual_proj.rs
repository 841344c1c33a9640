//! Projection onto the dual cone.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::dual_cone;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The mean gradient, projected onto the cone of directions that conflict with no task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DualProj {
    /// Weights of the mean; empty for 1/K each.
    pub preference: Vec<f64>,
}

impl Describe for DualProj {
    const SUMMARY: &'static str = "the mean gradient projected onto the cone without conflict";
    const SOURCE: &'static str = "Lopez-Paz & Ranzato (GEM), NeurIPS 2017";
}

impl Build for DualProj {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let preference = hyper::weight_per_task("preference", &self.preference, tasks, 1.0 / tasks as f64)?;
        Ok(Method::Gram(Box::new(Projection(preference))))
    }
}

struct Projection(Vec<f64>);

impl Memory for Projection {}

impl GramBalancer for Projection {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        Coefficients::tasks_alone(dual_cone(gram, &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        assert_close(&ex_a().coefficients(&DualProj::default()).shared, &[0.5, 0.5], 1e-12);
        assert_close(&ex_b().coefficients(&DualProj::default()).shared, &[0.333_333, 0.5, 0.333_333], 1e-6);
        let coefficients = ex_t().coefficients(&DualProj::default());
        assert_close(&coefficients.shared, &[0.611_111, 0.5], 1e-6);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        // TorchJD regularises the matrix by 1e-4, which moves the result by a little.
        assert_close(&ex_t().combined(&coefficients), &[0.5563, 1.1109, 1.1109], 1e-3);
    }
}
