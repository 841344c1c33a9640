//! The metrics that a run's `Evaluate` stages came to.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Report;
use crate::metric::Evaluation;
use crate::plan::Record;
use crate::store::{Artifact, Lookup, Store, StoreError};

/// The file an `Evaluate` stage writes.
const FILE: &str = "metrics.json";
const KIND: &str = "Evaluate";

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

/// Why there are no metrics to show.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationsError {
    /// No run came to an `Evaluate` stage.
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

/// The metrics of the last run.
///
/// # Errors
/// When there are none, or they can no longer be read.
pub fn evaluations(store: &Store, record: &Record) -> Result<Vec<StageEvaluation>, EvaluationsError> {
    let stages = record.stages.iter().filter(|(_, stage)| stage.recipe.kind == KIND);
    let found: Vec<StageEvaluation> = stages
        .map(|(name, stage)| {
            let lost = |what: String| EvaluationsError::Lost { stage: name.clone(), what };
            match store.lookup(stage.key)? {
                Lookup::Intact(artifact) => read(name, &artifact, stage.reached),
                Lookup::Damaged(what) => Err(lost(what)),
                Lookup::Absent => Err(lost("its artifact is gone".to_owned())),
            }
        })
        .collect::<Result<_, _>>()?;
    if found.is_empty() { Err(EvaluationsError::NeverRun(record.pipeline.clone())) } else { Ok(found) }
}

/// The metrics that a run came to; none of the stages it did not reach.
///
/// # Errors
/// When an artifact cannot be read.
pub fn of_report(report: &Report) -> Result<Vec<StageEvaluation>, EvaluationsError> {
    let stages = report.stages.iter().filter(|stage| stage.kind == KIND);
    stages.filter_map(|stage| Some(read(&stage.name, &stage.made()?.artifact, true))).collect()
}

fn read(stage: &str, artifact: &Artifact, reached: bool) -> Result<StageEvaluation, EvaluationsError> {
    let path = artifact.file(FILE)?;
    let bytes =
        fs::read(&path).map_err(|source: io::Error| StoreError::Io { action: "read", path: path.clone(), source })?;
    let mut evaluation: Evaluation =
        serde_json::from_slice(&bytes).map_err(|source| EvaluationsError::Format { path, source })?;
    evaluation.simulated |= artifact.manifest().simulated;
    Ok(StageEvaluation { stage: stage.to_owned(), evaluation, reached })
}
