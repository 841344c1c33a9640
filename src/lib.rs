//! `mtorec`: declarative pipelines for multi-task recommendation.
//!
//! A RON file describes a graph of stages (download, preprocess, build a model, train it with a
//! balancer, evaluate); `mtorec run` makes true what it says and a second run does only what changed.
//!
//! Imports run downwards: `cli → run → plan → stage → (model, balance, optim, data, metric) → nn → tensor`.
//! `spec` is plain data that anybody may read, `balance` knows nothing of tensors, `store`, `fetch` and `remote` know no stage.

pub mod balance;
pub mod cli;
pub mod comparison;
pub mod data;
mod fault;
pub mod fetch;
pub mod init;
pub mod metric;
pub mod model;
pub mod nn;
pub mod optim;
pub mod plan;
pub mod readable;
pub mod registry;
pub mod remote;
pub mod report;
pub mod run;
pub mod spec;
pub mod stage;
pub mod store;
pub mod svg;
pub mod tensor;
