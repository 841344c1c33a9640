//! UPGrad.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::dual_cone;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// Each task gradient is projected onto the cone of directions that conflict with no task; the projections are averaged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpGrad {
    /// Weight of each projection; empty for 1/K each.
    pub preference: Vec<f64>,
}

impl Describe for UpGrad {
    const SUMMARY: &'static str = "each gradient projected onto the cone without conflict, then averaged";
    const SOURCE: &'static str = "Quinton & Rey, arXiv 2406.16232, 2024";
}

impl Build for UpGrad {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let preference = hyper::weight_per_task("preference", &self.preference, tasks, 1.0 / tasks as f64)?;
        Ok(Method::Gram(Box::new(Projections(preference))))
    }
}

struct Projections(Vec<f64>);

impl Memory for Projections {}

impl GramBalancer for Projections {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        let mut w = vec![0.0; gram.tasks()];
        for (k, &weight) in self.0.iter().enumerate() {
            let mut one_task = vec![0.0; gram.tasks()];
            one_task[k] = weight;
            w.iter_mut().zip(dual_cone(gram, &one_task)).for_each(|(w, v)| *w += v);
        }
        Coefficients::tasks_alone(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        assert_close(&ex_a().coefficients(&UpGrad::default()).shared, &[0.75, 0.70], 1e-9);
        assert_close(&ex_b().coefficients(&UpGrad::default()).shared, &[0.444_444, 0.833_333, 0.444_444], 1e-6);
        let coefficients = ex_t().coefficients(&UpGrad::default());
        assert_close(&coefficients.shared, &[1.111_111, 0.789_474], 1e-6);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        // TorchJD regularises the matrix by 1e-4, which moves the result by a little.
        assert_close(&ex_t().combined(&coefficients), &[0.2929, 1.9004, 1.9004], 1e-3);
    }
}
