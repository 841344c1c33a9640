//! Fast adaptive multitask optimisation.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::adam::Adam;
use crate::balance::softmax::softmax;
use crate::balance::{Build, LOSS_FLOOR, LossBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// Lets all losses fall at the same *rate*: `total = Σ (z_k/c) ln(L_k − b_k)` with `z = softmax(ξ)`, and ξ trained to put
/// weight on the tasks whose loss, measured again on the same batch after the step, fell least.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Famo {
    /// Weight decay of the logits ξ (the paper's γ): pulls the weights towards even ones.
    pub gamma: f64,
    /// Learning rate of the logits, with an Adam of their own.
    pub lr: f64,
    /// `b`, what each loss can at best reach; empty for 0 each.
    pub lower_bounds: Vec<f64>,
}

impl Default for Famo {
    fn default() -> Self {
        Self { gamma: 1e-3, lr: 0.025, lower_bounds: Vec::new() }
    }
}

impl Describe for Famo {
    const SUMMARY: &'static str = "fast adaptive multitask optimisation: all losses fall at the same rate";
    const SOURCE: &'static str = "Liu, Feng, Stone & Liu, NeurIPS 2023";
}

impl Build for Famo {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("gamma", self.gamma)?;
        hyper::not_negative("lr", self.lr)?;
        let bounds = hyper::per_task("lower_bounds", &self.lower_bounds, tasks, 0.0)?;
        let state = State { xi: vec![0.0; tasks], adam: Adam::new(tasks), before: None };
        Ok(Method::Loss(Box::new(Adaptive { gamma: self.gamma, lr: self.lr, bounds, state })))
    }
}

struct Adaptive {
    gamma: f64,
    lr: f64,
    bounds: Vec<f64>,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// The logits ξ of the task weights.
    xi: Vec<f64>,
    adam: Adam,
    /// The distances `D_k` of the step under way, until the losses after it are known.
    before: Option<Vec<f64>>,
}

impl Adaptive {
    /// `D_k = L_k − b_k`.
    fn distances(&self, losses: &[f64]) -> Vec<f64> {
        losses.iter().zip(&self.bounds).map(|(loss, bound)| (loss - bound).max(0.0) + LOSS_FLOOR).collect()
    }
}

impl Memory for Adaptive {
    fn save(&self) -> Value {
        memory::save(&self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.bounds.len();
        memory::restore(&mut self.state, saved, |state| {
            let before = state.before.as_ref().is_none_or(|before| before.len() == tasks);
            before && state.xi.len() == tasks && state.adam.numbers() == tasks
        })
    }
}

impl LossBalancer for Adaptive {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let distances = self.distances(step.losses);
        let shares: Vec<f64> = softmax(&self.state.xi).iter().zip(&distances).map(|(z, d)| z / d).collect();
        let c: f64 = shares.iter().sum();
        self.state.before = Some(distances);
        shares.iter().map(|share| share / c).collect()
    }

    fn wants_losses_after_step(&self) -> bool {
        true
    }

    fn after_step(&mut self, losses: &[f64]) {
        let Some(before) = self.state.before.take() else { return };
        let after = self.distances(losses);
        let fall: Vec<f64> = before.iter().zip(&after).map(|(before, after)| before.ln() - after.ln()).collect();
        let z = softmax(&self.state.xi);
        let mean: f64 = z.iter().zip(&fall).map(|(z, fall)| z * fall).sum();
        let slope: Vec<f64> = z.iter().zip(&fall).map(|(z, fall)| z * (fall - mean)).collect();
        self.state.adam.step(&mut self.state.xi, &slope, self.lr, self.gamma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let hyper = Famo { gamma: 1e-5, ..Famo::default() };
        let Ok(Method::Loss(mut method)) = hyper.build(2) else { panic!("a loss balancer") };
        let weights = method.weights(&example.step(0));
        assert_close(&weights, &[0.2, 0.8], 1e-7);
        assert_close(&example.combine(&weights), &[-0.4, 1.6], 1e-6);

        method.after_step(&[0.4, 0.12]);
        let xi =
            |method: &dyn LossBalancer| -> Vec<f64> { serde_json::from_value(method.save()["xi"].clone()).unwrap() };
        assert_close(&xi(&*method), &[-0.025, 0.025], 1e-6);
        assert_close(&softmax(&xi(&*method)), &[0.487_503, 0.512_497], 1e-6);

        let losses = [0.4, 0.12];
        let weights = method.weights(&Step { index: 1, epoch: 0, seed: 1, losses: &losses });
        let z = softmax(&xi(&*method));
        let c = z[0] / losses[0] + z[1] / losses[1];
        assert_close(&weights, &[z[0] / (c * losses[0]), z[1] / (c * losses[1])], 1e-7);
        let total = (z[0] * losses[0].ln() + z[1] * losses[1].ln()) / c;
        assert!((total + 0.279_316).abs() < 1e-6, "{total}");

        method.after_step(&[0.38, 0.1]);
        assert_close(&xi(&*method), &[-0.027_748, 0.027_748], 1e-6);
    }

    #[test]
    fn weights_sum_to_one_even_at_the_lower_bound() {
        let hyper = Famo { lower_bounds: vec![0.6, 0.0], ..Famo::default() };
        let weights = ex_a().weights(&hyper);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12 && weights.iter().all(|w| *w >= 0.0));
    }
}
