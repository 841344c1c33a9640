//! CR-MOGM: a moving average of another balancer's weights.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Gram, Mgda};
use crate::balance::{Balancer, Build, Coefficients, GramBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// Smooths the coefficients of another Gram balancer: `λ_t = α λ_{t−1} + (1−α) λ̂_t`, from the first on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrMogm {
    /// The balancer whose coefficients are smoothed.
    pub of: Box<Balancer>,
    /// α, the share of the past.
    pub alpha: f64,
}

impl Default for CrMogm {
    fn default() -> Self {
        Self { of: Box::new(Balancer::Mgda(Mgda::default())), alpha: 0.9 }
    }
}

impl Describe for CrMogm {
    const SUMMARY: &'static str = "a moving average of the coefficients of another Gram balancer";
    const SOURCE: &'static str = "Zhou et al., NeurIPS 2022";
}

impl Build for CrMogm {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::share("alpha", self.alpha)?;
        match self.of.build(tasks)? {
            Method::Gram(of) => Ok(Method::Gram(Box::new(Smoothed { of, alpha: self.alpha, tasks, last: None }))),
            _ => Err(format!("`of` must be a balancer of the Gram matrix, which `{}` is not", self.of.name())),
        }
    }
}

struct Smoothed {
    of: Box<dyn GramBalancer>,
    alpha: f64,
    tasks: usize,
    last: Option<Past>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Past {
    shared: Vec<f64>,
    task: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    last: Option<Past>,
    of: Value,
}

impl Memory for Smoothed {
    fn save(&self) -> Value {
        memory::save(&Saved { last: self.last.clone(), of: self.of.save() })
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let mut restored = Saved { last: None, of: Value::Null };
        let tasks = self.tasks;
        memory::restore(&mut restored, saved, |saved: &Saved| {
            saved.last.as_ref().is_none_or(|past| past.shared.len() == tasks && past.task.len() == tasks)
        })?;
        self.of.restore(&restored.of)?;
        self.last = restored.last;
        Ok(())
    }
}

impl Smoothed {
    fn smooth(&mut self, fresh: Coefficients) -> Coefficients {
        let Coefficients { mut shared, mut task, max_norm } = fresh;
        if let Some(past) = &self.last {
            let blend = |now: &mut f64, past: &f64| *now = self.alpha * past + (1.0 - self.alpha) * *now;
            shared.iter_mut().zip(&past.shared).for_each(|(now, past)| blend(now, past));
            task.iter_mut().zip(&past.task).for_each(|(now, past)| blend(now, past));
        }
        self.last = Some(Past { shared: shared.clone(), task: task.clone() });
        Coefficients { shared, task, max_norm }
    }
}

impl GramBalancer for Smoothed {
    fn without_gram(&mut self, step: &Step) -> Option<Coefficients> {
        let stale = self.of.without_gram(step)?;
        Some(self.smooth(stale))
    }

    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let fresh = self.of.coefficients(step, gram);
        self.smooth(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};
    use crate::balance::loss::Ls;

    #[test]
    fn coefficients_follow_slowly() {
        let example = ex_a();
        let Ok(Method::Gram(mut method)) = CrMogm::default().build(2) else { panic!("a Gram balancer") };
        let first = method.coefficients(&example.step(0), &example.gram);
        assert_close(&first.shared, &[2.0 * 0.538_462, 2.0 * 0.461_538], 2e-6);
        // Orthogonal gradients of the same length: even weights, a tenth of the way.
        let even = Gram::from_rows(&[[1.0, 0.0], [0.0, 1.0]]).unwrap();
        let second = method.coefficients(&example.step(1), &even);
        assert_close(&second.shared, &[0.9 * first.shared[0] + 0.1, 0.9 * first.shared[1] + 0.1], 1e-9);
        assert_eq!(second.task, second.shared);
    }

    #[test]
    fn a_loss_balancer_cannot_be_smoothed() {
        let problem = CrMogm { of: Box::new(Ls::default().into()), alpha: 0.5 }.build(2).err().unwrap();
        assert_eq!(problem, "`of` must be a balancer of the Gram matrix, which `Ls` is not");
    }
}
