//! What would run, and why: the graph of stages in a fixed topological order, the recipe of each stage, and its
//! comparison with the store and with the last run.

mod graph;
mod planning;
#[cfg(test)]
mod properties;
mod recipe;
mod record;

pub use graph::{Graph, GraphError, Node, UnknownStage};
pub use planning::{Elsewhere, Plan, PlannedStage, Reason, Verdict, plan, reasons};
pub use recipe::{Site, recipe};
pub use record::{Record, StageRecord};
