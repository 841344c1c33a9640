//! Penalty-based boundary intersection.

use serde::{Deserialize, Serialize};

use crate::balance::gram::dot;
use crate::balance::{Build, LossBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// How far the losses are along the preference, plus a penalty for how far they are off it: `total = d₁ + θ d₂`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pbi {
    /// The preference between the tasks; empty for 1 each.
    pub preference: Vec<f64>,
    /// The ideal losses; empty for 0 each.
    pub ideal: Vec<f64>,
    /// θ, the penalty.
    pub theta: f64,
}

impl Default for Pbi {
    fn default() -> Self {
        Self { preference: Vec::new(), ideal: Vec::new(), theta: 5.0 }
    }
}

impl Describe for Pbi {
    const SUMMARY: &'static str = "distance along the preference plus a penalty for the distance off it";
    const SOURCE: &'static str = "Zhang & Li (MOEA/D), IEEE TEVC 2007";
}

impl Build for Pbi {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("theta", self.theta)?;
        let preference = hyper::weight_per_task("preference", &self.preference, tasks, 1.0)?;
        let length = dot(&preference, &preference).sqrt();
        Ok(Method::Loss(Box::new(Boundary {
            theta: self.theta,
            direction: preference.iter().map(|r| r / length).collect(),
            ideal: hyper::per_task("ideal", &self.ideal, tasks, 0.0)?,
        })))
    }
}

struct Boundary {
    theta: f64,
    /// Of unit length.
    direction: Vec<f64>,
    ideal: Vec<f64>,
}

impl Memory for Boundary {}

impl LossBalancer for Boundary {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let u = &self.direction;
        let above: Vec<f64> = step.losses.iter().zip(&self.ideal).map(|(loss, ideal)| loss - ideal).collect();
        let along = dot(&above, u);
        let off: Vec<f64> = above.iter().zip(u).map(|(x, u)| x - along * u).collect();
        let distance = (dot(&off, &off) + 1e-12).sqrt();
        u.iter().zip(&off).map(|(u, off)| u + self.theta * off / distance).collect()
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
            let along = (losses[0] + losses[1]) / 2f64.sqrt();
            along + 5.0 * (losses[0] - losses[1]).abs() / 2f64.sqrt()
        };
        assert!((total(&example.losses) - 1.767_767).abs() < 1e-6);
        assert_derivatives(total, &example.losses, &example.weights(&Pbi::default()));
    }
}
