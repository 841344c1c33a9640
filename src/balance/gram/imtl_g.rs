//! IMTL-G: equal projections on all task gradients.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::pseudo_inverse_mul;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

/// The combination, of weights that sum to 1, whose projections on all task gradients are equally long. Weights may be
/// negative from three tasks on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImtlG {
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Describe for ImtlG {
    const SUMMARY: &'static str = "impartial learning, gradient part: equal projections on all task gradients";
    const SOURCE: &'static str = "Liu et al., ICLR 2021";
}

impl Build for ImtlG {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

/// `w` with `Σ w = 1` and `(G w)_i / n_i` equal for all i; 0 for tasks without a gradient.
///
/// With `w_i ∝ y_i / n_i` the condition reads `C y = 1` for the matrix `C` of cosines, solved by its pseudo-inverse. Where
/// that says nothing (opposite gradients) the answer is `w_i ∝ 1 / n_i`, as the closed form for two tasks says.
pub(super) fn equal_projections(gram: &Gram) -> Vec<f64> {
    let present = gram.present();
    let reduced = gram.of_tasks(&present);
    let norms = reduced.norms();
    let cosines = Gram::from_fn(present.len(), |i, j| if i == j { 1.0 } else { reduced.cos(i, j) });
    let y = pseudo_inverse_mul(&cosines, &vec![1.0; present.len()]);
    let mut x: Vec<f64> = y.iter().zip(&norms).map(|(y, norm)| y / norm).collect();
    let total = |x: &[f64]| x.iter().sum::<f64>();
    let size: f64 = x.iter().map(|x| x.abs()).sum();
    if y.iter().all(|y| y.abs() < 1e-9) || total(&x).abs() <= 1e-9 * size {
        x = norms.iter().map(|norm| 1.0 / norm).collect();
    }
    let sum = total(&x);
    let mut w = vec![0.0; gram.tasks()];
    for (&k, x) in present.iter().zip(x) {
        w[k] = x / sum;
    }
    w
}

impl Memory for ImtlG {}

impl GramBalancer for ImtlG {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        Coefficients::tasks_weighted(equal_projections(gram), gram).clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        let coefficients = ex_a().coefficients(&ImtlG::default());
        assert_close(&coefficients.shared, &[0.527_864, 0.472_136], 1e-6);
        assert_close(&ex_a().combined(&coefficients), &[0.583_592, 0.944_272], 1e-6);
        assert_eq!(coefficients.task, coefficients.shared);
        let coefficients = ex_b().coefficients(&ImtlG::default());
        assert_close(&coefficients.shared, &[0.231_238, 0.5, 0.268_762], 1e-6);
        assert_close(&ex_b().combined(&coefficients), &[-0.037_525, 0.231_238, 0.5], 1e-6);
        let coefficients = ex_t().coefficients(&ImtlG::default());
        assert_close(&coefficients.shared, &[0.592_330, 0.407_670], 1e-6);
        assert_close(&ex_t().combined(&coefficients), &[0.0767, 1.0, 1.0], 1e-4);
    }

    #[test]
    fn opposite_gradients_follow_the_closed_form() {
        let opposite = Gram::from_rows(&[[1.0, -3.0], [-3.0, 9.0]]).unwrap();
        assert_close(&equal_projections(&opposite), &[0.75, 0.25], 1e-12);
    }
}
