//! COSMOS: losses along a preference.

use serde::{Deserialize, Serialize};

use crate::balance::gram::dot;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The weighted sum of the losses, less a reward for pointing along the preference: `total = r·L − λ cos(r, L)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cosmos {
    /// `r`, the preference between the tasks; empty for 1/K each.
    pub preference: Vec<f64>,
    /// λ, the reward for the direction.
    pub lambda: f64,
}

impl Default for Cosmos {
    fn default() -> Self {
        Self { preference: Vec::new(), lambda: 1.0 }
    }
}

impl Describe for Cosmos {
    const SUMMARY: &'static str = "a weighted sum of the losses with a cosine reward for pointing along the preference";
    const SOURCE: &'static str = "Ruchte & Grabocka, ICDM 2021";
}

impl Build for Cosmos {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("lambda", self.lambda)?;
        let preference = hyper::weight_per_task("preference", &self.preference, tasks, 1.0 / tasks as f64)?;
        Ok(Method::Loss(Box::new(AlongPreference { lambda: self.lambda, preference })))
    }
}

struct AlongPreference {
    lambda: f64,
    preference: Vec<f64>,
}

impl Memory for AlongPreference {}

impl LossBalancer for AlongPreference {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let losses = step.positive_losses();
        let r = &self.preference;
        let (of_r, of_losses) = (dot(r, r).sqrt(), dot(&losses, &losses).sqrt());
        let cos = dot(r, &losses) / (of_r * of_losses);
        let turn = |r: f64, loss: f64| (r / of_r - cos * loss / of_losses) / of_losses;
        r.iter().zip(&losses).map(|(&r, &loss)| r - self.lambda * turn(r, loss)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_derivatives, ex_a};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let total = |losses: &[f64]| {
            let sum = losses[0] + losses[1];
            0.5 * sum - sum / (2f64.sqrt() * losses[0].hypot(losses[1]))
        };
        assert!((total(&example.losses) + 0.544_993).abs() < 1e-6);
        assert_derivatives(total, &example.losses, &example.weights(&Cosmos::default()));
    }
}
