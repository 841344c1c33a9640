//! Linear scalarisation.

use serde::{Deserialize, Serialize};

use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The plain sum of the losses: `total = Σ t_k L_k`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ls {
    /// `t`, one weight a task; empty for 1 each.
    pub task_weights: Vec<f64>,
}

impl Describe for Ls {
    const SUMMARY: &'static str = "linear scalarisation: the weighted sum of the losses";
    const SOURCE: &'static str = "";
}

impl Build for Ls {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let weights = hyper::weight_per_task("task_weights", &self.task_weights, tasks, 1.0)?;
        Ok(Method::Loss(Box::new(Fixed(weights))))
    }
}

struct Fixed(Vec<f64>);

impl Memory for Fixed {}

impl LossBalancer for Fixed {
    fn weights(&mut self, _: &Step) -> Vec<f64> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        assert_eq!(ex_a().combine(&ex_a().weights(&Ls::default())), [1.0, 2.0]);
        assert_eq!(ex_b().combine(&ex_b().weights(&Ls::default())), [1.0, 0.0, 2.0]);
        assert_eq!(ex_a().weights(&Ls { task_weights: vec![0.25, 3.0] }), [0.25, 3.0]);
    }
}
