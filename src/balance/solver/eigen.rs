//! Eigenvalues and pseudo-inverse of a small symmetric matrix.

use crate::balance::gram::{Gram, dot};

/// Eigenvalues below `λ_max · K` times this count as zero: the rounding of the f32 gradients behind the matrix (and the
/// constant of LibMTL and TorchJD).
const RANK_TOLERANCE: f64 = 1.192_092_9e-7;

/// `A = Σ λ_i v_i v_iᵀ`.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// In descending order.
    pub values: Vec<f64>,
    /// Row i is the unit eigenvector of `values[i]`.
    pub vectors: Vec<Vec<f64>>,
}

impl Eigen {
    /// How many eigenvalues count as positive.
    pub fn rank(&self) -> usize {
        let largest = self.values.first().copied().unwrap_or(0.0);
        let floor = largest * self.values.len() as f64 * RANK_TOLERANCE;
        self.values.iter().filter(|value| **value > floor.max(0.0)).count()
    }

    /// `f(A) x = Σ f(λ_i) v_i (v_i · x)` over the eigenvalues that count as positive.
    pub fn apply(&self, f: impl Fn(f64) -> f64, x: &[f64]) -> Vec<f64> {
        let mut result = vec![0.0; x.len()];
        for (&value, vector) in self.values.iter().zip(&self.vectors).take(self.rank()) {
            let along = f(value) * dot(vector, x);
            result.iter_mut().zip(vector).for_each(|(r, v)| *r += along * v);
        }
        result
    }
}

/// The eigen-decomposition of a symmetric matrix by Jacobi's cyclic rotations.
pub fn eigen(matrix: &Gram) -> Eigen {
    let n = matrix.tasks();
    let mut a: Vec<Vec<f64>> = (0..n).map(|i| matrix.row(i).to_vec()).collect();
    let mut v: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // Convergence is quadratic: a handful of sweeps for any K; the cap only guards against an endless loop.
    for _ in 0..60 {
        let mut rotated = false;
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].abs() > f64::EPSILON * (a[p][p] * a[q][q]).abs().sqrt() && a[p][q].abs() > f64::MIN_POSITIVE
                {
                    rotate(&mut a, &mut v, p, q);
                    rotated = true;
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    Eigen {
        values: order.iter().map(|&i| a[i][i]).collect(),
        vectors: order.iter().map(|&i| (0..n).map(|row| v[row][i]).collect()).collect(),
    }
}

/// Makes `a[p][q]` zero by a rotation in the plane of p < q, and turns the columns of `v` with it.
fn rotate(a: &mut [Vec<f64>], v: &mut [Vec<f64>], p: usize, q: usize) {
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for row in a.iter_mut().chain(v.iter_mut()) {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    let (above, from_q) = a.split_at_mut(q);
    for (x, y) in above[p].iter_mut().zip(&mut from_q[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
    (a[p][q], a[q][p]) = (0.0, 0.0);
}

/// `A⁺ x` for a symmetric positive semidefinite `A`.
pub fn pseudo_inverse_mul(matrix: &Gram, x: &[f64]) -> Vec<f64> {
    eigen(matrix).apply(|value| 1.0 / value, x)
}

/// The positive semidefinite matrix nearest to a symmetric one (Frobenius): without its negative eigenvalues.
pub fn nearest_semidefinite(matrix: &Gram) -> Gram {
    let Eigen { values, vectors } = eigen(matrix);
    if values.last().is_none_or(|least| *least >= 0.0) {
        return matrix.clone();
    }
    let positive = || values.iter().zip(&vectors).take_while(|(value, _)| **value > 0.0);
    Gram::from_fn(matrix.tasks(), |i, j| positive().map(|(value, v)| value * v[i] * v[j]).sum())
}

#[cfg(test)]
mod tests {
    use super::super::random_grams::random_grams;
    use super::*;
    use crate::balance::examples::assert_close;

    #[test]
    fn the_factors_multiply_to_the_matrix() {
        for (seed, gram) in random_grams(1..=8, 2000) {
            let eigen = eigen(&gram);
            let n = gram.tasks();
            assert!(eigen.values.windows(2).all(|pair| pair[0] >= pair[1]));
            for i in 0..n {
                for j in 0..n {
                    let entry: f64 =
                        eigen.values.iter().zip(&eigen.vectors).map(|(value, v)| value * v[i] * v[j]).sum();
                    assert!((entry - gram[(i, j)]).abs() <= 1e-13 * gram.trace(), "{seed}: ({i}, {j})");
                    let product = dot(&eigen.vectors[i], &eigen.vectors[j]);
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-13, "{seed}: ({i}, {j})");
                }
            }
        }
    }

    #[test]
    fn the_pseudo_inverse_of_a_singular_matrix_is_the_shortest_solution() {
        let gram = Gram::from_rows(&[[2.0, 2.0], [2.0, 2.0]]).unwrap();
        assert_eq!(eigen(&gram).rank(), 1);
        assert_close(&pseudo_inverse_mul(&gram, &[1.0, 1.0]), &[0.25, 0.25], 1e-14);
        assert_close(&pseudo_inverse_mul(&gram, &[1.0, -1.0]), &[0.0, 0.0], 1e-14);
        assert_eq!(eigen(&Gram::from_fn(3, |_, _| 0.0)).rank(), 0);
    }

    #[test]
    fn negative_eigenvalues_are_taken_out() {
        let indefinite = Gram::from_rows(&[[1.0, 2.0], [2.0, 1.0]]).unwrap();
        let nearest = nearest_semidefinite(&indefinite);
        assert_close(nearest.row(0), &[1.5, 1.5], 1e-12);
        assert_close(nearest.row(1), &[1.5, 1.5], 1e-12);
        let gram = Gram::from_rows(&[[2.0, -1.0], [-1.0, 2.0]]).unwrap();
        assert_eq!(nearest_semidefinite(&gram), gram);
    }
}
