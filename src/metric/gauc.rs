//! The area under the ROC curve by group.

use rayon::slice::ParallelSliceMut;

use super::auc::of_sorted;
use super::ranking::keys;

/// The mean over groups (searches, users) of the [AUC](fn@super::auc) within each, weighted by its rows, and how many
/// groups count: only those with a positive and a negative row do, the others define no area.
///
/// Zhu et al., *Optimized Cost per Click in Taobao Display Advertising*, KDD 2017; with rows as weights in Zhou et al.,
/// *Deep Interest Network*, KDD 2018. It asks whether a model orders what one search or user saw, and gives nothing for
/// telling active users from others. `groups` has one number a row, in any order. `None` where no group counts, or with
/// a score that is not a number.
pub fn gauc(scores: &[f32], labels: &[u8], groups: &[i64]) -> Option<(f64, usize)> {
    let mut rows: Vec<(i64, u64)> = groups.iter().copied().zip(keys(scores, labels)?).collect();
    rows.par_sort_unstable();
    let (mut sum, mut weight, mut counted) = (0.0, 0.0, 0);
    let mut of_group = Vec::new();
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        of_group.clear();
        of_group.extend(group.iter().map(|(_, key)| *key));
        if let Some(area) = of_sorted(&of_group) {
            let rows = group.len() as f64;
            sum += rows * area;
            weight += rows;
            counted += 1;
        }
    }
    (counted > 0).then(|| (sum / weight, counted))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hand_worked() {
        // Group 7 orders 3 of its 4 pairs rightly, group −1 its only one, and group 3 has clicks only:
        // (4 · 3/4 + 2 · 1) / 6.
        let scores = [0.1, 9.0, 0.4, 0.35, 5.0, 8.0, 0.8, 9.0];
        let labels = [0, 1, 0, 1, 0, 1, 1, 1];
        let groups = [7, 3, 7, 7, -1, -1, 7, 3];
        assert_eq!(gauc(&scores, &labels, &groups), Some((5.0 / 6.0, 2)));
    }

    #[test]
    fn what_tells_groups_apart_counts_for_nothing() {
        // Every row of group 1 scores above every row of group 0, where there are no clicks: the AUC is high, and no
        // pair within a group is ordered rightly.
        let (scores, labels) = ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 0]);
        assert_eq!(super::super::auc(&scores, &labels), Some(2.0 / 3.0));
        assert_eq!(gauc(&scores, &labels, &[0, 0, 1, 1]), Some((0.0, 1)));
    }

    #[test]
    fn undefined_without_a_group_of_both_classes() {
        assert_eq!(gauc(&[], &[], &[]), None);
        assert_eq!(gauc(&[0.1, 0.2, 0.3], &[0, 1, 1], &[1, 2, 2]), None);
        assert_eq!(gauc(&[0.1, f32::NAN, 0.3], &[0, 1, 1], &[1, 1, 1]), None);
    }

    proptest! {
        #[test]
        fn agrees_with_counting_the_pairs_of_each_group(
            rows in prop::collection::vec((-3i8..3, prop::bool::ANY, -2i64..3), 0..60),
        ) {
            let mut by_group: BTreeMap<i64, Vec<(i8, bool)>> = BTreeMap::new();
            for &(score, label, group) in &rows {
                by_group.entry(group).or_default().push((score, label));
            }
            let (mut sum, mut weight, mut counted) = (0.0, 0.0, 0);
            for group in by_group.values() {
                let of = |wanted: bool| group.iter().filter(move |row| row.1 == wanted).map(|row| row.0);
                let pairs = of(true).count() * of(false).count();
                if pairs > 0 {
                    let won = |p: i8, n: i8| if p > n { 1.0 } else { f64::from(u8::from(p == n)) / 2.0 };
                    let right: f64 = of(true).flat_map(|p| of(false).map(move |n| won(p, n))).sum();
                    sum += group.len() as f64 * right / pairs as f64;
                    weight += group.len() as f64;
                    counted += 1;
                }
            }
            let scores: Vec<f32> = rows.iter().map(|row| f32::from(row.0)).collect();
            let labels: Vec<u8> = rows.iter().map(|row| u8::from(row.1)).collect();
            let groups: Vec<i64> = rows.iter().map(|row| row.2).collect();
            match gauc(&scores, &labels, &groups) {
                Some((value, groups)) => {
                    prop_assert_eq!(groups, counted);
                    prop_assert!((value - sum / weight).abs() < 1e-12);
                }
                None => prop_assert_eq!(counted, 0),
            }
        }
    }
}
