//! Adam over the K numbers that some balancers train beside the model.

use serde::{Deserialize, Serialize};

const BETAS: (f64, f64) = (0.9, 0.999);
const EPS: f64 = 1e-8;

/// Adam's moments of K numbers (Kingma & Ba, ICLR 2015), in f64 and with PyTorch's defaults and coupled weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Adam {
    steps: u32,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    pub(super) fn new(numbers: usize) -> Self {
        Self { steps: 0, first: vec![0.0; numbers], second: vec![0.0; numbers] }
    }

    /// How many numbers it moves.
    pub(super) fn numbers(&self) -> usize {
        if self.first.len() == self.second.len() { self.first.len() } else { 0 }
    }

    /// One descent step of `x` along `gradient + weight_decay · x`.
    pub(super) fn step(&mut self, x: &mut [f64], gradient: &[f64], lr: f64, weight_decay: f64) {
        let gradient: Vec<f64> = gradient.iter().zip(&*x).map(|(g, x)| g + weight_decay * x).collect();
        self.take(&gradient, BETAS);
        x.iter_mut().zip(self.direction(BETAS, EPS)).for_each(|(x, d)| *x -= lr * d);
    }

    /// Moves the moments.
    pub(super) fn take(&mut self, gradient: &[f64], (beta1, beta2): (f64, f64)) {
        self.steps = self.steps.saturating_add(1);
        for ((m, v), g) in self.first.iter_mut().zip(&mut self.second).zip(gradient) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
        }
    }

    /// `(m/c₁)/(√(v/c₂) + ε)`, the update at a learning rate of 1.
    pub(super) fn direction(&self, betas: (f64, f64), eps: f64) -> Vec<f64> {
        let (c1, c2) = self.corrections(betas);
        self.first.iter().zip(&self.second).map(|(m, v)| (m / c1) / ((v / c2).sqrt() + eps)).collect()
    }

    /// `(m/c₁)/((√v + ε)/√c₂)`: the same with the addend before the correction.
    pub(super) fn direction_uncorrected_eps(&self, betas: (f64, f64), eps: f64) -> Vec<f64> {
        let (c1, c2) = self.corrections(betas);
        self.first.iter().zip(&self.second).map(|(m, v)| (m / c1) / ((v.sqrt() + eps) / c2.sqrt())).collect()
    }

    /// The bias corrections `1 − β₁ᵗ` and `1 − β₂ᵗ`.
    fn corrections(&self, (beta1, beta2): (f64, f64)) -> (f64, f64) {
        let t = f64::from(self.steps);
        (1.0 - beta1.powf(t), 1.0 - beta2.powf(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::assert_close;

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let mut x = [1.0, -2.0, 0.5];
        Adam::new(3).step(&mut x, &[3.0, -0.001, 0.0], 0.1, 0.0);
        assert_close(&x, &[0.9, -1.9, 0.5], 1e-5);
    }

    #[test]
    fn weight_decay_is_coupled() {
        let mut x = [1.0];
        Adam::new(1).step(&mut x, &[0.0], 0.1, 0.01);
        assert_close(&x, &[0.9], 1e-5);
    }
}
