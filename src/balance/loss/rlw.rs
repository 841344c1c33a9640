//! Random loss weighting.

use serde::{Deserialize, Serialize};

use crate::balance::softmax::softmax;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, draw};
use crate::registry::Describe;

/// Weights drawn afresh each step: the softmax of K standard normal numbers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rlw {}

impl Describe for Rlw {
    const SUMMARY: &'static str = "random loss weighting: the softmax of fresh normal numbers each step";
    const SOURCE: &'static str = "Lin, Ye, Zhang & Tsang, TMLR 2022";
}

impl Build for Rlw {
    fn build(&self, _: usize) -> Result<Method, String> {
        Ok(Method::Loss(Box::new(self.clone())))
    }
}

impl Memory for Rlw {}

impl LossBalancer for Rlw {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let mut generator = draw::generator(step);
        let z: Vec<f64> = step.losses.iter().map(|_| draw::normal(&mut generator)).collect();
        softmax(&z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::ex_a;

    #[test]
    fn weights_are_even_on_average_and_differ_by_step() {
        let example = ex_a();
        let draws: Vec<Vec<f64>> = (0..4000).map(|index| Rlw {}.weights(&example.step(index))).collect();
        assert!(draws.iter().all(|w| w.iter().all(|w| *w > 0.0) && (w[0] + w[1] - 1.0).abs() < 1e-12));
        let mean = draws.iter().map(|w| w[0]).sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_ne!(draws[0], draws[1]);
    }
}
