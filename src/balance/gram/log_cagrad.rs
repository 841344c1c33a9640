//! CAGrad on the logarithms of the losses.

use serde::{Deserialize, Serialize};

use super::{CaGrad, Gram};
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// [`CaGrad`] on the gradients of `ln L_k`; task parameters follow the logarithm of their own loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogCaGrad {
    /// Radius of the ball as a share of the mean gradient's norm.
    pub c: f64,
    /// How the length is corrected: 0 not at all, 1 divided by `1 + c²`, 2 by `1 + c`.
    pub rescale: u8,
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Default for LogCaGrad {
    fn default() -> Self {
        let CaGrad { c, rescale, max_norm } = CaGrad::default();
        Self { c, rescale, max_norm }
    }
}

impl Describe for LogCaGrad {
    const SUMMARY: &'static str = "conflict-averse gradient descent on the logarithms of the losses";
    const SOURCE: &'static str = "Liu et al. (FAMO), NeurIPS 2023 (baseline)";
}

impl Build for LogCaGrad {
    fn build(&self, _: usize) -> Result<Method, String> {
        let on_logarithms = CaGrad { c: self.c, rescale: self.rescale, max_norm: self.max_norm };
        on_logarithms.check()?;
        Ok(Method::Gram(Box::new(OnLogarithms(on_logarithms))))
    }
}

struct OnLogarithms(CaGrad);

impl Memory for OnLogarithms {}

impl GramBalancer for OnLogarithms {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let losses = step.positive_losses();
        let of_logarithms = self.0.direction(&gram.of_log_losses(&losses));
        Coefficients {
            shared: of_logarithms.iter().zip(&losses).map(|(w, loss)| w / loss).collect(),
            task: losses.iter().map(|loss| 1.0 / loss).collect(),
            max_norm: self.0.max_norm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn the_standard_example() {
        let coefficients = ex_a().coefficients(&LogCaGrad::default());
        assert_close(&coefficients.shared, &[2.283_829 / 0.5, 0.862_069 / 0.125], 1e-5);
        assert_close(&ex_a().combined(&coefficients), &[2.238_767, 13.793_104], 1e-5);
        assert_eq!(coefficients.task, [2.0, 8.0]);
    }
}
