//! Single-task learning inside a multi-task model.

use serde::{Deserialize, Serialize};

use crate::balance::{Build, LossBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// Only the main task's loss counts; the other tasks' parameters receive zero gradients.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stl {
    /// The task that is trained, from 0.
    pub main_task: usize,
}

impl Describe for Stl {
    const SUMMARY: &'static str = "single-task learning: only the main task's loss counts";
    const SOURCE: &'static str = "";
}

impl Build for Stl {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        if self.main_task >= tasks {
            return Err(format!(
                "`main_task` is {}, expected at most {} (of {tasks} tasks)",
                self.main_task,
                tasks - 1
            ));
        }
        Ok(Method::Loss(Box::new(self.clone())))
    }
}

impl Memory for Stl {}

impl LossBalancer for Stl {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        (0..step.losses.len()).map(|k| f64::from(u8::from(k == self.main_task))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::ex_a;

    #[test]
    fn the_standard_example() {
        let weights = ex_a().weights(&Stl { main_task: 0 });
        assert_eq!(weights, [1.0, 0.0]);
        assert_eq!(ex_a().combine(&weights), [2.0, 0.0]);
        assert!(Stl { main_task: 2 }.build(2).is_err());
    }
}
