//! Dynamic weight average.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::softmax::softmax;
use crate::balance::span::MeanLosses;
use crate::balance::{Build, LossBalancer, Memory, Method, Span, Step, hyper, memory};
use crate::registry::Describe;

/// Tasks whose loss fell least between the last two windows get more weight:
/// `w = K softmax(r/T)` with `r_k` the mean loss of the last window over that of the one before. Until two windows are
/// full, `w = 1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dwa {
    /// `T`: the larger, the more even the weights.
    pub temperature: f64,
    /// Over what the losses are averaged; the paper's is an epoch.
    pub window: Span,
}

impl Default for Dwa {
    fn default() -> Self {
        Self { temperature: 2.0, window: Span::Epochs(1) }
    }
}

impl Describe for Dwa {
    const SUMMARY: &'static str = "dynamic weight average: more weight where the loss fell least over the last epochs";
    const SOURCE: &'static str = "Liu, Johns & Davison, CVPR 2019";
}

impl Build for Dwa {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::positive("temperature", self.temperature)?;
        self.window.check_not_empty("window")?;
        let state = State { window: 0, now: MeanLosses::new(tasks), last: None, before_last: None };
        Ok(Method::Loss(Box::new(Averages { hyper: self.clone(), state })))
    }
}

struct Averages {
    hyper: Dwa,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    /// The number of the window that `now` averages.
    window: u64,
    now: MeanLosses,
    last: Option<Vec<f64>>,
    before_last: Option<Vec<f64>>,
}

impl Memory for Averages {
    fn save(&self) -> Value {
        memory::save(&self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.state.now.tasks();
        memory::restore(&mut self.state, saved, |state| {
            let fits = |means: &Option<Vec<f64>>| means.as_ref().is_none_or(|means| means.len() == tasks);
            state.now.tasks() == tasks && fits(&state.last) && fits(&state.before_last)
        })
    }
}

impl LossBalancer for Averages {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let tasks = step.losses.len();
        let State { window, now, last, before_last } = &mut self.state;
        if *window != self.hyper.window.window(step) {
            *window = self.hyper.window.window(step);
            if let Some(mean) = now.mean() {
                *before_last = last.replace(mean);
                *now = MeanLosses::new(tasks);
            }
        }
        now.add(step.losses);
        match (last, before_last) {
            (Some(last), Some(before_last)) => {
                let ratios: Vec<f64> = last
                    .iter()
                    .zip(before_last)
                    .map(|(last, before)| last / *before / self.hyper.temperature)
                    .collect();
                softmax(&ratios).iter().map(|share| tasks as f64 * share).collect()
            }
            _ => vec![1.0; tasks],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::assert_close;

    #[test]
    fn the_epoch_form() {
        let Ok(Method::Loss(mut method)) = Dwa::default().build(2) else { panic!("a loss balancer") };
        let mut at = |index, epoch, losses: [f64; 2]| method.weights(&Step { index, epoch, seed: 0, losses: &losses });
        // Epoch means (0.5, 0.2), then (0.4, 0.1).
        assert_eq!(at(0, 0, [0.6, 0.3]), [1.0, 1.0]);
        assert_eq!(at(1, 0, [0.4, 0.1]), [1.0, 1.0]);
        assert_eq!(at(2, 1, [0.5, 0.15]), [1.0, 1.0]);
        assert_eq!(at(3, 1, [0.3, 0.05]), [1.0, 1.0]);
        assert_close(&at(4, 2, [9.0, 9.0]), &[1.074_860, 0.925_140], 1e-6);
        assert_close(&at(5, 2, [1.0, 9.0]), &[1.074_860, 0.925_140], 1e-6);
    }

    #[test]
    fn windows_of_steps() {
        let hyper = Dwa { window: Span::Steps(1), ..Dwa::default() };
        let Ok(Method::Loss(mut method)) = hyper.build(2) else { panic!("a loss balancer") };
        let mut at = |index, losses: [f64; 2]| method.weights(&Step { index, epoch: 0, seed: 0, losses: &losses });
        at(0, [0.5, 0.2]);
        at(1, [0.4, 0.1]);
        assert_close(&at(2, [1.0, 1.0]), &[1.074_860, 0.925_140], 1e-6);
    }
}
