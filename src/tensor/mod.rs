//! Numbers on a device: the kernels a device must offer, the replayable tape that models run on, typed variables,
//! parameters and their gradients.
//!
//! Storage is dfdx's: every buffer is a rank-1 `dfdx` tensor of the device. Shapes live in the types of the
//! variables ([`Var`], dfdx dimensions); below them everything is flat, so kernels are compiled once a device and not
//! once a model.

mod buffer;
pub mod cpu;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod gpu;
mod index;
pub mod kernels;
pub mod op;
mod params;
mod random;
mod tape;
mod workspace;

pub use buffer::{Buffer, CpuSlice};
#[cfg(feature = "cuda")]
pub use gpu::Cuda;
pub use index::{FieldIds, FieldLayout, Route};
pub use kernels::{
    AdamStep, Fault, Held, Kernels, Matrix, MissedSteps, NormInputs, Product, StepBounds, TaskGradients, WaitingTable,
};
pub use params::{Gradients, Kind, Owner, Param, ParamId, Params};
pub use random::{Key, element_hash};
pub use tape::{Mode, NodeId, Op, Pull, Tape, Var};
pub use workspace::Workspace;

/// The processor, as dfdx knows it.
pub type Cpu = dfdx::tensor::Cpu;
