//! The operations models are made of: typed on the outside, flat inside, each with its pull-back.
//!
//! To add one: a function that checks shapes by its types, calls the kernel and records an [`Op`](super::Op); the kernel
//! in [`Kernels`](super::Kernels) and `cpu/`; a test below against dfdx's autodiff.

mod bce;
mod fields;
mod linear;
mod mix;
mod norm;
mod parameter;
mod softmax;

pub use bce::bce;
pub use fields::{FieldMaps, NumericToken, embed, fields_linear};
pub use linear::{bank_linear, linear, output};
pub use mix::mix;
pub use norm::{Norm, norm_relu_dropout};
pub use parameter::parameter;
pub use softmax::softmax;

#[cfg(test)]
mod tests;
