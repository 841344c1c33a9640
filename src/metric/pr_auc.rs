//! The area under the precision-recall curve.

use rayon::slice::ParallelSliceMut;

use super::ranking::{keys, ties};

/// The average precision: Σ (Rₙ − Rₙ₋₁) Pₙ over the thresholds from the highest score down, where Rₙ is the share of
/// the positive rows at or above the threshold and Pₙ the share of positive rows among those. Rows with the same score
/// pass one threshold together.
///
/// The steps, not the trapezoids: straight lines between two points of a precision-recall curve are too optimistic
/// (Davis & Goadrich, *The Relationship between Precision-Recall and ROC Curves*, ICML 2006). Where positives are rare
/// it tells models apart that [AUC](fn@super::auc) holds for equal; a random score gets the share of positives. `None`
/// without a positive row, or with a score that is not a number. A label is positive unless 0.
pub fn pr_auc(scores: &[f32], labels: &[u8]) -> Option<f64> {
    let mut keys = keys(scores, labels)?;
    keys.par_sort_unstable();
    let (mut above, mut positives) = (0u64, 0u64);
    // Σ (positives at this threshold) · Pₙ, which is the area times all positives.
    let mut area = 0.0;
    for (rows, here) in ties(&keys).rev() {
        above += rows;
        positives += here;
        area += here as f64 * positives as f64 / above as f64;
    }
    (positives > 0).then(|| area / positives as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of scikit-learn's `average_precision_score`, which prints 0.83: 1/2 · 1 + 1/2 · 2/3.
    #[test]
    fn the_example_of_scikit_learn() {
        assert!((pr_auc(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1]).unwrap() - 5.0 / 6.0).abs() < 1e-15);
    }

    /// Relevant documents at ranks 1, 3, 6, 9, 10 of ten: the mean of 1/1, 2/3, 3/6, 4/9, 5/10, which Manning, Raghavan
    /// & Schütze's definition (*Introduction to Information Retrieval*, 2008, §8.4) makes 0.6222.
    #[test]
    fn a_ranking_without_ties() {
        let scores: Vec<f32> = (0..10).map(|rank| -(rank as f32)).collect();
        let labels = [1, 0, 1, 0, 0, 1, 0, 0, 1, 1];
        assert!((pr_auc(&scores, &labels).unwrap() - 0.622_222_222).abs() < 1e-9);
    }

    #[test]
    fn ties_pass_one_threshold() {
        // whatever the order of the rows, a constant score gets the share of positives
        assert_eq!(pr_auc(&[0.5; 4], &[1, 0, 0, 0]), Some(0.25));
        assert_eq!(pr_auc(&[0.5; 4], &[0, 0, 0, 1]), Some(0.25));
        assert_eq!(pr_auc(&[0.0, -0.0], &[0, 1]), Some(0.5));
    }

    #[test]
    fn undefined_without_positives() {
        assert_eq!(pr_auc(&[], &[]), None);
        assert_eq!(pr_auc(&[0.1, 0.2], &[0, 0]), None);
        assert_eq!(pr_auc(&[0.1, f32::NAN], &[0, 1]), None);
        assert_eq!(pr_auc(&[0.1, 0.2], &[1, 1]), Some(1.0));
    }

    proptest! {
        #[test]
        fn agrees_with_counting_at_every_threshold(
            rows in prop::collection::vec((-6i8..6, prop::bool::ANY), 0..80),
        ) {
            let mut thresholds: Vec<i8> = rows.iter().map(|row| row.0).collect();
            thresholds.sort_unstable();
            thresholds.dedup();
            let all = rows.iter().filter(|row| row.1).count() as f64;
            let (mut area, mut recall) = (0.0, 0.0);
            for &threshold in thresholds.iter().rev() {
                let above = rows.iter().filter(|row| row.0 >= threshold).count() as f64;
                let right = rows.iter().filter(|row| row.0 >= threshold && row.1).count() as f64;
                area += (right / all - recall) * right / above;
                recall = right / all;
            }
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.0)).collect();
            let labels: Vec<u8> = rows.iter().map(|row| u8::from(row.1)).collect();
            match pr_auc(&scores, &labels) {
                Some(value) => prop_assert!((value - area).abs() < 1e-12, "{value} {area}"),
                None => prop_assert_eq!(all, 0.0),
            }
        }
    }
}
