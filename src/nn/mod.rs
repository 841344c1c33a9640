//! Layers, in the terms of the papers: fields, bottoms and banks of experts, gates, towers. Each knows its parameters,
//! their initial distributions and their PyTorch names; forward only.

mod batch;
mod block;
mod builder;
mod expert;
mod fields;
mod gate;
mod tower;

pub use batch::{Batch, BatchSlot};
pub use block::{Block, Maps, Style};
pub use builder::{Builder, Init, TorchPart, TorchTensor};
pub use expert::{Bottom, Experts};
pub use fields::{Embedded, FieldBlock, Fields, xavier};
pub use gate::{Gate, HiddenGate};
pub use tower::{Tower, Towers};
