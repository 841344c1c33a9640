//! Conflict-free inverse gradients.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::pseudo_inverse_mul;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// The direction with equal products with all unit gradients, as long as the sum of the projections of the raw gradients
/// on it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConFig {}

impl Describe for ConFig {
    const SUMMARY: &'static str = "conflict-free inverse gradients: equal cosines with all task gradients";
    const SOURCE: &'static str = "Liu, Chu & Thuerey, arXiv 2408.11104, 2024";
}

impl Build for ConFig {
    fn build(&self, _: usize) -> Result<Method, String> {
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Memory for ConFig {}

impl GramBalancer for ConFig {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        let present = gram.present();
        let reduced = gram.of_tasks(&present);
        let cosines = Gram::from_fn(present.len(), |i, j| if i == j { 1.0 } else { reduced.cos(i, j) });
        let y = pseudo_inverse_mul(&cosines, &vec![1.0; present.len()]);
        let squared = cosines.quadratic(&y);
        let mut w = vec![0.0; gram.tasks()];
        // Otherwise no direction has positive products with all gradients.
        if squared > 1e-16 {
            let q: Vec<f64> = y.iter().zip(reduced.norms()).map(|(y, norm)| y / norm).collect();
            let projections: f64 = reduced.mul(&q).iter().sum();
            for (&k, q) in present.iter().zip(q) {
                w[k] = projections / squared * q;
            }
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
        let coefficients = ex_a().coefficients(&ConFig {});
        assert_close(&coefficients.shared, &[1.059_017, 0.947_214], 1e-6);
        assert_close(&ex_a().combined(&coefficients), &[1.170_820, 1.894_427], 1e-6);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        assert_close(&ex_b().coefficients(&ConFig {}).shared, &[0.729_996, 1.578_455, 0.848_459], 1e-6);
        let coefficients = ex_t().coefficients(&ConFig {});
        assert_close(&coefficients.shared, &[1.226_483, 0.844_124], 1e-6);
        assert_close(&ex_t().combined(&coefficients), &[0.158_809, 2.070_607, 2.070_607], 1e-5);
    }

    #[test]
    fn opposite_gradients_leave_no_direction() {
        let opposite = Gram::from_rows(&[[1.0, -3.0], [-3.0, 9.0]]).unwrap();
        let step = Step { index: 0, epoch: 0, seed: 0, losses: &[1.0, 1.0] };
        assert_eq!(ConFig {}.coefficients(&step, &opposite).shared, [0.0, 0.0]);
    }
}
