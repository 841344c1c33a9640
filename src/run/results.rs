//! The numbers that a run's stages came to: metrics of `Evaluate` stages, counts of `Predict` stages, tables of `Compare`
//! stages, end points of `Toy` stages.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Report;
use crate::comparison::Table;
use crate::metric::Evaluation;
use crate::plan::{Plan, Record};
use crate::stage::{METRICS, compare, predict, toy};
use crate::store::{Artifact, Lookup, Store, StoreError};

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

impl StageEvaluation {
    /// What the artifact of an `Evaluate` stage holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(stage: &str, artifact: &Artifact, reached: bool) -> Result<Self, ResultsError> {
        let mut evaluation: Evaluation = json(artifact, METRICS)?;
        evaluation.simulated |= artifact.manifest().simulated;
        Ok(Self { stage: stage.to_owned(), evaluation, reached })
    }
}

/// The tables of one `Compare` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTables {
    /// The stage's name.
    pub stage: String,
    /// Whether any of the evaluations is of simulated data.
    pub simulated: bool,
    /// A table for each metric.
    pub tables: Vec<Table>,
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

/// What one `Predict` stage came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StagePredictions {
    /// The stage's name.
    pub stage: String,
    /// Where the probabilities lie.
    pub predictions: PathBuf,
    /// Whether they are made from simulated data.
    pub simulated: bool,
    /// The same in numbers.
    #[serde(flatten)]
    pub counts: predict::Predicted,
    /// Whether the last run came to this stage; if not, the numbers are from an earlier run.
    #[serde(skip)]
    pub reached: bool,
}

/// Why there are no metrics to show.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// No run came to a stage that has numbers.
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

/// All numbers that a run's stages came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    /// Of the `Evaluate` stages.
    pub evaluations: Vec<StageEvaluation>,
    /// Of the `Predict` stages.
    pub predictions: Vec<StagePredictions>,
    /// Of the `Compare` stages.
    pub comparisons: Vec<StageTables>,
    /// Of the `Toy` stages.
    pub toys: Vec<StageToy>,
}

impl Results {
    /// Those of the last run.
    ///
    /// # Errors
    /// When they can no longer be read.
    pub fn of_record(store: &Store, record: &Record) -> Result<Self, ResultsError> {
        let mut results = Self::default();
        for (name, stage) in &record.stages {
            if !Self::KINDS.contains(&stage.recipe.kind.as_str()) {
                continue;
            }
            let lost = |what: String| ResultsError::Lost { stage: name.clone(), what };
            match store.lookup(stage.key)? {
                Lookup::Intact(artifact) => results.read(name, &artifact, stage.reached)?,
                Lookup::Damaged(what) => return Err(lost(what)),
                Lookup::Absent => return Err(lost("its artifact is gone".to_owned())),
            }
        }
        Ok(results)
    }

    /// Those that a run came to; none of the stages it did not reach.
    ///
    /// # Errors
    /// When an artifact cannot be read.
    pub fn of_report(report: &Report) -> Result<Self, ResultsError> {
        let mut results = Self::default();
        for stage in &report.stages {
            if let Some(made) = stage.made() {
                results.read(&stage.name, &made.artifact, true)?;
            }
        }
        Ok(results)
    }

    /// The kinds of stages that come to numbers.
    const KINDS: [&str; 4] = ["Evaluate", "Predict", "Compare", "Toy"];

    /// Adds what a stage came to; nothing if it is of a kind that comes to no numbers.
    ///
    /// # Errors
    /// When its artifact cannot be read.
    pub fn read(&mut self, stage: &str, artifact: &Artifact, reached: bool) -> Result<(), ResultsError> {
        let (stage, simulated) = (stage.to_owned(), artifact.manifest().simulated);
        match artifact.manifest().recipe.kind.as_str() {
            "Evaluate" => {
                self.evaluations.push(StageEvaluation::read(&stage, artifact, reached)?);
            }
            "Predict" => {
                let (counts, predictions) = (json(artifact, predict::COUNTS)?, artifact.file(predict::PREDICTIONS)?);
                self.predictions.push(StagePredictions { stage, predictions, simulated, counts, reached });
            }
            "Compare" => {
                let tables = json(artifact, compare::TABLES)?;
                self.comparisons.push(StageTables { stage, simulated, tables, reached });
            }
            "Toy" => {
                let (result, figure) = (json(artifact, toy::RESULT)?, artifact.file(toy::FIGURE)?);
                self.toys.push(StageToy { stage, figure, result, reached });
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.evaluations.is_empty()
            && self.predictions.is_empty()
            && self.comparisons.is_empty()
            && self.toys.is_empty()
    }

    /// Whether any number comes from simulated data.
    pub fn simulated(&self) -> bool {
        self.evaluations.iter().any(|found| found.evaluation.simulated)
            || self.predictions.iter().any(|found| found.simulated)
            || self.comparisons.iter().any(|found| found.simulated)
    }

    /// The stages that the last run did not come to, whose numbers are from a run before.
    pub fn stale(&self) -> Vec<&str> {
        self.stages().filter(|(reached, _)| !reached).map(|(_, stage)| stage).collect()
    }

    /// The stages whose numbers are not what the pipeline now asks for: those of the last run if it was of other settings.
    /// A stage that the pipeline has no more is one of them.
    pub fn differing(&self, plan: &Plan, record: &Record) -> Vec<&str> {
        let differing = plan.differing(record);
        let has = |stage: &str| plan.stages.iter().any(|planned| planned.name == stage);
        self.stages().map(|(_, stage)| stage).filter(|stage| differing.contains(stage) || !has(stage)).collect()
    }

    /// Every stage, and whether the last run came to it.
    fn stages(&self) -> impl Iterator<Item = (bool, &str)> {
        let evaluations = self.evaluations.iter().map(|found| (found.reached, found.stage.as_str()));
        let predictions = self.predictions.iter().map(|found| (found.reached, found.stage.as_str()));
        let comparisons = self.comparisons.iter().map(|found| (found.reached, found.stage.as_str()));
        let toys = self.toys.iter().map(|found| (found.reached, found.stage.as_str()));
        evaluations.chain(predictions).chain(comparisons).chain(toys)
    }
}

fn json<T: DeserializeOwned>(artifact: &Artifact, file: &str) -> Result<T, ResultsError> {
    let path = artifact.file(file)?;
    let bytes =
        fs::read(&path).map_err(|source: io::Error| StoreError::Io { action: "read", path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ResultsError::Format { path, source })
}
