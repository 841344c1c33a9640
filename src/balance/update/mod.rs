//! Balancers that act on Adam's updates rather than on gradients.

mod ada_task;
mod clippy_adam;
mod pub_nash;

pub use ada_task::AdaTask;
pub use clippy_adam::ClippyAdam;
pub use pub_nash::Pub;
