//! Making a pipeline true: independent stages side by side, each made once, progress shown, a stop wherever the user
//! wants one; and what came of it.

mod console;
mod evaluations;
mod executor;
mod golden;
mod maker;
mod report;

pub use console::Console;
pub use evaluations::{EvaluationsError, StageEvaluation, StageToy, evaluations, of_report, toys, toys_of_report};
pub use executor::{Call, execute};
pub use golden::{Comparison, GoldenError, GoldenMetrics, Line, Verdict as GoldenVerdict};
pub use maker::{How, Made};
pub use report::{Ending, Report, StageReport, StageResult};

#[cfg(test)]
mod tests;
