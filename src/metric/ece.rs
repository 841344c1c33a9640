//! Expected calibration error.

use super::reliability::Bin;

/// Bins of the expected calibration error and of the reliability curve, as in Guo et al. (2017).
pub const CALIBRATION_BINS: usize = 15;

/// The mean over the rows of `|observed − predicted|` of the bin a row falls in: `bins` bins of equal width, where
/// predicted is the mean probability of a bin's rows and observed its share of positive rows.
///
/// Naeini, Cooper & Hauskrecht, *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, AAAI 2015, for two
/// classes; bins are open below and closed above, as in Guo et al., *On Calibration of Modern Neural Networks*, ICML
/// 2017 (0 is in the first). The metric takes [`CALIBRATION_BINS`]. Where positives are rare, nearly all rows fall in
/// the first bin: then look at the [reliability curve](fn@super::reliability) too, whose bins hold equally many. `None`
/// without rows, or with a probability that is not a number. A label is positive unless 0.
pub fn ece(probabilities: &[f64], labels: &[u8], bins: usize) -> Option<f64> {
    if probabilities.is_empty() || probabilities.iter().any(|p| p.is_nan()) {
        return None;
    }
    let mut all = vec![Bin::default(); bins];
    for (&p, &label) in probabilities.iter().zip(labels) {
        let bin = ((p * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        all[bin].add(p, label);
    }
    let off: f64 = all.iter().map(|bin| (bin.positives as f64 - bin.sum).abs()).sum();
    Some(off / probabilities.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of torchmetrics' `BinaryCalibrationError(n_bins=2, norm='l1')`, which prints 0.2900.
    #[test]
    fn the_example_of_torchmetrics() {
        let error = ece(&[0.25, 0.25, 0.55, 0.75, 0.75], &[0, 0, 1, 1, 1], 2).unwrap();
        assert!((error - 0.29).abs() < 1e-12, "{error}");
    }

    /// The example of scikit-learn's `calibration_curve(n_bins=3)`: observed 0, 0.5, 1 and predicted 0.2, 0.525, 0.85,
    /// of three, two and four rows.
    #[test]
    fn the_curve_of_scikit_learn() {
        let predicted = [0.1, 0.2, 0.3, 0.4, 0.65, 0.7, 0.8, 0.9, 1.0];
        let error = ece(&predicted, &[0, 0, 0, 0, 1, 1, 1, 1, 1], 3).unwrap();
        assert!((error - (3.0 * 0.2 + 2.0 * 0.025 + 4.0 * 0.15) / 9.0).abs() < 1e-12, "{error}");
    }

    #[test]
    fn certain_and_right_is_nought() {
        assert_eq!(ece(&[0.0, 1.0, 1.0], &[0, 1, 1], CALIBRATION_BINS), Some(0.0));
        assert_eq!(ece(&[0.0, 1.0, 1.0, 0.0], &[1, 0, 0, 1], CALIBRATION_BINS), Some(1.0));
        // a bin is closed above: 0.2 falls with 0.15 in the third of fifteen, not with 0.21 in the fourth
        assert!((ece(&[0.15, 0.2, 0.21], &[0, 1, 0], CALIBRATION_BINS).unwrap() - (0.65 + 0.21) / 3.0).abs() < 1e-12);
        assert_eq!(ece(&[], &[], CALIBRATION_BINS), None);
        assert_eq!(ece(&[0.5, f64::NAN], &[0, 1], CALIBRATION_BINS), None);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            rows in prop::collection::vec((0.0f64..=1.0, prop::bool::ANY), 1..80),
            bins in 1usize..20,
        ) {
            let mut error = 0.0;
            for bin in 0..bins {
                let (low, high) = (bin as f64 / bins as f64, (bin + 1) as f64 / bins as f64);
                let within = |p: f64| p <= high && (p > low || bin == 0);
                let here: Vec<_> = rows.iter().filter(|row| within(row.0)).collect();
                if !here.is_empty() {
                    let count = here.len() as f64;
                    let predicted = here.iter().map(|row| row.0).sum::<f64>() / count;
                    let observed = here.iter().filter(|row| row.1).count() as f64 / count;
                    error += count / rows.len() as f64 * (observed - predicted).abs();
                }
            }
            let probabilities: Vec<f64> = rows.iter().map(|row| row.0).collect();
            let labels: Vec<u8> = rows.iter().map(|row| u8::from(row.1)).collect();
            let found = ece(&probabilities, &labels, bins).unwrap();
            prop_assert!((found - error).abs() < 1e-12, "{found} {error}");
        }
    }
}
