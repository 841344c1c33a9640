//! Means, spreads, and whether a difference counts.

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

/// The two-sided p value of Student's t-test on paired numbers: how likely a mean difference at least this large is when
/// there is none. `None` with fewer than two pairs.
pub fn paired_t_test(pairs: &[(f64, f64)]) -> Option<f64> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let Sample { mean, deviation, n } = Sample::of(&differences)?;
    let error = deviation? / (n as f64).sqrt();
    if error == 0.0 {
        return Some(if mean == 0.0 { 1.0 } else { 0.0 });
    }
    let student = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
    Some(2.0 * student.cdf(-(mean / error).abs()))
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

    /// Student's own sleep data (1908): t = −4.0621 with 9 degrees of freedom, p = 0.002833.
    #[test]
    fn the_paired_test_gives_the_textbook_value() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let pairs: Vec<(f64, f64)> = first.into_iter().zip(second).collect();
        assert!((paired_t_test(&pairs).unwrap() - 0.002_833).abs() < 1e-6);
        assert_eq!(paired_t_test(&[(1.0, 2.0)]), None);
        assert_eq!(paired_t_test(&[(1.0, 1.0), (2.0, 2.0)]), Some(1.0));
        assert_eq!(paired_t_test(&[(1.5, 1.0), (2.5, 2.0)]), Some(0.0));
    }
}
