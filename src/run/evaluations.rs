//! The numbers that a run's stages came to: metrics of `Evaluate` stages, end points of `Toy` stages.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Report;
use crate::metric::Evaluation;
use crate::plan::Record;
use crate::stage::{METRICS, toy};
use crate::store::{Artifact, Lookup, Store, StoreError};

const EVALUATE: &str = "Evaluate";
const TOY: &str = "Toy";

/// One stage's metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageEvaluation {
    /// The stage's name.
    pub stage: String,
    /// Its numbers; the simulated mark is that of everything they were made from.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Whether the last run came to this stage; if not, the numbers are from an earlier run.
    #[serde(skip)]
    pub reached: bool,
}

/// What one `Toy` stage found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageToy {
    /// The stage's name.
    pub stage: String,
    /// Where the figure lies.
    pub figure: PathBuf,
    /// Where each start ended.
    #[serde(flatten)]
    pub result: toy::ToyResult,
    /// Whether the last run came to this stage; if not, the numbers are from an earlier run.
    #[serde(skip)]
    pub reached: bool,
}

/// Why there are no metrics to show.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationsError {
    /// No run came to an `Evaluate` or `Toy` stage.
    #[error("pipeline `{0}` has no metrics yet")]
    NeverRun(String),
    /// The artifact of the last run is gone or damaged.
    #[error("the metrics of `{stage}` are lost: {what}")]
    Lost {
        /// The stage.
        stage: String,
        /// What happened to its artifact.
        what: String,
    },
    /// The file is not what this version of the program writes.
    #[error("cannot understand `{}`", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The metrics of the last run; none if it has no `Evaluate` stage.
///
/// # Errors
/// When they can no longer be read.
pub fn evaluations(store: &Store, record: &Record) -> Result<Vec<StageEvaluation>, EvaluationsError> {
    of_record(store, record, EVALUATE, evaluation)
}

/// The metrics that a run came to; none of the stages it did not reach.
///
/// # Errors
/// When an artifact cannot be read.
pub fn of_report(report: &Report) -> Result<Vec<StageEvaluation>, EvaluationsError> {
    of_made(report, EVALUATE, evaluation)
}

/// What the `Toy` stages of the last run found; nothing if it has none.
///
/// # Errors
/// When it can no longer be read.
pub fn toys(store: &Store, record: &Record) -> Result<Vec<StageToy>, EvaluationsError> {
    of_record(store, record, TOY, toy)
}

/// What the `Toy` stages found that a run came to.
///
/// # Errors
/// When an artifact cannot be read.
pub fn toys_of_report(report: &Report) -> Result<Vec<StageToy>, EvaluationsError> {
    of_made(report, TOY, toy)
}

/// Reads one stage's artifact, given the stage's name and whether the last run came to it.
type Read<T> = fn(&str, &Artifact, bool) -> Result<T, EvaluationsError>;

fn of_record<T>(store: &Store, record: &Record, kind: &str, read: Read<T>) -> Result<Vec<T>, EvaluationsError> {
    let stages = record.stages.iter().filter(|(_, stage)| stage.recipe.kind == kind);
    stages
        .map(|(name, stage)| {
            let lost = |what: String| EvaluationsError::Lost { stage: name.clone(), what };
            match store.lookup(stage.key)? {
                Lookup::Intact(artifact) => read(name, &artifact, stage.reached),
                Lookup::Damaged(what) => Err(lost(what)),
                Lookup::Absent => Err(lost("its artifact is gone".to_owned())),
            }
        })
        .collect()
}

fn of_made<T>(report: &Report, kind: &str, read: Read<T>) -> Result<Vec<T>, EvaluationsError> {
    let stages = report.stages.iter().filter(|stage| stage.kind == kind);
    stages.filter_map(|stage| Some(read(&stage.name, &stage.made()?.artifact, true))).collect()
}

fn evaluation(stage: &str, artifact: &Artifact, reached: bool) -> Result<StageEvaluation, EvaluationsError> {
    let mut evaluation: Evaluation = json(artifact, METRICS)?;
    evaluation.simulated |= artifact.manifest().simulated;
    Ok(StageEvaluation { stage: stage.to_owned(), evaluation, reached })
}

fn toy(stage: &str, artifact: &Artifact, reached: bool) -> Result<StageToy, EvaluationsError> {
    let (result, figure) = (json(artifact, toy::RESULT)?, artifact.file(toy::FIGURE)?);
    Ok(StageToy { stage: stage.to_owned(), figure, result, reached })
}

fn json<T: DeserializeOwned>(artifact: &Artifact, file: &str) -> Result<T, EvaluationsError> {
    let path = artifact.file(file)?;
    let bytes =
        fs::read(&path).map_err(|source: io::Error| StoreError::Io { action: "read", path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| EvaluationsError::Format { path, source })
}
