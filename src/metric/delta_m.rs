//! The mean relative gain over a reference.

use super::Better;

/// What a model came to and what a reference did, in one metric of one task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Which way the metric is better.
    pub better: Better,
    /// The model's value.
    pub own: f64,
    /// The reference's value, usually that of single-task learning.
    pub reference: f64,
}

/// Δm: the mean over tasks of the relative gain over the reference, in percent, better being positive.
///
/// `100/K · Σₖ (−1)^lₖ (Mₖ − Rₖ)/Rₖ` with lₖ = 1 where lower is better (Maninis, Radosavovic & Kokkinos, *Attentive
/// Single-Tasking of Multiple Tasks*, CVPR 2019; Vandenhende et al., *Multi-Task Learning for Dense Prediction Tasks: A
/// Survey*, TPAMI 2021). Many papers print the same with the sign turned, as a relative drop. Where the value nearest
/// to a best one is better, M and R are distances from it, and lower is better. `None` without tasks, and where a
/// reference is 0: nothing is relative to that.
pub fn delta_m(tasks: impl IntoIterator<Item = Compared>) -> Option<f64> {
    let gain = |Compared { better, own, reference }: Compared| {
        let scale = match better {
            Better::Higher | Better::Lower => reference,
            Better::Near(best) => (reference - best).abs(),
        };
        (scale != 0.0).then(|| 100.0 * (better.merit(own) - better.merit(reference)) / scale)
    };
    let gains = tasks.into_iter().map(gain).collect::<Option<Vec<f64>>>()?;
    (!gains.is_empty()).then(|| gains.iter().sum::<f64>() / gains.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NYU-v2 as Navon et al. (*Multi-Task Learning as a Bargaining Game*, ICML 2022) and Liu et al. (*FAMO*, NeurIPS
    /// 2023) print it: mIoU, pixel accuracy, absolute and relative depth error, mean and median angle, shares within
    /// 11.25°, 22.5° and 30°; Δm% 5.59 for linear scalarisation and −4.10 for FAMO, as a drop.
    #[test]
    fn the_published_figures_come_out() {
        use Better::{Higher, Lower};
        let better = [Higher, Higher, Lower, Lower, Lower, Lower, Higher, Higher, Higher];
        let single_task = [38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15];
        let drop = |own: [f64; 9]| {
            let task = |at: usize| Compared { better: better[at], own: own[at], reference: single_task[at] };
            -delta_m((0..9).map(task)).unwrap()
        };
        let linear = drop([39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08]);
        let famo = drop([38.88, 64.90, 0.5474, 0.2194, 25.06, 19.57, 29.21, 56.61, 68.98]);
        assert!((linear - 5.59).abs() < 0.005 && (famo + 4.10).abs() < 0.005, "{linear} {famo}");
        assert_eq!(drop(single_task), 0.0);
    }

    #[test]
    fn near_is_by_the_distance() {
        let near = |own, reference| delta_m([Compared { better: Better::Near(1.0), own, reference }]);
        assert_eq!(near(1.25, 0.5), Some(50.0));
        assert_eq!(near(0.0, 1.5), Some(-100.0));
        assert_eq!(near(1.0, 0.5), Some(100.0));
        assert_eq!(near(1.1, 1.0), None);
    }

    #[test]
    fn undefined_without_tasks_or_a_reference() {
        assert_eq!(delta_m([]), None);
        assert_eq!(delta_m([Compared { better: Better::Higher, own: 1.0, reference: 0.0 }]), None);
    }
}
