//! Dual-balancing multi-task learning.

use serde::{Deserialize, Serialize};

use crate::balance::gram::Gram;
use crate::balance::{Blend, Build, Coefficients, Memory, Method, Step, TrackBalancer, hyper};
use crate::registry::Describe;

/// Averages the gradients of the log losses, `Y_k ← (1−β_t) g_k/L_k + β_t Y_k`, and lengthens each average to the longest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DbMtl {
    /// β, the share of the past: `β_t = β/t^σ` in step t.
    pub beta: f64,
    /// σ, how fast that share falls.
    pub sigma: f64,
    /// Divide the averages by what they have taken in so far, as Adam does: the published method does not, and so starts
    /// with short steps.
    pub bias_correct: bool,
}

impl Default for DbMtl {
    fn default() -> Self {
        Self { beta: 0.9, sigma: 0.0, bias_correct: false }
    }
}

impl Describe for DbMtl {
    const SUMMARY: &'static str = "averaged gradients of the log losses, all made as long as the longest";
    const SOURCE: &'static str = "Lin et al., arXiv 2308.12029, 2023";
}

impl Build for DbMtl {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::share("beta", self.beta)?;
        hyper::not_negative("sigma", self.sigma)?;
        if self.beta == 1.0 && self.sigma == 0.0 {
            return Err("`beta` must be below 1 where `sigma` is 0: no gradient would ever come in".to_owned());
        }
        Ok(Method::Track(Box::new(self.clone())))
    }
}

impl Memory for DbMtl {}

impl DbMtl {
    fn past(&self, step: u64) -> f64 {
        self.beta / ((step + 1) as f64).powf(self.sigma)
    }

    /// The weights of all gradients in an average, which without a correction are short of 1.
    fn taken_in(&self, step: u64) -> f64 {
        1.0 - if self.sigma == 0.0 {
            self.beta.powf((step + 1) as f64)
        } else {
            // a few hundred factors are enough: the product only falls
            (0..=step.min(1000)).map(|t| self.past(t)).product()
        }
    }
}

impl TrackBalancer for DbMtl {
    fn blend(&self, step: &Step, task: usize, _: &dyn Fn() -> f64) -> Blend {
        let past = self.past(step.index);
        Blend { keep: past, take: (1.0 - past) / step.positive_losses()[task] }
    }

    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let norms = gram.norms();
        let longest = norms.iter().fold(0.0, |most: f64, n| most.max(*n));
        let correction = if self.bias_correct { 1.0 / self.taken_in(step.index).max(f64::MIN_POSITIVE) } else { 1.0 };
        let mut shared = vec![0.0; gram.tasks()];
        for k in gram.present() {
            shared[k] = correction * longest / (norms[k] + 1e-8);
        }
        let task = step.positive_losses().iter().map(|loss| 1.0 / loss).collect();
        Coefficients { shared, task, max_norm: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let mut driver = example.driver(&DbMtl::default());
        for expected in [[0.988_854, 1.6], [1.878_823, 3.04], [2.679_795, 4.336]] {
            let answer = driver.step(&example.losses, &example.gradients);
            assert_close(&answer.combined, &expected, 2e-6);
            assert_close(&answer.coefficients.shared, &[4.472_136, 1.0], 1e-6);
            assert_close(&answer.coefficients.task, &[2.0, 8.0], 1e-12);
        }
    }

    #[test]
    fn without_a_past_or_with_the_correction_the_first_step_is_whole() {
        let example = ex_a();
        for hyper in [DbMtl { beta: 0.0, ..DbMtl::default() }, DbMtl { bias_correct: true, ..DbMtl::default() }] {
            let mut driver = example.driver(&hyper);
            for _ in 0..3 {
                let answer = driver.step(&example.losses, &example.gradients);
                assert_close(&answer.combined, &[9.888_544, 16.0], 1e-5);
            }
        }
    }
}
