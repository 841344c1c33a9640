//! Optimizers whose whole state can be saved and restored.

mod adam;

pub use adam::{Adam, AdamSlot, AdamState, Decay};

crate::registry! {
    /// The optimizers a pipeline can name.
    pub enum Optimizer {
        Adam(Adam),
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::Adam(Adam::default())
    }
}
