//! The probability simplex: projection onto it, and the shortest vector in the convex hull of the gradients.

use super::nonnegative::nonnegative_minimum;
use crate::balance::gram::Gram;

/// The point of the probability simplex nearest to `y` (Euclidean), by sorting.
pub fn project_simplex(y: &[f64]) -> Vec<f64> {
    let mut sorted = y.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    let mut threshold = 0.0;
    for (rank, &value) in sorted.iter().enumerate() {
        sum += value;
        let candidate = (sum - 1.0) / (rank + 1) as f64;
        if value > candidate {
            threshold = candidate;
        }
    }
    y.iter().map(|value| (value - threshold).max(0.0)).collect()
}

/// `argmin_{a ∈ Δ} aᵀ G a`: the weights of the shortest convex combination of the gradients.
///
/// Where the minimum is not unique (identical gradients) the weight is shared evenly. Tasks without a gradient take all
/// the weight, since they make the combination zero.
pub fn min_norm_simplex(gram: &Gram) -> Vec<f64> {
    let n = gram.tasks();
    let present = gram.present();
    if present.len() < n {
        let share = 1.0 / (n - present.len()) as f64;
        return (0..n).map(|k| if present.contains(&k) { 0.0 } else { share }).collect();
    }
    // On the ray through the solution the constraint `Σa = 1` is only a matter of scale: minimise ½ xᵀGx − Σx over
    // x ≥ 0 instead and normalise.
    let x = nonnegative_minimum(gram, &vec![1.0; n]);
    let sum: f64 = x.iter().sum();
    if sum > 0.0 && sum.is_finite() { x.iter().map(|x| x / sum).collect() } else { vec![1.0 / n as f64; n] }
}

#[cfg(test)]
mod tests {
    use super::super::random_grams::random_grams;
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn projection_lands_on_the_nearest_point() {
        assert_close(&project_simplex(&[0.2, 0.3, 0.5]), &[0.2, 0.3, 0.5], 1e-15);
        assert_close(&project_simplex(&[2.0, 0.0]), &[1.0, 0.0], 1e-15);
        assert_close(&project_simplex(&[1.0, 1.0, -3.0]), &[0.5, 0.5, 0.0], 1e-15);
        assert_close(&project_simplex(&[-5.0]), &[1.0], 1e-15);
        for (_, gram) in random_grams(2..=6, 200) {
            let y = gram.row(0);
            let p = project_simplex(y);
            // Optimality: no vertex lies on the far side of the hyperplane through p that is normal to y − p.
            let residual: Vec<f64> = y.iter().zip(&p).map(|(y, p)| y - p).collect();
            let size = y.iter().fold(1.0, |most: f64, y| most.max(y.abs()));
            let at_p: f64 = residual.iter().zip(&p).map(|(r, p)| r * p).sum();
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9 * size);
            assert!(residual.iter().all(|r| *r <= at_p + 1e-9 * size));
        }
    }

    #[test]
    fn the_standard_examples() {
        assert_close(&min_norm_simplex(&ex_a().gram), &[0.538_462, 0.461_538], 1e-6);
        assert_close(&min_norm_simplex(&ex_b().gram), &[0.2, 0.5, 0.3], 1e-10);
        assert_close(&min_norm_simplex(&ex_t().gram), &[0.6, 0.4], 1e-10);
    }

    #[test]
    fn ties_are_shared_evenly() {
        let identical = Gram::from_fn(3, |_, _| 4.0);
        assert_close(&min_norm_simplex(&identical), &[1.0 / 3.0; 3], 1e-6);
        assert_close(&min_norm_simplex(&Gram::from_fn(2, |_, _| 0.0)), &[0.5; 2], 0.0);
        let opposite = Gram::from_rows(&[[1.0, -3.0], [-3.0, 9.0]]).unwrap();
        assert_close(&min_norm_simplex(&opposite), &[0.75, 0.25], 1e-9);
        let zero = Gram::from_rows(&[[1.0, 0.0], [0.0, 0.0]]).unwrap();
        assert_close(&min_norm_simplex(&zero), &[0.0, 1.0], 0.0);
    }

    #[test]
    fn thousands_of_random_grams_meet_the_optimality_condition() {
        for (seed, gram) in random_grams(1..=10, 4000) {
            let a = min_norm_simplex(&gram);
            assert!(a.iter().all(|a| *a >= 0.0), "{seed}: {a:?}");
            assert!((a.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{seed}: {a:?}");
            let norms = gram.norms();
            // The combination is a sum of pieces a_k g_k: rounding is relative to the longest piece.
            let piece = a.iter().zip(&norms).map(|(a, n)| a * n).fold(0.0, f64::max);
            let value = gram.quadratic(&a);
            for (product, norm) in gram.mul(&a).iter().zip(&norms) {
                assert!(*product >= value - 1e-7 * norm * piece, "{seed}: {product} < {value}, {a:?}");
            }
        }
    }

    #[test]
    fn no_point_of_a_fine_grid_is_shorter() {
        for (seed, gram) in random_grams(2..=3, 300) {
            let value = gram.quadratic(&min_norm_simplex(&gram));
            let steps = 60;
            for i in 0..=steps {
                for j in 0..=steps - i {
                    let mut point = vec![i as f64 / steps as f64, j as f64 / steps as f64];
                    point.push(1.0 - point[0] - point[1]);
                    if gram.tasks() == 2 {
                        point = vec![point[0], 1.0 - point[0]];
                    }
                    let other = gram.quadratic(&point);
                    assert!(value <= other + 1e-9 * gram.trace(), "{seed}: {value} > {other} at {point:?}");
                }
            }
        }
    }
}
