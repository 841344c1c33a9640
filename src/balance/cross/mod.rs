//! Balancers that need the shared task gradients of several independent batches: products of the gradients of one with
//! those of another are unbiased, which those within one batch are not.

mod modo;
mod sdm_grad;

pub use modo::MoDo;
pub use sdm_grad::SdmGrad;

use super::gram::dot;

/// `A x` for a matrix of products.
fn products(cross: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    cross.iter().map(|row| dot(row, x)).collect()
}
