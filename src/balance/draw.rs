//! The balancers' own randomness: a function of the step alone, so that nothing of it needs saving.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Step;

/// The generator of one step.
pub(super) fn generator(step: &Step) -> ChaCha8Rng {
    let mut key = [0; 32];
    // Keeps these draws apart from those that others make with the same seed.
    key[..8].copy_from_slice(b"balancer");
    key[8..16].copy_from_slice(&step.seed.to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(step.index);
    generator
}

/// A standard normal number (Box & Muller 1958).
pub(super) fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * generator.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(index: u64, seed: u64) -> Step<'static> {
        Step { index, epoch: 0, seed, losses: &[] }
    }

    #[test]
    fn draws_follow_seed_and_step_alone() {
        let draw = |index, seed| normal(&mut generator(&step(index, seed)));
        assert_eq!(draw(3, 7), draw(3, 7));
        assert_ne!(draw(3, 7), draw(4, 7));
        assert_ne!(draw(3, 7), draw(3, 8));
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut generator = generator(&step(0, 1));
        let draws: Vec<f64> = (0..20_000).map(|_| normal(&mut generator)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
