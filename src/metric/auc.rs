//! The area under the ROC curve.

use rayon::slice::ParallelSliceMut;

use super::ranking::{keys, ties};

/// The share of the pairs of a positive and a negative row that the scores order rightly, ties counted half: exact.
///
/// Any monotone score does; logits are better than probabilities, which round to 1 in f32 from 17 on. `None` where the
/// area is undefined: without a positive or without a negative row, or with a score that is not a number. A label is
/// positive unless 0.
pub fn auc(scores: &[f32], labels: &[u8]) -> Option<f64> {
    let mut keys = keys(scores, labels)?;
    keys.par_sort_unstable();
    of_sorted(&keys)
}

/// The same from sorted keys.
pub(super) fn of_sorted(keys: &[u64]) -> Option<f64> {
    // Twice the number of pairs ordered rightly, a tie counting one.
    let mut twice: u128 = 0;
    let (mut positives, mut negatives) = (0u64, 0u64);
    for (rows, here) in ties(keys) {
        let negatives_here = rows - here;
        twice += u128::from(here) * u128::from(2 * negatives + negatives_here);
        positives += here;
        negatives += negatives_here;
    }
    let pairs = u128::from(positives) * u128::from(negatives);
    (pairs > 0).then(|| twice as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_cases() {
        assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1]), Some(0.75));
        assert_eq!(auc(&[-2.0, -1.0, 3.0], &[0, 0, 1]), Some(1.0));
        assert_eq!(auc(&[3.0, -1.0], &[0, 1]), Some(0.0));
        assert_eq!(auc(&[0.5; 5], &[0, 1, 0, 1, 1]), Some(0.5));
        assert_eq!(auc(&[0.0, -0.0], &[0, 1]), Some(0.5));
        assert_eq!(auc(&[f32::NEG_INFINITY, f32::INFINITY], &[0, 1]), Some(1.0));
    }

    #[test]
    fn undefined_is_not_a_half() {
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[0.1, 0.2], &[1, 1]), None);
        assert_eq!(auc(&[0.1, 0.2], &[0, 0]), None);
        assert_eq!(auc(&[0.1, f32::NAN], &[0, 1]), None);
    }

    proptest! {
        #[test]
        fn agrees_with_counting_all_pairs(
            rows in prop::collection::vec((prop_oneof![-3i8..3, Just(0)], prop::bool::ANY, -1e3f32..1e3), 0..80),
            coarse in prop::bool::ANY,
        ) {
            let scores: Vec<f32> = rows.iter().map(|row| if coarse { f32::from(row.0) / 2.0 } else { row.2 }).collect();
            let labels: Vec<u8> = rows.iter().map(|row| u8::from(row.1)).collect();
            let (mut twice, mut pairs) = (0u64, 0u64);
            for (p, _) in labels.iter().enumerate().filter(|(_, label)| **label == 1) {
                for (n, _) in labels.iter().enumerate().filter(|(_, label)| **label == 0) {
                    pairs += 1;
                    twice += if scores[p] > scores[n] { 2 } else { u64::from(scores[p] == scores[n]) };
                }
            }
            let expected = (pairs > 0).then(|| twice as f64 / (2 * pairs) as f64);
            prop_assert_eq!(auc(&scores, &labels), expected);
        }
    }
}
