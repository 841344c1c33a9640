//! The Gram matrix of the shared task gradients.

use std::ops::Index;

/// A task whose squared gradient norm is below this share of the largest one has, to a balancer, no shared gradient.
const VANISHING: f64 = 1e-20;

/// `G = J Jᵀ`: the K×K inner products of the shared task gradients (row k of `J` is `g_k`), symmetric, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    tasks: usize,
    /// Row-major.
    entries: Vec<f64>,
}

/// Why rows of numbers are no Gram matrix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GramError {
    /// A row of another length than there are rows.
    #[error("row {row} of the Gram matrix has {found} entries, expected {expected}")]
    Ragged {
        /// The row, from 0.
        row: usize,
        /// Its entries.
        found: usize,
        /// Rows of the matrix.
        expected: usize,
    },
    /// Two mirrored entries differ.
    #[error("the Gram matrix is not symmetric: entry ({row}, {column}) is {entry}, its mirror is {mirror}")]
    Asymmetric {
        /// Row of the first entry, from 0.
        row: usize,
        /// Its column, from 0.
        column: usize,
        /// The entry.
        entry: f64,
        /// The entry on the other side of the diagonal.
        mirror: f64,
    },
    /// Two gradients of different lengths.
    #[error("gradient {row} has {found} entries, the first has {expected}")]
    Lengths {
        /// The gradient, from 0.
        row: usize,
        /// Its entries.
        found: usize,
        /// Entries of the first gradient.
        expected: usize,
    },
}

impl Gram {
    /// The matrix with these entries; asked once for each pair `i ≤ j`.
    pub fn from_fn(tasks: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let mut entries = vec![0.0; tasks * tasks];
        for i in 0..tasks {
            for j in i..tasks {
                let value = entry(i, j);
                entries[i * tasks + j] = value;
                entries[j * tasks + i] = value;
            }
        }
        Self { tasks, entries }
    }

    /// The matrix with these rows.
    ///
    /// # Errors
    /// When they are not square, or mirrored entries differ by more than rounding (1e-9 of their size).
    pub fn from_rows(rows: &[impl AsRef<[f64]>]) -> Result<Self, GramError> {
        let expected = rows.len();
        for (row, found) in rows.iter().map(|row| row.as_ref().len()).enumerate() {
            if found != expected {
                return Err(GramError::Ragged { row, found, expected });
            }
        }
        for (row, entries) in rows.iter().enumerate() {
            for (column, &entry) in entries.as_ref().iter().enumerate().take(row) {
                let mirror = rows[column].as_ref()[row];
                if (entry - mirror).abs() > 1e-9 * entry.abs().max(mirror.abs()) {
                    return Err(GramError::Asymmetric { row, column, entry, mirror });
                }
            }
        }
        Ok(Self::from_fn(expected, |i, j| rows[i].as_ref()[j]))
    }

    /// The Gram matrix of K gradients of P entries each.
    ///
    /// # Errors
    /// When the gradients differ in length.
    pub fn from_gradients(gradients: &[impl AsRef<[f64]>]) -> Result<Self, GramError> {
        let expected = gradients.first().map_or(0, |first| first.as_ref().len());
        for (row, found) in gradients.iter().map(|g| g.as_ref().len()).enumerate() {
            if found != expected {
                return Err(GramError::Lengths { row, found, expected });
            }
        }
        Ok(Self::from_fn(gradients.len(), |i, j| dot(gradients[i].as_ref(), gradients[j].as_ref())))
    }

