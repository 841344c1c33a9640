//! Clippy: updates clipped by what they would do to the parameters.

use serde::{Deserialize, Serialize};

use crate::balance::{Balancer, Build, Method, UpdateBounds, hyper};
use crate::registry::Describe;

/// Shortens Adam's update of each parameter tensor until no coordinate moves by more than `rel·|θ_p| + abs`. Works on top
/// of any balancer of losses or of the Gram matrix. Weight decay is decoupled, and the moments are not clipped. Of an
/// embedding table only the rows of the batch bound the update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClippyAdam {
    /// The balancer that forms the gradient.
    pub of: Box<Balancer>,
    /// How far a coordinate may move, as a share of its size.
    pub rel: f64,
    /// How far it may move whatever its size.
    pub abs: f64,
}

impl Default for ClippyAdam {
    fn default() -> Self {
        Self { of: Box::default(), rel: 0.5, abs: 0.01 }
    }
}

impl Describe for ClippyAdam {
    const SUMMARY: &'static str = "Adam's update of each tensor, shortened until no coordinate jumps";
    const SOURCE: &'static str = "Tang et al., KDD 2023";
}

impl Build for ClippyAdam {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::not_negative("rel", self.rel)?;
        hyper::not_negative("abs", self.abs)?;
        if self.rel == 0.0 && self.abs == 0.0 {
            return Err("`rel` and `abs` must not both be 0: nothing would ever move".to_owned());
        }
        match self.of.build(tasks)? {
            of @ (Method::Loss(_) | Method::Gram(_)) => {
                Ok(Method::Clipped(Box::new(of), UpdateBounds { relative: self.rel, absolute: self.abs }))
            }
            _ => {
                Err(format!("`of` must be a balancer of losses or of the Gram matrix, `{}` is neither", self.of.name()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::driver::Driver;
    use crate::balance::examples::{SEQUENCE, assert_close, rates};

    fn driver(hyper: &ClippyAdam, theta: [f64; 2], lr: f64) -> Driver {
        Driver::new(hyper.build(2).unwrap(), rates(lr), theta.to_vec(), 1)
    }

    #[test]
    fn the_standard_sequences() {
        for (start, lr, expected) in [
            ([1.0, 1.0], 0.1, [[0.9, 0.9], [0.832_994, 0.8]]),
            ([0.01, 1.0], 0.1, [[-0.005, 0.985], [-0.0175, 0.966_345]]),
            ([0.0, 0.0], 0.1, [[-0.01, -0.01], [-0.020_051, -0.025]]),
            ([1.0, 1.0], 1.0, [[0.49, 0.49], [0.319_135, 0.235]]),
        ] {
            let mut driver = driver(&ClippyAdam::default(), start, lr);
            for (gradients, theta) in SEQUENCE.iter().zip(expected) {
                driver.step(0, &[1.0, 1.0], &[gradients.map(|g| g.to_vec()).to_vec()]);
                assert_close(driver.theta(), &theta, 2e-6);
            }
        }
    }

    #[test]
    fn wide_bounds_leave_adam() {
        let wide = ClippyAdam { rel: 1e6, abs: 1e6, ..ClippyAdam::default() };
        let mut clipped = driver(&wide, [1.0, 1.0], 0.1);
        let mut adam = Driver::new(Balancer::default().build(2).unwrap(), rates(0.1), vec![1.0, 1.0], 1);
        for gradients in SEQUENCE {
            let batch = [gradients.map(|g| g.to_vec()).to_vec()];
            clipped.step(0, &[1.0, 1.0], &batch);
            adam.step(0, &[1.0, 1.0], &batch);
            // the addend to the root stands before the correction there
            assert_close(clipped.theta(), adam.theta(), 1e-6);
        }
    }
}
