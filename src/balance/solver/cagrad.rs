//! The dual problem of CAGrad.

use super::simplex::min_norm_simplex;
use crate::balance::gram::{Gram, dot};

/// `argmin_{a ∈ Δ} aᵀ G b + φ √(aᵀ G a)` with `b = 1/K`: the worst case over convex combinations `g_a` of
/// `g_0 · g_a + φ ‖g_a‖`, where `g_0` is the mean gradient and φ ≥ 0 has the unit of a gradient.
///
/// Completing the square: if `t = ‖g_a‖` at the solution, then `a` also minimises `‖g_a + (t/φ) g_0‖`, a plain
/// minimum-norm problem with every gradient shifted by `(t/φ) g_0`. The norm of its solution falls below `t` as `t`
/// grows, so bisection finds the `t` that agrees with itself. The vertices are compared at the end, because the optimum
/// is often one of them.
pub fn cagrad_weights(gram: &Gram, phi: f64) -> Vec<f64> {
    let n = gram.tasks();
    let mean = vec![1.0 / n as f64; n];
    let with_mean = gram.mul(&mean);
    let mean_squared = gram.quadratic(&mean);
    let longest = gram.norms().into_iter().fold(0.0, f64::max);
    let objective = |a: &Vec<f64>| dot(a, &with_mean) + phi * gram.quadratic(a).sqrt();
    let shifted = |shift: f64| {
        min_norm_simplex(&Gram::from_fn(n, |i, j| {
            gram[(i, j)] + shift * (with_mean[i] + with_mean[j]) + shift * shift * mean_squared
        }))
    };

    let vertex = |k: usize| (0..n).map(|i| f64::from(u8::from(i == k))).collect::<Vec<f64>>();
    let mut candidates: Vec<Vec<f64>> = (0..n).map(vertex).collect();
    candidates.push(mean.clone());
    if phi > 0.0 && longest > 0.0 {
        let (mut below, mut above) = (1e-12 * longest, 2.0 * longest);
        while above > below * (1.0 + 1e-14) {
            let t = (below * above).sqrt();
            if t <= below || t >= above {
                break;
            }
            if gram.quadratic(&shifted(t / phi)).sqrt() > t { below = t } else { above = t }
        }
        candidates.push(shifted(above / phi));
    }
    candidates.into_iter().min_by(|a, b| objective(a).total_cmp(&objective(b))).unwrap_or(mean)
}

#[cfg(test)]
mod tests {
    use super::super::random_grams::random_grams;
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    fn radius(gram: &Gram, c: f64) -> f64 {
        c * gram.quadratic(&vec![1.0 / gram.tasks() as f64; gram.tasks()]).sqrt()
    }

    #[test]
    fn the_standard_examples() {
        for (gram, c, expected) in [
            (ex_a().gram, 0.4, vec![0.638_82, 0.361_18]),
            (ex_a().gram, 0.5, vec![0.617_253, 0.382_747]),
            (ex_b().gram, 0.4, vec![0.0, 1.0, 0.0]),
            (ex_b().gram, 1.0, vec![0.066_667, 0.666_667, 0.266_667]),
            (ex_t().gram, 0.5, vec![1.0, 0.0]),
        ] {
            assert_close(&cagrad_weights(&gram, radius(&gram, c)), &expected, 1e-5);
        }
    }

    /// The closed form for two tasks.
    fn two_tasks(gram: &Gram, phi: f64) -> [f64; 2] {
        let (g11, g22, g12) = (gram[(0, 0)], gram[(1, 1)], gram[(0, 1)]);
        let (e, h, determinant) = (g11 + g22 - 2.0 * g12, (g11 - g22) / 2.0, g11 * g22 - g12 * g12);
        let a = if phi * phi * e <= h * h {
            f64::from(u8::from(h <= 0.0))
        } else {
            let s = -h.signum() * (h * h * determinant / (phi * phi * e - h * h)).sqrt();
            ((s + g22 - g12) / e).clamp(0.0, 1.0)
        };
        [a, 1.0 - a]
    }

    #[test]
    fn two_tasks_agree_with_the_closed_form() {
        for (_, gram) in random_grams(2..=2, 1200).filter(|(seed, _)| matches!(seed % 6, 0 | 1 | 5)) {
            for c in [0.1, 0.4, 1.0] {
                let phi = radius(&gram, c);
                assert_close(&cagrad_weights(&gram, phi), &two_tasks(&gram, phi), 1e-6);
            }
        }
    }

    #[test]
    fn no_point_of_a_fine_grid_is_better() {
        for (seed, gram) in random_grams(3..=3, 200) {
            let phi = radius(&gram, 0.4);
            let mean = [1.0 / 3.0; 3];
            let objective = |a: &[f64]| dot(a, &gram.mul(&mean)) + phi * gram.quadratic(a).sqrt();
            let value = objective(&cagrad_weights(&gram, phi));
            for i in 0..=50 {
                for j in 0..=50 - i {
                    let point = [f64::from(i) / 50.0, f64::from(j) / 50.0, f64::from(50 - i - j) / 50.0];
                    let other = objective(&point);
                    assert!(value <= other + 1e-9 * gram.trace(), "{seed}: {value} > {other} at {point:?}");
                }
            }
        }
    }
}