    /// K, the number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Row i: the inner products with `g_i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.entries[i * self.tasks..(i + 1) * self.tasks]
    }

    /// The squared norms `G_kk`.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.tasks).map(|k| self[(k, k)]).collect()
    }

    /// The norms `n_k = √G_kk`.
    pub fn norms(&self) -> Vec<f64> {
        (0..self.tasks).map(|k| self[(k, k)].max(0.0).sqrt()).collect()
    }

    /// The cosine between two task gradients; 0 when either vanishes.
    pub fn cos(&self, i: usize, j: usize) -> f64 {
        let norms = self[(i, i)].max(0.0).sqrt() * self[(j, j)].max(0.0).sqrt();
        if norms > 0.0 { (self[(i, j)] / norms).clamp(-1.0, 1.0) } else { 0.0 }
    }

    /// `tr G`, the sum of the squared norms.
    pub fn trace(&self) -> f64 {
        (0..self.tasks).map(|k| self[(k, k)]).sum()
    }

    /// `G x`: the inner products of every gradient with `Jᵀ x`.
    pub fn mul(&self, x: &[f64]) -> Vec<f64> {
        (0..self.tasks).map(|i| dot(self.row(i), x)).collect()
    }

    /// `xᵀ G x = ‖Jᵀ x‖²`, never negative.
    pub fn quadratic(&self, x: &[f64]) -> f64 {
        dot(x, &self.mul(x)).max(0.0)
    }

    /// `D(s) G D(s)`: the Gram matrix of the gradients `s_k g_k`.
    pub fn scaled(&self, s: &[f64]) -> Self {
        Self::from_fn(self.tasks, |i, j| s[i] * self[(i, j)] * s[j])
    }

    /// The Gram matrix of the gradients of `ln L_k`: `D(1/L) G D(1/L)`.
    pub fn of_log_losses(&self, losses: &[f64]) -> Self {
        let inverse: Vec<f64> = losses.iter().map(|loss| 1.0 / loss).collect();
        self.scaled(&inverse)
    }

    /// `M G Mᵀ`: the Gram matrix of the linear combinations of gradients that the rows of `M` name.
    pub fn of_combinations(&self, rows: &[Vec<f64>]) -> Self {
        let products: Vec<Vec<f64>> = rows.iter().map(|row| self.mul(row)).collect();
        Self::from_fn(rows.len(), |i, j| dot(&rows[i], &products[j]))
    }

    /// The rows and columns of these tasks only.
    pub fn of_tasks(&self, tasks: &[usize]) -> Self {
        Self::from_fn(tasks.len(), |i, j| self[(tasks[i], tasks[j])])
    }

    /// The tasks that have a shared gradient: those whose norm is not negligible (1e-10) beside the largest.
    pub fn present(&self) -> Vec<usize> {
        let largest = self.diagonal().into_iter().fold(0.0, f64::max);
        (0..self.tasks).filter(|&k| self[(k, k)] > VANISHING * largest && self[(k, k)] > f64::MIN_POSITIVE).collect()
    }

    /// Whether every entry is a finite number.
    pub fn is_finite(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_finite())
    }
}

impl Index<(usize, usize)> for Gram {
    type Output = f64;

    fn index(&self, (i, j): (usize, usize)) -> &f64 {
        &self.entries[i * self.tasks + j]
    }
}

/// `x · y`.
pub(in crate::balance) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_and_rows_agree() {
        let from_gradients = Gram::from_gradients(&[[2.0, 0.0], [-1.0, 2.0]]).unwrap();
        let from_rows = Gram::from_rows(&[[4.0, -2.0], [-2.0, 5.0]]).unwrap();
        assert_eq!(from_gradients, from_rows);
        assert_eq!(from_rows.norms(), [2.0, 5f64.sqrt()]);
        assert!((from_rows.cos(0, 1) + 0.447_214).abs() < 1e-6);
        assert_eq!(from_rows.mul(&[1.0, 1.0]), [2.0, 3.0]);
        assert_eq!(from_rows.quadratic(&[1.0, 1.0]), 5.0);
        assert_eq!(from_rows.scaled(&[2.0, 8.0]), Gram::from_rows(&[[16.0, -32.0], [-32.0, 320.0]]).unwrap());
    }

    #[test]
    fn what_is_no_gram_matrix_is_refused() {
        let ragged = Gram::from_rows(&[vec![1.0, 2.0], vec![2.0]]).unwrap_err();
        assert_eq!(ragged.to_string(), "row 1 of the Gram matrix has 1 entries, expected 2");
        let asymmetric = Gram::from_rows(&[[1.0, 2.0], [3.0, 1.0]]).unwrap_err();
        assert!(asymmetric.to_string().contains("entry (1, 0) is 3, its mirror is 2"));
        assert!(Gram::from_gradients(&[vec![1.0], vec![1.0, 2.0]]).is_err());
    }

    #[test]
    fn vanishing_gradients_are_absent() {
        let gram = Gram::from_gradients(&[[1.0, 0.0], [0.0, 0.0], [0.0, 1e-8], [1e-12, 0.0]]).unwrap();
        assert_eq!(gram.present(), [0, 2]);
        assert!(Gram::from_fn(3, |_, _| 0.0).present().is_empty());
        assert_eq!(gram.cos(0, 1), 0.0);
    }
}
