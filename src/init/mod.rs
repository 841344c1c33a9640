//! A first pipeline for somebody's own file: [`look`] decides from its first rows what part each column plays,
//! [`pipeline`] writes that down as a file that teaches how to change it.

mod column;
mod look;
mod write;

pub use column::{Column, Part};
pub use look::{Look, look};
pub use write::{name_of, pipeline};
