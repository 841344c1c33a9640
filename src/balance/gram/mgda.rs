//! The multiple-gradient descent algorithm.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::min_norm_simplex;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The shortest convex combination of the (normalised) task gradients: a common descent direction, or zero where there is
/// none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mgda {
    /// What each gradient is divided by before the weights are sought.
    pub normalise: Normalise,
    /// What the weights are then applied to.
    pub combine: Combine,
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

/// What each gradient is divided by before MGDA's weights are sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Normalise {
    /// Nothing.
    #[default]
    Plain,
    /// Its norm.
    L2,
    /// Its loss.
    Loss,
    /// Its norm times its loss.
    LossPlus,
}

/// What MGDA's weights `a` are applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Combine {
    /// `Raw` without a normalisation, `Normalised` with one.
    #[default]
    Auto,
    /// The raw gradients, times K to compare with a sum of losses; task parameters follow the same weights (Nash-MTL's
    /// and FAMO's code).
    Raw,
    /// The normalised gradients, which makes the result the shortest vector that was sought; task parameters follow
    /// their own loss (LibMTL).
    Normalised,
}

impl Describe for Mgda {
    const SUMMARY: &'static str = "multiple-gradient descent: the shortest convex combination of the task gradients";
    const SOURCE: &'static str = "Désidéri, C. R. Math. 2012; Sener & Koltun, NeurIPS 2018";
}

impl Build for Mgda {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Mgda {
    /// What the gradients are divided by; 1 for the norm of a task without a gradient.
    fn divisors(&self, step: &Step, gram: &Gram) -> Vec<f64> {
        let mut norms = vec![1.0; gram.tasks()];
        for k in gram.present() {
            norms[k] = gram[(k, k)].sqrt();
        }
        let losses = step.positive_losses();
        match self.normalise {
            Normalise::Plain => vec![1.0; gram.tasks()],
            Normalise::L2 => norms,
            Normalise::Loss => losses,
            Normalise::LossPlus => norms.iter().zip(losses).map(|(norm, loss)| norm * loss).collect(),
        }
    }
}

impl Memory for Mgda {}

impl GramBalancer for Mgda {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let inverse: Vec<f64> = self.divisors(step, gram).iter().map(|divisor| 1.0 / divisor).collect();
        let a = min_norm_simplex(&gram.scaled(&inverse));
        let raw = match self.combine {
            Combine::Auto => self.normalise == Normalise::Plain,
            Combine::Raw => true,
            Combine::Normalised => false,
        };
        let coefficients = if raw {
            let tasks = gram.tasks() as f64;
            Coefficients::tasks_weighted(a.iter().map(|a| tasks * a).collect(), gram)
        } else {
            Coefficients::tasks_alone(a.iter().zip(&inverse).map(|(a, inverse)| a * inverse).collect())
        };
        coefficients.clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    fn mgda(normalise: Normalise, combine: Combine) -> Mgda {
        Mgda { normalise, combine, max_norm: None }
    }

    #[test]
    fn weights_of_the_four_normalisations() {
        for (example, expected) in [
            (ex_a(), vec![vec![0.538_462, 0.461_538], vec![0.5, 0.5], vec![0.88, 0.12], vec![0.864_472, 0.135_528]]),
            (
                ex_b(),
                vec![
                    vec![0.2, 0.5, 0.3],
                    vec![0.322_313, 0.440_766, 0.236_922],
                    vec![0.48, 0.44, 0.08],
                    vec![0.632_062, 0.319_922, 0.048_016],
                ],
            ),
        ] {
            let kinds = [Normalise::Plain, Normalise::L2, Normalise::Loss, Normalise::LossPlus];
            for (normalise, expected) in kinds.into_iter().zip(expected) {
                let shared = example.coefficients(&mgda(normalise, Combine::Raw)).shared;
                let a: Vec<f64> = shared.iter().map(|w| w / example.losses.len() as f64).collect();
                // The reference's iteration stops a little early.
                assert_close(&a, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn raw_and_normalised_combinations() {
        let example = ex_a();
        let combined = |normalise, combine| example.combined(&example.coefficients(&mgda(normalise, combine)));
        assert_close(&combined(Normalise::Plain, Combine::Auto), &[1.230_769, 1.846_154], 1e-6);
        assert_close(&combined(Normalise::Plain, Combine::Normalised), &[0.615_385, 0.923_077], 1e-6);
        assert_close(&combined(Normalise::Loss, Combine::Raw), &[3.28, 0.48], 1e-9);
        assert_close(&combined(Normalise::Loss, Combine::Auto), &[2.56, 1.92], 1e-9);
        let coefficients = ex_t().coefficients(&mgda(Normalise::Plain, Combine::Normalised));
        assert_close(&ex_t().combined(&coefficients), &[0.0, 1.0, 1.0], 1e-9);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        let coefficients = example.coefficients(&Mgda::default());
        assert_eq!(coefficients.task, coefficients.shared);
    }
}
