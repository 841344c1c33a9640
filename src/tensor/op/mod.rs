//! The operations models are made of: typed on the outside, flat inside, each with its pull-back.
//!
//! To add one: a function that checks shapes by its types, calls the kernel and records an [`Op`](super::Op); the kernel
//! in [`Kernels`](super::Kernels) and `cpu/`; a test below against dfdx's autodiff.

mod bce;
mod dots;
mod fields;
mod join;
mod linear;
mod logits;
mod mean_token;
mod mix;
mod norm;
mod parameter;
mod project;
mod relu;
mod rms_norm;
mod route;
mod routed;
mod softmax;
mod swiglu;

pub use bce::bce;
pub use dots::row_dots;
pub use fields::{FieldMaps, NumericToken, embed, fields_linear, numeric_token};
pub use join::{add, prefix_rows, stack};
pub use linear::{bank_linear, shared_linear};
pub use logits::{mixture_logits, product_logits};
pub use mean_token::mean_token;
pub use mix::{Candidates, mix};
pub use norm::{Norm, norm_relu_dropout};
pub use parameter::parameter;
pub use project::project;
pub use relu::relu_dropout;
pub use rms_norm::rms_norm;
pub use route::{Routing, route};
pub use routed::{Bank, routed};
pub use softmax::softmax;
pub use swiglu::swiglu;

#[cfg(test)]
mod tests;
