//! The reliability curve: what was predicted against what came.

use rayon::slice::ParallelSliceMut;
use serde::{Deserialize, Serialize};

/// One task's reliability curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// The task's name.
    pub task: String,
    /// The points, predictions rising; none where a prediction is not a number.
    pub bins: Vec<ReliabilityBin>,
}

/// One point of a reliability curve: rows with about the same prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// How many rows.
    pub rows: usize,
    /// The mean of their predicted probabilities.
    pub predicted: f64,
    /// The share of them that is positive.
    pub observed: f64,
}

/// The reliability curve (DeGroot & Fienberg, *The Comparison and Evaluation of Forecasters*, The Statistician 1983)
/// over at most `bins` bins of equally many rows, by rising prediction.
///
/// Equally many, not equally wide: where positives are rare, nearly all predictions lie close to 0. Rows with the same
/// prediction share a bin, since no order among them means anything; so bins may differ in rows by more than one, or be
/// fewer. Nothing without rows, or with a probability that is not a number. A label is positive unless 0.
pub fn reliability(probabilities: &[f64], labels: &[u8], bins: usize) -> Vec<ReliabilityBin> {
    let rows = probabilities.len();
    let mut sorted: Vec<(f64, u8)> = probabilities.iter().copied().zip(labels.iter().copied()).collect();
    if sorted.iter().any(|(p, _)| p.is_nan()) {
        return Vec::new();
    }
    sorted.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut curve = Vec::with_capacity(bins);
    let (mut bin, mut done) = (Bin::default(), 0);
    // The bin being filled ends with the first tie that reaches its share of the rows.
    let mut number = 1;
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        tied.iter().for_each(|&(p, label)| bin.add(p, label));
        done += tied.len();
        if done * bins >= rows * number {
            number = done * bins / rows + 1;
            curve.push(std::mem::take(&mut bin).point());
        }
    }
    curve
}

/// Rows that are looked at together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bin {
    rows: usize,
    /// Of the predicted probabilities.
    pub(super) sum: f64,
    pub(super) positives: u64,
}

impl Bin {
    pub(super) fn add(&mut self, probability: f64, label: u8) {
        self.rows += 1;
        self.sum += probability;
        self.positives += u64::from(label != 0);
    }

    fn point(self) -> ReliabilityBin {
        let rows = self.rows as f64;
        ReliabilityBin { rows: self.rows, predicted: self.sum / rows, observed: self.positives as f64 / rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(rows: usize, predicted: f64, observed: f64) -> ReliabilityBin {
        ReliabilityBin { rows, predicted, observed }
    }

    #[test]
    fn hand_worked() {
        let probabilities = [0.5, 0.125, 0.75, 0.25, 0.875, 0.0];
        let labels = [1, 0, 0, 1, 1, 0];
        let halves = [point(3, 0.125, 1.0 / 3.0), point(3, 2.125 / 3.0, 2.0 / 3.0)];
        assert_eq!(reliability(&probabilities, &labels, 2), halves);
        // quarters of six rows end at 2, 3, 5, 6
        let rows: Vec<usize> = reliability(&probabilities, &labels, 4).iter().map(|bin| bin.rows).collect();
        assert_eq!(rows, [2, 1, 2, 1]);
        assert_eq!(reliability(&probabilities, &labels, 15).len(), 6);
        assert_eq!(reliability(&[], &[], 15), []);
        assert_eq!(reliability(&[0.5, f64::NAN], &[0, 1], 15), []);
    }

    #[test]
    fn the_order_of_rows_with_the_same_prediction_does_not_matter() {
        let one = reliability(&[0.5, 0.5, 0.5, 0.5, 0.9], &[0, 0, 1, 1, 1], 5);
        assert_eq!(one, [point(4, 0.5, 0.5), point(1, 0.9, 1.0)]);
        assert_eq!(reliability(&[0.5, 0.9, 0.5, 0.5, 0.5], &[1, 1, 1, 0, 0], 5), one);
    }

    proptest! {
        #[test]
        fn no_row_is_lost_and_bins_hold_equally_many(
            rows in prop::collection::vec((0u16..2000, prop::bool::ANY), 0..100),
            bins in 1usize..20,
        ) {
            let probabilities: Vec<f64> = rows.iter().map(|row| f64::from(row.0) / 2000.0).collect();
            let labels: Vec<u8> = rows.iter().map(|row| u8::from(row.1)).collect();
            let curve = reliability(&probabilities, &labels, bins);
            prop_assert!(curve.len() <= bins && curve.is_sorted_by(|a, b| a.predicted < b.predicted));
            prop_assert_eq!(curve.iter().map(|bin| bin.rows).sum::<usize>(), rows.len());
            let positives: f64 = curve.iter().map(|bin| bin.observed * bin.rows as f64).sum();
            prop_assert!((positives - rows.iter().filter(|row| row.1).count() as f64).abs() < 1e-9);
            let sum: f64 = curve.iter().map(|bin| bin.predicted * bin.rows as f64).sum();
            prop_assert!((sum - probabilities.iter().sum::<f64>()).abs() < 1e-9);
            let mut distinct: Vec<u16> = rows.iter().map(|row| row.0).collect();
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() == rows.len() {
                let share = rows.len() as f64 / bins as f64;
                prop_assert_eq!(curve.len(), bins.min(rows.len()));
                prop_assert!(curve.iter().all(|bin| (bin.rows as f64 - share).abs() < 1.0));
            }
        }
    }
}
