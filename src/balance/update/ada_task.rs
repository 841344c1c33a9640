//! AdaTask: an adaptive learning rate for every task.

use serde::{Deserialize, Serialize};

use crate::balance::{Build, Method, hyper};
use crate::registry::Describe;

/// Every task has an Adam of its own for the shared parameters, `θ ← θ − lr Σ_k Adam(m_k, v_k)`, so that no task's
/// gradients are divided by the size of another's. Memory: two moments a task and shared parameter. The optimizer's weight
/// decay is decoupled, once a step: each task's L2 gradient in its own moments would decay K times.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaTask {
    /// Weight of each task's loss; default 1. Adam all but hides it from the shared parameters.
    pub task_weights: Vec<f64>,
}

impl Describe for AdaTask {
    const SUMMARY: &'static str = "an Adam of its own for every task, whose updates are summed";
    const SOURCE: &'static str = "Yang et al., AAAI 2023";
}

impl Build for AdaTask {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        Ok(Method::TaskAdam(hyper::weight_per_task("task_weights", &self.task_weights, tasks, 1.0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::driver::Driver;
    use crate::balance::examples::{SEQUENCE, assert_close, rates};

    #[test]
    fn the_standard_sequence() {
        let method = AdaTask::default().build(2).unwrap();
        let mut driver = Driver::new(method, rates(0.1), vec![1.0, 1.0], 1);
        for (gradients, theta) in SEQUENCE.iter().zip([[0.8, 1.0], [0.673_366, 1.0], [0.521_237, 0.995_441]]) {
            driver.step(0, &[1.0, 1.0], &[gradients.map(|g| g.to_vec()).to_vec()]);
            assert_close(driver.theta(), &theta, 1e-6);
        }
    }

    #[test]
    fn one_task_is_adam() {
        let mut own = Driver::new(AdaTask::default().build(1).unwrap(), rates(0.1), vec![1.0, -2.0], 1);
        let adam = crate::balance::Balancer::default().build(1).unwrap();
        let mut adam = Driver::new(adam, rates(0.1), vec![1.0, -2.0], 1);
        for [gradient, _] in SEQUENCE {
            own.step(0, &[1.0], &[vec![gradient.to_vec()]]);
            adam.step(0, &[1.0], &[vec![gradient.to_vec()]]);
            assert_close(own.theta(), adam.theta(), 1e-15);
        }
    }
}
