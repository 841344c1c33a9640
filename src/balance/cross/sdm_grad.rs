//! Stochastic direction-oriented multi-objective gradient descent.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::products;
use crate::balance::gram::Gram;
use crate::balance::solver::{min_norm_simplex, nearest_semidefinite, project_simplex};
use crate::balance::{Build, Coefficients, CrossBalancer, Memory, Method, Step, hyper, memory};
use crate::registry::Describe;

/// The shortest combination of the gradients, kept near their mean by λ: `w ∝ w_s + λ/K` with `w_s` minimising
/// `½ w_sᵀ A w_s + λ w_sᵀ A 1/K` on the simplex, `A = J₁J₂ᵀ` of two batches; applied to the gradients of a third.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SdmGrad {
    /// λ, how near to the mean of the gradients.
    pub lambda: f64,
    /// Instead of solving for `w_s`, take the published steps towards it, which do not converge: for comparison.
    pub reference_sgd: bool,
    /// Those steps in one step of training.
    pub n_iter: u64,
    /// Their length.
    pub lr: f64,
    /// Their momentum.
    pub momentum: f64,
}

impl Default for SdmGrad {
    fn default() -> Self {
        Self { lambda: 0.3, reference_sgd: false, n_iter: 20, lr: 5.0, momentum: 0.5 }
    }
}

impl Describe for SdmGrad {
    const SUMMARY: &'static str =
        "the shortest combination of the gradients, kept near their mean, by independent batches";
    const SOURCE: &'static str = "Xiao, Ban & Ji, NeurIPS 2023";
}

impl Build for SdmGrad {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("lambda", self.lambda)?;
        hyper::not_negative("lr", self.lr)?;
        hyper::share("momentum", self.momentum)?;
        Ok(Method::Cross(Box::new(Directed { hyper: self.clone(), weights: vec![1.0 / tasks as f64; tasks] })))
    }
}

struct Directed {
    hyper: SdmGrad,
    /// `w_s`, from which the published steps start.
    weights: Vec<f64>,
}

impl Memory for Directed {
    fn save(&self) -> Value {
        memory::save(&self.weights)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.weights.len();
        memory::restore(&mut self.weights, saved, |weights| weights.len() == tasks)
    }
}

impl Directed {
    /// Momentum steps with projection, as LibMTL takes them, on `A` divided by the mean square norm.
    fn descend(&self, cross: &[Vec<f64>]) -> Vec<f64> {
        let tasks = cross.len() as f64;
        let scale = (0..cross.len()).map(|k| cross[k][k].max(0.0).sqrt()).sum::<f64>() / tasks;
        let SdmGrad { lambda, n_iter, lr, momentum, .. } = self.hyper;
        let mut weights = self.weights.clone();
        let mut velocity = vec![0.0; weights.len()];
        for _ in 0..n_iter {
            let point: Vec<f64> = weights.iter().map(|w| w + lambda / tasks).collect();
            let slope = products(cross, &point);
            velocity.iter_mut().zip(slope).for_each(|(v, s)| *v = momentum * *v + s / (scale * scale + 1e-8));
            let moved: Vec<f64> = weights.iter().zip(&velocity).map(|(w, v)| w - lr * v).collect();
            weights = project_simplex(&moved);
        }
        weights
    }
}

impl CrossBalancer for Directed {
    fn batches(&self) -> usize {
        3
    }

    fn coefficients(&mut self, _: &Step, cross: &[Vec<f64>]) -> Vec<Coefficients> {
        let tasks = cross.len();
        let SdmGrad { lambda, reference_sgd, .. } = self.hyper;
        let weights = if reference_sgd {
            self.descend(cross)
        } else {
            // products of different batches are neither symmetric nor sure to be positive; what they estimate is
            let symmetric = Gram::from_fn(tasks, |i, j| (cross[i][j] + cross[j][i]) / 2.0);
            // on the simplex, w_s + λ/K are the coefficients Σ_i w_i (e_i + λ/K 1)
            let shifted = |i: usize| (0..tasks).map(|k| f64::from(u8::from(i == k)) + lambda / tasks as f64).collect();
            let rows: Vec<Vec<f64>> = (0..tasks).map(shifted).collect();
            min_norm_simplex(&nearest_semidefinite(&symmetric).of_combinations(&rows))
        };
        // a product that overflowed has no minimiser: the weights stay
        if weights.iter().all(|weight| weight.is_finite()) {
            self.weights = weights;
        }
        let applied = self.weights.iter().map(|w| (w + lambda / tasks as f64) / (1.0 + lambda)).collect();
        let sampled = Coefficients::tasks_alone(vec![0.0; tasks]);
        vec![sampled.clone(), sampled, Coefficients::tasks_alone(applied)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        for (example, exact, published) in [
            (ex_a(), vec![0.538_462, 0.461_538], vec![0.115_385, 0.884_615]),
            (ex_b(), vec![0.2, 0.5, 0.3], vec![0.076_923, 0.076_923, 0.846_154]),
        ] {
            let answer = example.driver(&SdmGrad::default()).step(&example.losses, &example.gradients);
            assert_close(&answer.coefficients.shared, &exact, 1e-6);
            // the decoders' gradients of all three batches are summed
            assert_close(&answer.coefficients.task, &vec![3.0; exact.len()], 0.0);
            let reference = SdmGrad { reference_sgd: true, ..SdmGrad::default() };
            let answer = example.driver(&reference).step(&example.losses, &example.gradients);
            assert_close(&answer.coefficients.shared, &published, 1e-6);
        }
    }
}
