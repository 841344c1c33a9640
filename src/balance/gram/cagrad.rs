//! Conflict-averse gradient descent.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::cagrad_weights;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// Among the directions within a ball round the mean gradient, the one that helps the worst-off task most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaGrad {
    /// Radius of the ball as a share of the mean gradient's norm; 0 is the mean gradient itself.
    pub c: f64,
    /// How the length is corrected: 0 not at all, 1 divided by `1 + c²`, 2 by `1 + c`.
    pub rescale: u8,
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Default for CaGrad {
    fn default() -> Self {
        Self { c: 0.4, rescale: 1, max_norm: None }
    }
}

impl Describe for CaGrad {
    const SUMMARY: &'static str = "conflict-averse: near the mean gradient, what helps the worst-off task most";
    const SOURCE: &'static str = "Liu, Liu, Jin, Stone & Liu, NeurIPS 2021";
}

impl Build for CaGrad {
    fn build(&self, _: usize) -> Result<Method, String> {
        self.check()?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl CaGrad {
    pub(super) fn check(&self) -> Result<(), String> {
        hyper::not_negative("c", self.c)?;
        hyper::max_norm(self.max_norm)?;
        if self.rescale > 2 {
            return Err(format!("`rescale` must be 0, 1 or 2, found {}", self.rescale));
        }
        Ok(())
    }

    /// The coefficients, on the scale of the sum of the losses. At a Pareto-stationary point, where some convex
    /// combination vanishes (its norm relative to all gradients is below 1e-8), they are 0.
    pub(super) fn direction(&self, gram: &Gram) -> Vec<f64> {
        let n = gram.tasks();
        if self.c == 0.0 {
            return vec![1.0; n];
        }
        let mean = vec![1.0 / n as f64; n];
        let phi = self.c * gram.quadratic(&mean).sqrt();
        let a = cagrad_weights(gram, phi);
        let norm = gram.quadratic(&a).sqrt();
        if norm <= 1e-8 * gram.trace().sqrt() {
            return vec![0.0; n];
        }
        let length = match self.rescale {
            0 => 1.0,
            1 => 1.0 + self.c * self.c,
            _ => 1.0 + self.c,
        };
        a.iter().zip(&mean).map(|(a, mean)| n as f64 * (mean + phi / norm * a) / length).collect()
    }
}

impl Memory for CaGrad {}

impl GramBalancer for CaGrad {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        Coefficients::tasks_alone(self.direction(gram)).clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        let coefficients = ex_a().coefficients(&CaGrad::default());
        assert_close(&coefficients.shared, &[1.284_178, 1.100_724], 1e-5);
        assert_close(&ex_a().combined(&coefficients), &[1.467_63, 2.201_45], 1e-5);
        assert_eq!(coefficients.task, [1.0, 1.0]);

        let half = CaGrad { c: 0.5, ..CaGrad::default() };
        let coefficients = ex_a().coefficients(&half);
        assert_close(&coefficients.shared, &[2.0 * 0.801_306 / 1.25, 2.0 * 0.686_834 / 1.25], 2e-6);
        // LibMTL combines half of it, found by an iteration that stops a little early.
        let libmtl: Vec<f64> = ex_a().combined(&coefficients).iter().map(|x| x / 2.0).collect();
        assert_close(&libmtl, &[0.732_591, 1.098_970], 1e-4);

        let coefficients = ex_b().coefficients(&CaGrad::default());
        assert_close(&coefficients.shared, &[0.862_069, 1.407_289, 0.862_069], 1e-5);
        assert_close(&ex_b().combined(&coefficients), &[0.316_849, 0.545_220, 1.724_138], 1e-5);

        let unscaled = CaGrad { c: 0.5, rescale: 0, max_norm: None };
        let torch_jd: Vec<f64> = ex_t().combined(&ex_t().coefficients(&unscaled)).iter().map(|x| x / 2.0).collect();
        assert_close(&torch_jd, &[0.1835, 1.2041, 1.2041], 1e-4);
    }

    #[test]
    fn no_radius_is_the_sum_and_a_stationary_point_is_zero() {
        let sum = ex_b().coefficients(&CaGrad { c: 0.0, ..CaGrad::default() });
        assert_eq!(sum.shared, [1.0, 1.0, 1.0]);
        assert_eq!(CaGrad::default().direction(&Gram::from_fn(2, |_, _| 0.0)), [0.0, 0.0]);
        // On a line, with gradients 1 and −3: the ball round −1 has radius 0.4, and its best point for the worse task
        // is −0.6.
        let opposite = Gram::from_rows(&[[1.0, -3.0], [-3.0, 9.0]]).unwrap();
        let w = CaGrad::default().direction(&opposite);
        assert!((w[0] - 3.0 * w[1] + 2.0 * 0.6 / 1.16).abs() < 1e-9, "{w:?}");
    }
}
