//! Layers, in the terms of the papers: fields, bottoms and banks of experts, gates, towers. Each knows its parameters,
//! their initial distributions and their PyTorch names; forward only.
//!
//! Widths are part of the types, so layers that do not fit each other do not compile:
//!
//! ```
//! use dfdx::shapes::Const;
//! use mtorec::nn::Tower;
//! use mtorec::tensor::{Cpu, Tape, Var};
//!
//! type OnBottom = Tower<Const<256>, Const<128>, Const<64>>;
//! fn wire(tape: &Tape<Cpu>, tower: &OnBottom, bottom: Var<(usize, Const<256>)>) -> Var<(usize,)> {
//!     tower.forward(tape, bottom)
//! }
//! ```
//!
//! A tower on the wrong width:
//!
//! ```compile_fail,E0308
//! use dfdx::shapes::Const;
//! use mtorec::nn::Tower;
//! use mtorec::tensor::{Cpu, Tape, Var};
//!
//! type OnBottom = Tower<Const<256>, Const<128>, Const<64>>;
//! fn wire(tape: &Tape<Cpu>, tower: &OnBottom, first_layer: Var<(usize, Const<512>)>) -> Var<(usize,)> {
//!     tower.forward(tape, first_layer)
//! }
//! ```
//!
//! A gate on a stream of 512 units over banks of 256, and a tower behind it:
//!
//! ```
//! use dfdx::shapes::Const;
//! use mtorec::nn::{HiddenGate, Tower};
//! use mtorec::tensor::op::Candidates;
//! use mtorec::tensor::{Cpu, Tape, Var};
//!
//! type OnStream = HiddenGate<Const<512>>;
//! type OnBottom = Tower<Const<256>, Const<128>, Const<64>>;
//! type Stream = Var<(usize, Const<512>)>;
//! type Bank = Candidates<Const<256>>;
//! fn wire(tape: &Tape<Cpu>, (gate, tower): (&OnStream, &OnBottom), x: Stream, banks: [Bank; 2]) -> Var<(usize,)> {
//!     tower.forward(tape, gate.mix(tape, x, &banks))
//! }
//! ```
//!
//! Over banks of another width than the tower's:
//!
//! ```compile_fail,E0308
//! use dfdx::shapes::Const;
//! use mtorec::nn::{HiddenGate, Tower};
//! use mtorec::tensor::op::Candidates;
//! use mtorec::tensor::{Cpu, Tape, Var};
//!
//! type OnStream = HiddenGate<Const<512>>;
//! type OnBottom = Tower<Const<256>, Const<128>, Const<64>>;
//! type Stream = Var<(usize, Const<512>)>;
//! type Bank = Candidates<Const<512>>;
//! fn wire(tape: &Tape<Cpu>, (gate, tower): (&OnStream, &OnBottom), x: Stream, banks: [Bank; 2]) -> Var<(usize,)> {
//!     tower.forward(tape, gate.mix(tape, x, &banks))
//! }
//! ```
//!
//! On another stream than the gate's:
//!
//! ```compile_fail,E0308
//! use dfdx::shapes::Const;
//! use mtorec::nn::{HiddenGate, Tower};
//! use mtorec::tensor::op::Candidates;
//! use mtorec::tensor::{Cpu, Tape, Var};
//!
//! type OnStream = HiddenGate<Const<512>>;
//! type OnBottom = Tower<Const<256>, Const<128>, Const<64>>;
//! type Stream = Var<(usize, Const<256>)>;
//! type Bank = Candidates<Const<256>>;
//! fn wire(tape: &Tape<Cpu>, (gate, tower): (&OnStream, &OnBottom), x: Stream, banks: [Bank; 2]) -> Var<(usize,)> {
//!     tower.forward(tape, gate.mix(tape, x, &banks))
//! }
//! ```
//!
//! With `Sizes::Custom` the same code runs on widths known at run time, and a model whose layers do not fit is refused when
//! it is built, with the layer's name.

mod batch;
mod block;
mod builder;
mod expert;
mod fields;
mod gate;
mod projection;
mod rms_norm;
mod routed;
mod tower;

pub use batch::{Assembled, Batch, BatchSlot};
pub use block::{Block, Maps, Style};
pub use builder::{Builder, Init, TorchNorm, TorchPart, TorchTensor};
pub use expert::{Bottom, Experts};
pub use fields::{Embedded, FieldBlock, Fields, xavier};
pub use gate::{Gate, HiddenGate};
pub use projection::Projection;
pub use rms_norm::RmsNorm;
pub use routed::{MoeBlock, MoeConfig};
pub use tower::{Tower, Towers};
