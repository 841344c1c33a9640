//! The sum of the logarithms of the losses.

use serde::{Deserialize, Serialize};

use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// `total = Σ t_k ln L_k`: multiplying a loss by a constant changes nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleInvariantLs {
    /// `t`, one weight a task; empty for 1 each.
    pub task_weights: Vec<f64>,
}

impl Describe for ScaleInvariantLs {
    const SUMMARY: &'static str = "the sum of the logarithms of the losses";
    const SOURCE: &'static str = "Navon et al., ICML 2022 (baseline)";
}

impl Build for ScaleInvariantLs {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let weights = hyper::weight_per_task("task_weights", &self.task_weights, tasks, 1.0)?;
        Ok(Method::Loss(Box::new(Logarithms(weights))))
    }
}

struct Logarithms(Vec<f64>);

impl Memory for Logarithms {}

impl LossBalancer for Logarithms {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        self.0.iter().zip(step.positive_losses()).map(|(t, loss)| t / loss).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        let weights = ex_a().weights(&ScaleInvariantLs::default());
        assert_eq!(weights, [2.0, 8.0]);
        assert_eq!(ex_a().combine(&weights), [-4.0, 16.0]);
        assert_eq!(ex_b().combine(&ex_b().weights(&ScaleInvariantLs::default())), [0.0, -4.0, 10.0]);
    }
}
