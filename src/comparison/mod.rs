//! Many evaluations side by side: means over runs, their spread, whether a difference counts, and the table of it all in
//! the formats people take it away in. `table` knows rows, columns and runs; `of_sweep` makes them of a sweep's cells, the
//! `Compare` stage of the evaluations that a pipeline names.

mod formats;
mod of_sweep;
mod statistics;
mod table;

pub use of_sweep::{Numbers, measured};
pub use statistics::{Difference, Sample, paired_t_test};
pub use table::{Entry, Row, Runs, Table, Variant};
