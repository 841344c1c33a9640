//! IMTL: impartial in the losses and in the gradients.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Gram;
use super::imtl_g::equal_projections;
use crate::balance::loss::LossScales;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// Losses are scaled to 1 by trained factors as in [`ImtlL`](crate::balance::loss::ImtlL), the gradients of the scaled
/// losses combined as in [`ImtlG`](super::ImtlG); task parameters follow their scaled loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imtl {
    /// Learning rate of the factors' logarithms, with an Adam of their own.
    pub lr: f64,
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Default for Imtl {
    fn default() -> Self {
        Self { lr: 0.01, max_norm: None }
    }
}

impl Describe for Imtl {
    const SUMMARY: &'static str = "impartial learning: losses on one scale, equal projections on their gradients";
    const SOURCE: &'static str = "Liu et al., ICLR 2021";
}

impl Build for Imtl {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("lr", self.lr)?;
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(Impartial { hyper: self.clone(), scales: LossScales::new(tasks) })))
    }
}

struct Impartial {
    hyper: Imtl,
    scales: LossScales,
}

impl Memory for Impartial {
    fn save(&self) -> Value {
        memory::save(&self.scales)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.scales.tasks();
        memory::restore(&mut self.scales, saved, |scales| scales.tasks() == tasks)
    }
}

impl GramBalancer for Impartial {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let factors = self.scales.step(step.losses, self.hyper.lr);
        let a = equal_projections(&gram.scaled(&factors));
        let shared = a.iter().zip(&factors).map(|(a, factor)| a * factor).collect();
        Coefficients { shared, task: factors, max_norm: self.hyper.max_norm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let Ok(Method::Gram(mut method)) = Imtl::default().build(2) else { panic!("a Gram balancer") };
        let coefficients = method.coefficients(&example.step(0), &example.gram);
        assert_close(&coefficients.shared, &[0.527_864, 0.472_136], 1e-6);
        assert_close(&example.combined(&coefficients), &[0.583_592, 0.944_272], 1e-6);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        // ds = (−0.5, −0.875): the first Adam step moves both by +lr.
        let next = method.coefficients(&example.step(1), &example.gram);
        assert_close(&next.task, &[0.01f64.exp(); 2], 1e-8);
    }
}
