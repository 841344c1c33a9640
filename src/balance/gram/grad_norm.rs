//! GradNorm.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Gram;
use crate::balance::adam::Adam;
use crate::balance::softmax::softmax;
use crate::balance::span::{MeanLosses, Moment};
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Span, Step, hyper, memory};
use crate::registry::Describe;

/// Weights are trained so that the norms of the weighted task gradients follow the tasks' relative training rates: a task
/// whose loss has fallen less since the start gets a longer gradient. `w = K softmax(u)`; equal weights while the initial
/// losses are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradNorm {
    /// How strongly the norms follow the training rates; 0 makes them equal.
    pub alpha: f64,
    /// Learning rate of the weights' logits `u`, with an Adam of their own.
    pub lr: f64,
    /// Over what the initial losses are averaged.
    pub init: Span,
}

impl Default for GradNorm {
    fn default() -> Self {
        Self { alpha: 1.5, lr: 0.025, init: Span::Epochs(1) }
    }
}

impl Describe for GradNorm {
    const SUMMARY: &'static str = "trained weights: gradient norms follow the tasks' relative training rates";
    const SOURCE: &'static str = "Chen, Badrinarayanan, Lee & Rabinovich, ICML 2018";
}

impl Build for GradNorm {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("alpha", self.alpha)?;
        hyper::not_negative("lr", self.lr)?;
        self.init.check_not_empty("init")?;
        let state = State { initial: MeanLosses::new(tasks), u: vec![1.0; tasks], adam: Adam::new(tasks) };
        Ok(Method::Gram(Box::new(Normalising { hyper: self.clone(), state })))
    }
}

struct Normalising {
    hyper: GradNorm,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// `L(0)`.
    initial: MeanLosses,
    /// Logits of the weights.
    u: Vec<f64>,
    adam: Adam,
}

impl Memory for Normalising {
    fn save(&self) -> Value {
        memory::save(&self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.state.u.len();
        memory::restore(&mut self.state, saved, |state| {
            state.u.len() == tasks && state.adam.numbers() == tasks && state.initial.tasks() == tasks
        })
    }
}

/// The derivatives by `u` of `Σ |N_k − T_k|`, the distance of the weighted norms `N_k = v_k n_k` from their targets
/// `T_k = N̄ r_k^α`, which count as constants.
fn slope(v: &[f64], norms: &[f64], fall: &[f64], alpha: f64) -> Vec<f64> {
    let tasks = v.len() as f64;
    let weighted: Vec<f64> = v.iter().zip(norms).map(|(v, n)| v * n).collect();
    let mean_norm = weighted.iter().sum::<f64>() / tasks;
    let mean_fall = fall.iter().sum::<f64>() / tasks;
    let by_v: Vec<f64> = (0..v.len())
        .map(|k| {
            let above = weighted[k] - mean_norm * (fall[k] / mean_fall).powf(alpha);
            if above == 0.0 { 0.0 } else { above.signum() * norms[k] }
        })
        .collect();
    let mean: f64 = v.iter().zip(&by_v).map(|(v, d)| v * d).sum::<f64>() / tasks;
    v.iter().zip(&by_v).map(|(v, d)| v * (d - mean)).collect()
}

impl GramBalancer for Normalising {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let State { initial, u, adam } = &mut self.state;
        let v: Vec<f64> = softmax(u).iter().map(|share| gram.tasks() as f64 * share).collect();
        match initial.mean() {
            Some(initial) if self.hyper.init.is_over(Moment::START, step) => {
                let fall: Vec<f64> =
                    step.positive_losses().iter().zip(&initial).map(|(now, then)| now / then).collect();
                adam.step(u, &slope(&v, &gram.norms(), &fall, self.hyper.alpha), self.hyper.lr, 0.0);
            }
            _ => initial.add(step.losses),
        }
        Coefficients::tasks_alone(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        // L(0) = (1, 0.5), so the losses have fallen to a half and a quarter.
        assert_close(&slope(&[1.0, 1.0], &example.gram.norms(), &[0.5, 0.25], 1.5), &[-2.118_034, 2.118_034], 1e-6);

        let hyper = GradNorm { init: Span::Steps(1), ..GradNorm::default() };
        let Ok(Method::Gram(mut method)) = hyper.build(2) else { panic!("a Gram balancer") };
        let start = Step { index: 0, epoch: 0, seed: 0, losses: &[1.0, 0.5] };
        assert_eq!(method.coefficients(&start, &example.gram).shared, [1.0, 1.0]);
        let coefficients = method.coefficients(&example.step(1), &example.gram);
        assert_eq!(coefficients, Coefficients::tasks_alone(vec![1.0, 1.0]));
        assert_eq!(example.combined(&coefficients), [1.0, 2.0]);
        // du = (−2.118, 2.118): the first Adam step moves u by (lr, −lr).
        let share = 1.0 / (1.0 + (-0.05f64).exp());
        let next = method.coefficients(&example.step(2), &example.gram).shared;
        assert_close(&next, &[2.0 * share, 2.0 * (1.0 - share)], 1e-8);
    }
}
