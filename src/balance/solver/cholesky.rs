//! Cholesky's factorisation of a principal submatrix.

use crate::balance::gram::Gram;

/// Solves `A_SS x = b_S` for a symmetric positive definite `A` and a support `S`; `x` has one entry per element of `S`.
/// `None` when a pivot is not positive: the submatrix is then not positive definite to working precision.
pub(super) fn solve(a: &Gram, b: &[f64], support: &[usize]) -> Option<Vec<f64>> {
    let n = support.len();
    let mut factor = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|l| factor[i * n + l] * factor[j * n + l]).sum();
            let rest = a[(support[i], support[j])] - inner;
            if i > j {
                factor[i * n + j] = rest / factor[j * n + j];
            } else if rest > 0.0 {
                factor[i * n + i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    let mut x: Vec<f64> = support.iter().map(|&i| b[i]).collect();
    for i in 0..n {
        let inner: f64 = (0..i).map(|l| factor[i * n + l] * x[l]).sum();
        x[i] = (x[i] - inner) / factor[i * n + i];
    }
    for i in (0..n).rev() {
        let inner: f64 = (i + 1..n).map(|l| factor[l * n + i] * x[l]).sum();
        x[i] = (x[i] - inner) / factor[i * n + i];
    }
    x.iter().all(|entry| entry.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_principal_submatrix() {
        let a = Gram::from_rows(&[[5.0, -2.0, 1.0], [-2.0, 2.0, -1.0], [1.0, -1.0, 2.0]]).unwrap();
        let x = solve(&a, &[3.0, 9.0, 5.0], &[0, 2]).unwrap();
        assert!((5.0 * x[0] + x[1] - 3.0).abs() < 1e-14 && (x[0] + 2.0 * x[1] - 5.0).abs() < 1e-14);
    }

    #[test]
    fn a_singular_submatrix_has_no_solution() {
        let a = Gram::from_rows(&[[1.0, -1.0], [-1.0, 1.0]]).unwrap();
        assert_eq!(solve(&a, &[1.0, 1.0], &[0, 1]), None);
    }
}
