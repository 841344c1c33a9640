//! Binary cross-entropy.

/// The mean over the rows of `−ln p(label)`, in nats, from logits; `None` without rows.
///
/// Taken from the logit rather than the probability, and in f64, it neither overflows nor rounds to infinity. A model
/// that gives logarithms of probabilities converts by `logit = ln p − ln(1 − p)`. A label is positive unless 0.
pub fn log_loss(logits: &[f32], labels: &[u8]) -> Option<f64> {
    mean(logits.iter().zip(labels).map(|(&logit, &label)| {
        // −ln σ(x) = ln(1 + e^(−x)), with the sign of x turned for a negative row.
        let against = if label != 0 { -f64::from(logit) } else { f64::from(logit) };
        against.max(0.0) + (-against.abs()).exp().ln_1p()
    }))
}

/// The same from probabilities of a positive label; infinite when a row has what is said to be impossible.
pub fn log_loss_of_probabilities(probabilities: &[f32], labels: &[u8]) -> Option<f64> {
    mean(probabilities.iter().zip(labels).map(|(&p, &label)| {
        let p = f64::from(p);
        if label != 0 { -p.ln() } else { -(-p).ln_1p() }
    }))
}

fn mean(losses: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let rows = losses.len();
    (rows > 0).then(|| losses.sum::<f64>() / rows as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(log_loss(&[0.0], &[1]), Some(2f64.ln()));
        assert!((log_loss(&[2.0, -1.0], &[1, 0]).unwrap() - 0.220_094_8).abs() < 1e-7);
        assert_eq!(log_loss(&[], &[]), None);
        assert_eq!(log_loss_of_probabilities(&[], &[]), None);
    }

    #[test]
    fn large_logits_stay_finite() {
        assert_eq!(log_loss(&[1e4, -1e4], &[1, 0]), Some(0.0));
        assert_eq!(log_loss(&[1e4, -1e4], &[0, 1]), Some(1e4));
        assert_eq!(log_loss_of_probabilities(&[1.0, 0.0], &[1, 0]), Some(0.0));
        assert_eq!(log_loss_of_probabilities(&[1.0], &[0]), Some(f64::INFINITY));
    }

    proptest! {
        #[test]
        fn logits_and_probabilities_agree(logits in prop::collection::vec(-8f32..8.0, 1..50), seed in 0usize..7) {
            let labels: Vec<u8> = (0..logits.len()).map(|i| ((i + seed) % 3 == 0).into()).collect();
            let probabilities: Vec<f32> = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
            let (a, b) = (log_loss(&logits, &labels).unwrap(), log_loss_of_probabilities(&probabilities, &labels).unwrap());
            prop_assert!((a - b).abs() < 1e-3 * (1.0 + a), "{a} {b}");
        }
    }
}
