//! The softmax.

/// `exp(x_k) / Σ exp(x_j)`, without overflow.
pub(super) fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::assert_close;

    #[test]
    fn large_entries_do_not_overflow() {
        assert_close(&softmax(&[0.5, -0.5]), &[0.731_059, 0.268_941], 1e-6);
        assert_close(&softmax(&[1e4, 1e4, -1e4]), &[0.5, 0.5, 0.0], 1e-15);
    }
}
