//! Independent component alignment.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::solver::eigen;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// The principal components of the task gradients are brought to one length, which makes the gradients orthogonal, and
/// the aligned gradients are summed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlignedMtl {
    /// To which length.
    pub scale: AlignedScale,
    /// Whether task parameters follow the coefficients, too, instead of their own loss alone.
    pub scale_decoder_grad: bool,
}

/// The squared length to which Aligned-MTL brings the principal components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AlignedScale {
    /// The smallest eigenvalue of the Gram matrix that is not zero.
    #[default]
    Min,
    /// The (lower) median.
    Median,
    /// The mean.
    Rmse,
}

impl Describe for AlignedMtl {
    const SUMMARY: &'static str = "aligned: the principal components of the gradients are brought to one length";
    const SOURCE: &'static str = "Senushkin, Patakin, Kuznetsov & Konushin, CVPR 2023";
}

impl Build for AlignedMtl {
    fn build(&self, _: usize) -> Result<Method, String> {
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Memory for AlignedMtl {}

impl GramBalancer for AlignedMtl {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        let components = eigen(gram);
        let kept = &components.values[..components.rank()];
        let ones = vec![1.0; gram.tasks()];
        let w = if kept.is_empty() {
            ones
        } else {
            let sigma = match self.scale {
                AlignedScale::Min => kept[kept.len() - 1],
                AlignedScale::Median => kept[kept.len() / 2],
                AlignedScale::Rmse => kept.iter().sum::<f64>() / kept.len() as f64,
            };
            components.apply(|value| (sigma / value).sqrt(), &ones)
        };
        if self.scale_decoder_grad { Coefficients::tasks_weighted(w, gram) } else { Coefficients::tasks_alone(w) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        let coefficients = ex_a().coefficients(&AlignedMtl::default());
        assert_close(&coefficients.shared, &[1.041_514, 0.946_830], 1e-6);
        assert_close(&ex_a().combined(&coefficients), &[1.136_197, 1.893_661], 1e-6);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        assert_close(&ex_b().coefficients(&AlignedMtl::default()).shared, &[0.636_825, 1.212_053, 0.838_515], 1e-6);
        let rmse = AlignedMtl { scale: AlignedScale::Rmse, scale_decoder_grad: true };
        let coefficients = ex_a().coefficients(&rmse);
        assert_close(&coefficients.shared, &[2.0 * 0.707_432, 2.0 * 0.643_120], 2e-6);
        assert_eq!(coefficients.task, coefficients.shared);
        let combined = ex_t().combined(&ex_t().coefficients(&AlignedMtl::default()));
        let torch_jd: Vec<f64> = combined.iter().map(|x| x / 2.0).collect();
        assert_close(&torch_jd, &[0.2133, 0.9673, 0.9673], 1e-4);
    }

    #[test]
    fn the_median_is_the_lower_one() {
        let gram = Gram::from_rows(&[[4.0, 0.0], [0.0, 1.0]]).unwrap();
        let mut median = AlignedMtl { scale: AlignedScale::Median, ..AlignedMtl::default() };
        let step = Step { index: 0, epoch: 0, seed: 0, losses: &[1.0, 1.0] };
        assert_close(&median.coefficients(&step, &gram).shared, &[0.5, 1.0], 1e-12);
        let three = Gram::from_fn(3, |i, j| if i == j { [16.0, 4.0, 1.0][i] } else { 0.0 });
        assert_close(&median.coefficients(&step, &three).shared, &[0.5, 1.0, 2.0], 1e-12);
    }
}
