//! Uncertainty weighting.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::adam::Adam;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// The log-variances stay within this distance of 0.
const LIMIT: f64 = 10.0;

/// Each task has a trained log-variance `s_k = ln σ_k²`: `total = Σ ½ e^(−s_k) L_k + ½ s_k`, at rest at `s_k = ln L_k`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uw {
    /// Where the log-variances start (LibMTL: −0.5).
    pub init: f64,
    /// Their learning rate, with an Adam of their own and without weight decay.
    pub lr: f64,
    /// The paper's form for classification losses, `e^(−s_k) L_k + ½ s_k`; all published code uses the regression form.
    pub classification_form: bool,
}

impl Default for Uw {
    fn default() -> Self {
        Self { init: 0.0, lr: 0.01, classification_form: false }
    }
}

impl Describe for Uw {
    const SUMMARY: &'static str = "uncertainty weighting: one trained log-variance a task";
    const SOURCE: &'static str = "Kendall, Gal & Cipolla, CVPR 2018";
}

impl Build for Uw {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::finite("init", self.init)?;
        hyper::not_negative("lr", self.lr)?;
        let state = State { s: vec![self.init.clamp(-LIMIT, LIMIT); tasks], adam: Adam::new(tasks) };
        Ok(Method::Loss(Box::new(Uncertainty { hyper: self.clone(), state })))
    }
}

struct Uncertainty {
    hyper: Uw,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    s: Vec<f64>,
    adam: Adam,
}

impl Memory for Uncertainty {
    fn save(&self) -> Value {
        memory::save(&self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.state.s.len();
        memory::restore(&mut self.state, saved, |state| state.s.len() == tasks && state.adam.numbers() == tasks)
    }
}

impl LossBalancer for Uncertainty {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let factor = if self.hyper.classification_form { 1.0 } else { 0.5 };
        let weights: Vec<f64> = self.state.s.iter().map(|s| factor * (-s).exp()).collect();
        let slope: Vec<f64> = weights.iter().zip(step.losses).map(|(w, loss)| 0.5 - w * loss).collect();
        let State { s, adam } = &mut self.state;
        adam.step(s, &slope, self.hyper.lr, 0.0);
        s.iter_mut().for_each(|s| *s = s.clamp(-LIMIT, LIMIT));
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    fn method(hyper: &Uw) -> Box<dyn LossBalancer> {
        let Ok(Method::Loss(method)) = hyper.build(2) else { panic!("a loss balancer") };
        method
    }

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let mut method = method(&Uw::default());
        let weights = method.weights(&example.step(0));
        assert_eq!(weights, [0.5, 0.5]);
        assert_eq!(example.combine(&weights), [0.5, 1.0]);
        // ds = (0.25, 0.4375): the first Adam step moves both by −lr.
        assert_close(&method.weights(&example.step(1)), &[0.5 * 0.01f64.exp(); 2], 1e-8);

        let weights = example.weights(&Uw { init: -0.5, ..Uw::default() });
        assert_close(&weights, &[0.824_361; 2], 1e-6);
        assert_close(&example.combine(&weights), &[0.824_361, 1.648_721], 1e-6);
        assert_eq!(example.weights(&Uw { classification_form: true, ..Uw::default() }), [1.0, 1.0]);
    }

    #[test]
    fn rests_where_the_variance_is_the_loss() {
        let example = ex_a();
        let mut method = method(&Uw::default());
        let last = (0..3000).map(|index| method.weights(&example.step(index))).last().unwrap();
        assert_close(&last, &[0.5 / 0.5, 0.5 / 0.125], 1e-2);
    }
}
