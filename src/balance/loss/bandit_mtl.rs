//! BanditMTL: the weights are an adversary.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::balance::softmax::softmax;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// An adversarial bandit moves the weights `p` towards the worst tasks by mirror ascent, within a distance of even
/// weights: `KL(p ‖ uniform) ≤ ρ`. The model descends `Σ p_k L_k`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BanditMtl {
    /// ρ, how far from even the weights may go. From `ln K` (0.69 for two tasks) on there is no limit, and they run
    /// away to the worst task.
    pub rho: f64,
    /// Step size of the ascent.
    pub eta: f64,
}

impl Default for BanditMtl {
    fn default() -> Self {
        Self { rho: 0.1, eta: 0.5 }
    }
}

impl Describe for BanditMtl {
    const SUMMARY: &'static str = "adversarial weights within a KL ball round even ones, by mirror ascent";
    const SOURCE: &'static str = "Mao et al., ACL 2021";
}

impl Build for BanditMtl {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::positive("rho", self.rho)?;
        hyper::not_negative("eta", self.eta)?;
        let p = vec![1.0 / tasks as f64; tasks];
        Ok(Method::Loss(Box::new(Adversary { hyper: self.clone(), p })))
    }
}

struct Adversary {
    hyper: BanditMtl,
    p: Vec<f64>,
}

impl Memory for Adversary {
    fn save(&self) -> Value {
        memory::save(&self.p)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.p.len();
        memory::restore(&mut self.p, saved, |p| p.len() == tasks)
    }
}

impl LossBalancer for Adversary {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        // A weight that underflows to zero would never come back.
        let log_p = self.p.iter().map(|p| p.max(f64::MIN_POSITIVE).ln());
        let log_q: Vec<f64> = log_p.zip(step.losses).map(|(log_p, loss)| log_p + self.hyper.eta * loss).collect();
        std::mem::replace(&mut self.p, flatten(&log_q, self.hyper.rho))
    }
}

/// `q^(1/(1+λ))`, normalised, with the smallest λ ≥ 0 that brings it within `KL ≤ rho` of uniform.
fn flatten(log_q: &[f64], rho: f64) -> Vec<f64> {
    let power = |exponent: f64| softmax(&log_q.iter().map(|log_q| exponent * log_q).collect::<Vec<_>>());
    let within = |p: &[f64]| {
        let entropy: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        (p.len() as f64).ln() - entropy <= rho
    };
    if within(&power(1.0)) {
        return power(1.0);
    }
    // The exponent 1/(1+λ) lies in (0, 1), and the divergence grows with it.
    let (mut inside, mut outside) = (0.0, 1.0);
    loop {
        let middle = 0.5 * (inside + outside);
        if middle <= inside || middle >= outside {
            return power(inside);
        }
        if within(&power(middle)) { inside = middle } else { outside = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    fn after(rho: f64, steps: u64) -> Vec<f64> {
        let example = ex_a();
        let Ok(Method::Loss(mut method)) = (BanditMtl { rho, eta: 0.5 }).build(2) else { panic!("a loss balancer") };
        (0..=steps).map(|index| method.weights(&example.step(index))).last().unwrap()
    }

    #[test]
    fn the_standard_example() {
        assert_eq!(after(1.2, 0), [0.5, 0.5]);
        assert_close(&after(1.2, 1), &[0.546_738, 0.453_262], 1e-6);
        assert_close(&after(0.001, 1), &[0.522_357, 0.477_643], 1e-6);
        // On the boundary the same losses move nothing any more.
        assert_close(&after(0.001, 2), &[0.522_357, 0.477_643], 1e-6);
    }

    #[test]
    fn without_a_limit_the_weights_run_away_but_stay_numbers() {
        let p = after(5.0, 20_000);
        assert!(p[0] > 0.999 && p[1] >= 0.0 && p[1].is_finite());
    }
}
