//! The small problems on which METHODS gives every balancer's numbers, and what tests need to run one on them.

use super::driver::{Answer, Rates};
use super::gram::Gram;
use super::{Build, Coefficients, Method, Step};

/// The task gradients of the steps on which METHODS gives the updates of balancers that own them.
pub(super) const SEQUENCE: [[[f64; 2]; 2]; 3] =
    [[[1.0, 10.0], [2.0, -4.0]], [[1.0, 10.0], [-1.0, -4.0]], [[0.5, 8.0], [2.0, -2.0]]];

/// Adam's usual numbers.
pub(super) fn rates(lr: f64) -> Rates {
    Rates { lr, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
}

/// A driver of which only the answers matter.
pub(super) struct Driver(super::driver::Driver);

impl Driver {
    pub fn of(balancer: &impl Build, width: usize) -> Self {
        let method = balancer.build(2).unwrap();
        Self(super::driver::Driver::new(method, rates(0.0), vec![0.0; width], 1))
    }

    pub fn step(&mut self, losses: &[f64], gradients: &[Vec<f64>]) -> Answer {
        self.0.step(0, losses, &[gradients.to_vec()])
    }
}

/// K affine losses `c_k + g_k · θ + φ_k` at 0.
pub(super) struct Example {
    pub gradients: Vec<Vec<f64>>,
    pub gram: Gram,
    pub losses: Vec<f64>,
}

fn example(gradients: &[&[f64]], losses: &[f64]) -> Example {
    let gradients: Vec<Vec<f64>> = gradients.iter().map(|g| g.to_vec()).collect();
    Example { gram: Gram::from_gradients(&gradients).unwrap(), gradients, losses: losses.to_vec() }
}

/// EX-A: two conflicting tasks.
pub(super) fn ex_a() -> Example {
    example(&[&[2.0, 0.0], &[-1.0, 2.0]], &[0.5, 0.125])
}

/// EX-B: three tasks.
pub(super) fn ex_b() -> Example {
    example(&[&[2.0, 0.0, 1.0], &[-1.0, 1.0, 0.0], &[0.0, -1.0, 1.0]], &[0.5, 0.25, 0.125])
}

/// EX-T: TorchJD's own test matrix.
pub(super) fn ex_t() -> Example {
    example(&[&[-4.0, 1.0, 1.0], &[6.0, 1.0, 1.0]], &[1.0, 1.0])
}

impl Example {
    /// The step at which the example's losses were measured.
    pub fn step(&self, index: u64) -> Step<'_> {
        Step { index, epoch: 0, seed: 1, losses: &self.losses }
    }

    /// A balancer on this example's gradients.
    pub fn driver(&self, balancer: &impl Build) -> Driver {
        let method = balancer.build(self.losses.len()).unwrap();
        Driver(super::driver::Driver::new(method, rates(0.0), vec![0.0; self.gradients[0].len()], 1))
    }

    /// The combined shared gradient, clipped if the balancer wants it.
    pub fn combined(&self, coefficients: &Coefficients) -> Vec<f64> {
        let factor = coefficients.clip_factor(self.gram.quadratic(&coefficients.shared).sqrt());
        self.combine(&coefficients.shared).iter().map(|x| factor * x).collect()
    }

    /// `Σ w_k g_k`.
    pub fn combine(&self, weights: &[f64]) -> Vec<f64> {
        let width = self.gradients[0].len();
        (0..width).map(|p| self.gradients.iter().zip(weights).map(|(g, w)| w * g[p]).sum()).collect()
    }

    /// The first weights of a loss balancer on this example.
    pub fn weights(&self, balancer: &impl Build) -> Vec<f64> {
        let Ok(Method::Loss(mut method)) = balancer.build(self.losses.len()) else { panic!("a loss balancer") };
        method.weights(&self.step(0))
    }

    /// The first coefficients of a Gram balancer on this example.
    pub fn coefficients(&self, balancer: &impl Build) -> Coefficients {
        let Ok(Method::Gram(mut method)) = balancer.build(self.losses.len()) else { panic!("a Gram balancer") };
        method.coefficients(&self.step(0), &self.gram)
    }
}

/// Fails unless all entries agree to within `tolerance`.
#[track_caller]
pub(super) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    let close = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
    assert!(close, "found {found:?}, expected {expected:?}");
}

/// Fails unless `weights` are the derivatives of `total` at `losses`.
#[track_caller]
pub(super) fn assert_derivatives(total: impl Fn(&[f64]) -> f64, losses: &[f64], weights: &[f64]) {
    for k in 0..losses.len() {
        let h = 1e-6 * losses[k];
        let at = |shift: f64| {
            let mut shifted = losses.to_vec();
            shifted[k] += shift;
            total(&shifted)
        };
        let slope = (at(h) - at(-h)) / (2.0 * h);
        assert!((slope - weights[k]).abs() < 1e-6 * (1.0 + slope.abs()), "task {k}: {slope} against {weights:?}");
    }
}
