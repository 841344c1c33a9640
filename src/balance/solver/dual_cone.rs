//! Projection onto the cone of directions that conflict with no task.

use super::nonnegative::nonnegative_minimum;
use crate::balance::gram::Gram;

/// `argmin_{v ≥ u} vᵀ G v`: `Jᵀ v` is the projection of `Jᵀ u` onto the cone of the directions that have no negative
/// product with any gradient (so `G v ≥ 0`). Tasks without a gradient keep `v_k = u_k`.
pub fn dual_cone(gram: &Gram, u: &[f64]) -> Vec<f64> {
    let present = gram.present();
    let reduced = gram.of_tasks(&present);
    let start: Vec<f64> = present.iter().map(|&k| u[k]).collect();
    let descent: Vec<f64> = reduced.mul(&start).iter().map(|product| -product).collect();
    let excess = nonnegative_minimum(&reduced, &descent);
    let mut v = u.to_vec();
    for (&k, excess) in present.iter().zip(excess) {
        v[k] += excess;
    }
    v
}

#[cfg(test)]
mod tests {
    use super::super::random_grams::random_grams;
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    #[test]
    fn two_tasks_have_a_closed_form() {
        assert_close(&dual_cone(&ex_a().gram, &[0.5, 0.0]), &[0.5, 0.2], 1e-10);
        let gram = Gram::from_rows(&[[1.0, -4.0], [-4.0, 17.0]]).unwrap();
        assert_close(&dual_cone(&gram, &[0.5, 0.5]), &[2.0, 0.5], 1e-9);
    }

    #[test]
    fn thousands_of_random_grams_meet_the_optimality_conditions() {
        for (seed, gram) in random_grams(1..=10, 4000) {
            let n = gram.tasks();
            let u: Vec<f64> = (0..n).map(|k| if k == seed as usize % n { 1.0 } else { 0.0 }).collect();
            let v = dual_cone(&gram, &u);
            let norms = gram.norms();
            let piece = v.iter().zip(&norms).map(|(v, n)| v * n).fold(0.0, f64::max);
            let products = gram.mul(&v);
            for k in 0..n {
                let rounding = 1e-9 * piece * norms[k];
                assert!(v[k] >= u[k], "{seed}: {v:?}");
                assert!(products[k] >= -rounding, "{seed}: {products:?} at {v:?}");
                let free = v[k] - u[k] > 1e-9 * v[k].abs();
                assert!(!free || products[k].abs() <= rounding, "{seed}: {products:?} at {v:?}");
            }
        }
    }
}
