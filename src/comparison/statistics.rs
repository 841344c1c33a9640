//! Means, spreads, and whether a difference counts.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Some numbers of one kind: a metric over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n − 1; none of a single number.
    pub deviation: Option<f64>,
    /// How many they are.
    pub n: usize,
}

impl Sample {
    /// Of these numbers; `None` without any.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let n = numbers.len();
        if n == 0 {
            return None;
        }
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { mean, deviation, n })
    }
}

/// By how much paired numbers differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The mean difference, first minus second.
    pub mean: f64,
    /// The bounds of its confidence interval by Student's t distribution; none of a single pair.
    pub interval: Option<(f64, f64)>,
}

impl Difference {
    /// Of these pairs, with an interval that covers the true difference with a probability of 1 − `level`; `None` without
    /// any pair. The interval leaves zero out exactly where [`paired_t_test`] finds p < `level`.
    pub fn of(pairs: &[(f64, f64)], level: f64) -> Option<Self> {
        let Sample { mean, deviation, n } = Sample::of(&differences(pairs))?;
        let interval = deviation.and_then(|deviation| {
            let student = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
            let half = student.inverse_cdf(1.0 - level / 2.0) * deviation / (n as f64).sqrt();
            Some((mean - half, mean + half))
        });
        Some(Self { mean, interval })
    }
}

/// The two-sided p value of Student's t-test on paired numbers: how likely a mean difference at least this large is when
/// there is none. `None` with fewer than two pairs.
pub fn paired_t_test(pairs: &[(f64, f64)]) -> Option<f64> {
    let Sample { mean, deviation, n } = Sample::of(&differences(pairs))?;
    let error = deviation? / (n as f64).sqrt();
    if error == 0.0 {
        return Some(if mean == 0.0 { 1.0 } else { 0.0 });
    }
    let student = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
    Some(2.0 * student.cdf(-(mean / error).abs()))
}

fn differences(pairs: &[(f64, f64)]) -> Vec<f64> {
    pairs.iter().map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_are_the_usual_ones() {
        let sample = Sample::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((sample.mean, sample.n), (5.0, 8));
        assert!((sample.deviation.unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(Sample::of(&[3.0]), Some(Sample { mean: 3.0, deviation: None, n: 1 }));
        assert_eq!(Sample::of(&[]), None);
    }

    /// Student's own sleep data (1908).
    fn sleep() -> Vec<(f64, f64)> {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        first.into_iter().zip(second).collect()
    }

    /// t = −4.0621 with 9 degrees of freedom, p = 0.002833.
    #[test]
    fn the_paired_test_gives_the_textbook_value() {
        assert!((paired_t_test(&sleep()).unwrap() - 0.002_833).abs() < 1e-6);
        assert_eq!(paired_t_test(&[(1.0, 2.0)]), None);
        assert_eq!(paired_t_test(&[(1.0, 1.0), (2.0, 2.0)]), Some(1.0));
        assert_eq!(paired_t_test(&[(1.5, 1.0), (2.5, 2.0)]), Some(0.0));
    }

    /// R's `t.test(extra ~ group, paired = TRUE)`: a mean difference of −1.58, the 95 % interval from −2.4598858 to −0.7001142.
    #[test]
    fn the_interval_is_the_textbook_one() {
        let Difference { mean, interval: Some((low, high)) } = Difference::of(&sleep(), 0.05).unwrap() else {
            panic!("ten pairs have an interval");
        };
        assert!((mean + 1.58).abs() < 1e-12, "{mean}");
        assert!((low + 2.459_885_8).abs() < 1e-6 && (high + 0.700_114_2).abs() < 1e-6, "{low} {high}");
        assert_eq!(Difference::of(&[(1.0, 0.5)], 0.05), Some(Difference { mean: 0.5, interval: None }));
        assert_eq!(Difference::of(&[], 0.05), None);
    }
}
