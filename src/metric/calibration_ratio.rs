//! The ratio of predicted to observed positives.

/// The sum of the predicted probabilities over the number of positive rows: 1 is best, above it the model promises too
/// much, below too little.
///
/// The "calibration" of He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, ADKDD 2014: the mean
/// estimated CTR over the empirical CTR. `None` without a positive row, or with a probability that is not a number. A
/// label is positive unless 0.
pub fn calibration_ratio(probabilities: &[f64], labels: &[u8]) -> Option<f64> {
    let observed = labels.iter().filter(|label| **label != 0).count();
    let predicted: f64 = probabilities.iter().sum();
    (observed > 0 && !predicted.is_nan()).then(|| predicted / observed as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked() {
        assert_eq!(calibration_ratio(&[0.5, 0.25, 0.25, 0.5], &[1, 0, 0, 0]), Some(1.5));
        assert_eq!(calibration_ratio(&[0.5, 0.25, 0.0, 0.25], &[1, 0, 1, 0]), Some(0.5));
        // the base rate is calibrated
        assert_eq!(calibration_ratio(&[0.25; 4], &[0, 0, 1, 0]), Some(1.0));
    }

    #[test]
    fn undefined_without_positives() {
        assert_eq!(calibration_ratio(&[], &[]), None);
        assert_eq!(calibration_ratio(&[0.5, 0.5], &[0, 0]), None);
        assert_eq!(calibration_ratio(&[0.5, f64::NAN], &[0, 1]), None);
    }
}
