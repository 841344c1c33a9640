//! What many runs found, for people: the table of a sweep, in the formats they take it away in.

mod statistics;
mod sweep_table;

pub use statistics::{Sample, paired_t_test};
pub use sweep_table::{Entry, Row, SweepTable};
