//! Multi-task learning as a bargaining game.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Gram, dot};
use crate::balance::solver::fair_point;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// The Nash bargaining solution: the direction whose product of the tasks' gains is largest, `G a = 1/a`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NashMtl {
    /// The length of `a`.
    pub scale: NashScale,
    /// Bargain again every so many steps and keep the weights in between, which then cost a single backward pass.
    pub update_weights_every: u64,
    /// Clips the combined gradient, whose norm would otherwise be √K at every step.
    pub max_norm: Option<f64>,
}

/// The length of Nash-MTL's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NashScale {
    /// As the equation `G a = 1/a` says.
    #[default]
    #[serde(alias = "Raw")]
    Paper,
    /// Times the root of `G`'s Frobenius norm: the solution for the normalised matrix, as the authors' code has it.
    Frobenius,
    /// Scaled to sum to K.
    SumToK,
}

impl Default for NashMtl {
    fn default() -> Self {
        Self { scale: NashScale::Paper, update_weights_every: 1, max_norm: Some(1.0) }
    }
}

impl Describe for NashMtl {
    const SUMMARY: &'static str = "the Nash bargaining solution between the tasks";
    const SOURCE: &'static str = "Navon et al., ICML 2022";
}

impl Build for NashMtl {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::max_norm(self.max_norm)?;
        if self.update_weights_every == 0 {
            return Err("`update_weights_every` must be at least 1, found 0".to_owned());
        }
        Ok(Method::Gram(Box::new(Bargaining { hyper: self.clone(), tasks, last: None })))
    }
}

struct Bargaining {
    hyper: NashMtl,
    tasks: usize,
    last: Option<Agreement>,
}

/// What the tasks last agreed on.
#[derive(Clone, Serialize, Deserialize)]
struct Agreement {
    shared: Vec<f64>,
    task: Vec<f64>,
}

impl Memory for Bargaining {
    fn save(&self) -> Value {
        memory::save(&self.last)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.tasks;
        memory::restore(&mut self.last, saved, |last| {
            last.as_ref().is_none_or(|last| last.shared.len() == tasks && last.task.len() == tasks)
        })
    }
}

impl GramBalancer for Bargaining {
    fn without_gram(&mut self, step: &Step) -> Option<Coefficients> {
        let Agreement { shared, task } = self.last.clone()?;
        let due = step.index.is_multiple_of(self.hyper.update_weights_every);
        (!due).then_some(Coefficients { shared, task, max_norm: self.hyper.max_norm })
    }

    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        let a = bargain(gram, self.hyper.scale);
        let coefficients = Coefficients::tasks_weighted(a, gram).clipped_at(self.hyper.max_norm);
        self.last = Some(Agreement { shared: coefficients.shared.clone(), task: coefficients.task.clone() });
        coefficients
    }
}

/// The tasks' agreement `G a = 1/a`, of this length.
pub(in crate::balance) fn bargain(gram: &Gram, scale: NashScale) -> Vec<f64> {
    let mut a = fair_point(gram, 1.0);
    let sum: f64 = a.iter().sum();
    let factor = match scale {
        NashScale::Paper => 1.0,
        NashScale::Frobenius => (0..gram.tasks()).map(|k| dot(gram.row(k), gram.row(k))).sum::<f64>().sqrt().sqrt(),
        NashScale::SumToK if sum > 0.0 => a.len() as f64 / sum,
        NashScale::SumToK => 1.0,
    };
    a.iter_mut().for_each(|a| *a *= factor);
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        let unclipped = NashMtl { max_norm: None, ..NashMtl::default() };
        for (example, a, shared) in [
            (ex_a(), vec![0.672_499, 0.601_501], vec![0.743_496, 1.203_002]),
            (ex_b(), vec![0.699_059, 1.499_967, 0.935_136], vec![-0.101_850, 0.564_831, 1.634_195]),
        ] {
            let coefficients = example.coefficients(&unclipped);
            assert_close(&coefficients.shared, &a, 1e-6);
            assert_eq!(coefficients.task, coefficients.shared);
            assert_close(&example.combined(&coefficients), &shared, 2e-6);
        }
        assert_close(&ex_a().combined(&ex_a().coefficients(&NashMtl::default())), &[0.525_731, 0.850_650], 1e-6);
        assert_close(&ex_t().combined(&ex_t().coefficients(&NashMtl::default())), &[0.0542, 0.7061, 0.7061], 1e-4);
    }

    #[test]
    fn the_three_scales() {
        let a = |scale| ex_a().coefficients(&NashMtl { scale, ..NashMtl::default() }).shared;
        let paper = a(NashScale::Paper);
        let root = 7f64.sqrt();
        assert_close(&a(NashScale::Frobenius), &[paper[0] * root, paper[1] * root], 1e-12);
        assert!((a(NashScale::SumToK).iter().sum::<f64>() - 2.0).abs() < 1e-12);
        let example = ex_a();
        let longer = example.gram.scaled(&[100.0, 100.0]);
        assert_close(&bargain(&longer, NashScale::Paper), &[0.006_725, 0.006_015], 1e-6);
    }

    #[test]
    fn stale_weights_need_no_gram() {
        let hyper = NashMtl { update_weights_every: 3, ..NashMtl::default() };
        let example = ex_a();
        let Ok(Method::Gram(mut method)) = hyper.build(2) else { panic!("a Gram balancer") };
        assert!(method.without_gram(&example.step(1)).is_none(), "nothing agreed on yet");
        let agreed = method.coefficients(&example.step(0), &example.gram);
        assert_eq!(method.without_gram(&example.step(1)).as_ref(), Some(&agreed));
        assert_eq!(method.without_gram(&example.step(2)).as_ref(), Some(&agreed));
        assert!(method.without_gram(&example.step(3)).is_none());
    }
}
