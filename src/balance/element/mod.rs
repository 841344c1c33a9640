//! Balancers that look at the shared task gradients coordinate by coordinate: to combine them there, or to measure them.

mod excess_mtl;
mod grad_drop;
mod trimmed_mean;

pub use excess_mtl::ExcessMtl;
pub use grad_drop::GradDrop;
pub use trimmed_mean::TrimmedMean;
