//! IMTL-L: losses brought to the same scale.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::adam::Adam;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// Each loss is scaled to 1 by a trained factor: `total = Σ e^(s_k) L_k − s_k`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImtlL {
    /// Learning rate of `s`, with an Adam of its own.
    pub lr: f64,
}

impl Default for ImtlL {
    fn default() -> Self {
        Self { lr: 0.01 }
    }
}

impl Describe for ImtlL {
    const SUMMARY: &'static str = "impartial learning, loss part: trained factors bring all losses to the same scale";
    const SOURCE: &'static str = "Liu et al., ICLR 2021";
}

impl Build for ImtlL {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("lr", self.lr)?;
        Ok(Method::Loss(Box::new(Scaling { lr: self.lr, scales: LossScales::new(tasks) })))
    }
}

struct Scaling {
    lr: f64,
    scales: LossScales,
}

impl Memory for Scaling {
    fn save(&self) -> Value {
        memory::save(&self.scales)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.scales.tasks();
        memory::restore(&mut self.scales, saved, |scales| scales.tasks() == tasks)
    }
}

impl LossBalancer for Scaling {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        self.scales.step(step.losses, self.lr)
    }
}

/// The trained factors `e^(s_k)`, in logarithms; IMTL uses them too.
#[derive(Serialize, Deserialize)]
pub(in crate::balance) struct LossScales {
    s: Vec<f64>,
    adam: Adam,
}

impl LossScales {
    /// The logarithms stay within this distance of 0.
    const LIMIT: f64 = 10.0;

    pub(in crate::balance) fn new(tasks: usize) -> Self {
        Self { s: vec![0.0; tasks], adam: Adam::new(tasks) }
    }

    /// How many factors there are; 0 when the parts disagree.
    pub(in crate::balance) fn tasks(&self) -> usize {
        if self.adam.numbers() == self.s.len() { self.s.len() } else { 0 }
    }

    /// The factors for this step; then trains them on its losses.
    pub(in crate::balance) fn step(&mut self, losses: &[f64], lr: f64) -> Vec<f64> {
        let factors: Vec<f64> = self.s.iter().map(|s| s.exp()).collect();
        let slope: Vec<f64> = factors.iter().zip(losses).map(|(factor, loss)| factor * loss - 1.0).collect();
        self.adam.step(&mut self.s, &slope, lr, 0.0);
        self.s.iter_mut().for_each(|s| *s = s.clamp(-Self::LIMIT, Self::LIMIT));
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let Ok(Method::Loss(mut method)) = ImtlL::default().build(2) else { panic!("a loss balancer") };
        assert_eq!(method.weights(&example.step(0)), [1.0, 1.0]);
        // ds = (−0.5, −0.875): the first Adam step moves both by +lr.
        assert_close(&method.weights(&example.step(1)), &[0.01f64.exp(); 2], 1e-8);
        let last = (2..3000).map(|index| method.weights(&example.step(index))).last().unwrap();
        assert_close(&last, &[2.0, 8.0], 2e-2);
    }
}
