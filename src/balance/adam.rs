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
        self.steps = self.steps.saturating_add(1);
        let unbias_first = 1.0 - BETAS.0.powf(f64::from(self.steps));
        let unbias_second = 1.0 - BETAS.1.powf(f64::from(self.steps));
        for (i, x) in x.iter_mut().enumerate() {
            let gradient = gradient[i] + weight_decay * *x;
            self.first[i] = BETAS.0 * self.first[i] + (1.0 - BETAS.0) * gradient;
            self.second[i] = BETAS.1 * self.second[i] + (1.0 - BETAS.1) * gradient * gradient;
            *x -= lr * (self.first[i] / unbias_first) / ((self.second[i] / unbias_second).sqrt() + EPS);
        }
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
