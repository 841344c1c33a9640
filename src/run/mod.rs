//! Making a pipeline true: independent stages side by side, each made once, here or as jobs of a cluster, progress shown, a
//! stop wherever the user wants one; what is shared with a remote meanwhile; and what came of it.

mod console;
mod cores;
mod executor;
mod golden;
mod local;
mod maker;
mod obtain;
mod report;
mod results;
mod sharing;
pub mod slurm;
mod waiting;

pub use console::Console;
pub use executor::{Call, Executor, ExecutorError, Observer, execute};
pub use golden::{Comparison as GoldenComparison, GoldenError, GoldenMetrics, Line, Verdict as GoldenVerdict};
pub use local::Local;
pub use maker::{How, Made};
pub use obtain::{Obtained, obtain};
pub use report::{Ending, Report, StageReport, StageResult};
pub use results::{Results, ResultsError, StageEvaluation, StagePredictions, StageTables, StageToy};
pub use sharing::{Share, Transfer};

#[cfg(test)]
mod tests;
