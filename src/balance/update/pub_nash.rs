//! Parameter update balancing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::gram::{Gram, NashScale, bargain};
use crate::balance::{Build, Memory, Method, Step, UpdateBalancer, memory};
use crate::registry::Describe;

/// Bargains over the updates that Adam would make of each task's gradient alone, `D_k`, where Nash-MTL bargains over the
/// gradients: `Q a = 1/a` for `Q_ij = D_i·D_j`, and `θ ← θ − lr Σ a_k D_k`. The tasks share Adam's moments, which take in
/// `Σ a_k g_k`. Weight decay is decoupled, once a step.
///
/// The equation's own solution (`scale: Raw`) makes the update √K long whatever the number of parameters, which all but stops
/// a network; the default `Frobenius` keeps it as long as the sum of the updates would be, or nearly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pub {
    /// The length of `a`.
    pub scale: NashScale,
    /// Bargain again every so many steps, from the second on; until then all weights are 1.
    pub update_weights_every: u64,
}

impl Default for Pub {
    fn default() -> Self {
        Self { scale: NashScale::Frobenius, update_weights_every: 10 }
    }
}

impl Describe for Pub {
    const SUMMARY: &'static str = "the Nash bargaining solution between the tasks' Adam updates";
    const SOURCE: &'static str = "Yuan, Cai & Dong, arXiv 2410.05806, 2024";
}

impl Build for Pub {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        if self.update_weights_every == 0 {
            return Err("`update_weights_every` must be at least 1, found 0".to_owned());
        }
        Ok(Method::Update(Box::new(Bargaining { hyper: self.clone(), last: vec![1.0; tasks] })))
    }
}

struct Bargaining {
    hyper: Pub,
    last: Vec<f64>,
}

impl Memory for Bargaining {
    fn save(&self) -> Value {
        memory::save(&self.last)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.last.len();
        memory::restore(&mut self.last, saved, |last| last.len() == tasks)
    }
}

impl UpdateBalancer for Bargaining {
    fn without_gram(&mut self, step: &Step) -> Option<Vec<f64>> {
        let every = self.hyper.update_weights_every;
        (step.index % every != 1 % every).then(|| self.last.clone())
    }

    fn weights(&mut self, _: &Step, gram: &Gram) -> Vec<f64> {
        self.last = bargain(gram, self.hyper.scale);
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::driver::Driver;
    use crate::balance::examples::{SEQUENCE, assert_close, rates};

    /// Fixed weights, to check the step apart from the bargaining.
    struct Fixed(Vec<f64>);

    impl Memory for Fixed {}

    impl UpdateBalancer for Fixed {
        fn weights(&mut self, _: &Step, _: &Gram) -> Vec<f64> {
            self.0.clone()
        }
    }

    #[test]
    fn the_first_updates_are_signs() {
        let [step, ..] = SEQUENCE;
        let batch = [step.map(|g| g.to_vec()).to_vec()];
        for (scale, expected) in [(NashScale::Paper, 0.5f64.sqrt()), (NashScale::Frobenius, 2f64.powf(0.25))] {
            let hyper = Pub { scale, update_weights_every: 1 };
            let mut driver = Driver::new(hyper.build(2).unwrap(), rates(0.1), vec![1.0, 1.0], 1);
            let answer = driver.step(0, &[1.0, 1.0], &batch);
            assert_close(&answer.coefficients.shared, &[expected; 2], 1e-6);
        }
    }

    #[test]
    fn the_standard_sequences_at_fixed_weights() {
        for (weights, expected) in [
            ([1.0, 1.0], [[0.8, 1.0], [0.672_872, 0.887_269], [0.532_727, 0.726_635]]),
            ([0.5, 1.5], [[0.8, 1.1], [0.691_602, 1.198_966], [0.579_562, 1.319_404]]),
        ] {
            let method = Method::Update(Box::new(Fixed(weights.to_vec())));
            let mut driver = Driver::new(method, rates(0.1), vec![1.0, 1.0], 1);
            for (gradients, theta) in SEQUENCE.iter().zip(expected) {
                driver.step(0, &[1.0, 1.0], &[gradients.map(|g| g.to_vec()).to_vec()]);
                assert_close(driver.theta(), &theta, 1e-6);
            }
        }
    }

    #[test]
    fn bargains_from_the_second_step_on_as_often_as_asked() {
        let Ok(Method::Update(mut method)) = (Pub { update_weights_every: 3, ..Pub::default() }).build(2) else {
            panic!("an update balancer")
        };
        let stale = |method: &mut dyn UpdateBalancer, index| {
            method.without_gram(&Step { index, epoch: 0, seed: 1, losses: &[1.0, 1.0] })
        };
        assert_eq!(stale(method.as_mut(), 0), Some(vec![1.0, 1.0]));
        for index in 1..12 {
            assert_eq!(stale(method.as_mut(), index).is_none(), index % 3 == 1);
        }
    }

    #[test]
    fn one_task_keeps_adams_direction() {
        let hyper = Pub { scale: NashScale::Paper, update_weights_every: 1 };
        let mut driver = Driver::new(hyper.build(1).unwrap(), rates(0.1), vec![1.0, 1.0], 1);
        let answer = driver.step(0, &[1.0], &[vec![vec![3.0, -4.0]]]);
        // a = 1/|D| and |D| = √2 for two signs
        assert_close(&answer.coefficients.shared, &[0.5f64.sqrt()], 1e-6);
        assert_close(&answer.combined, &[0.5f64.sqrt(), -(0.5f64.sqrt())], 1e-6);
    }
}
