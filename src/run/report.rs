//! What came of a run.

use std::fmt;

use serde_json::{Value, json};

use super::executor::Stopped;
use super::{How, Made};
use crate::plan::{Graph, Record, StageRecord};
use crate::stage::StageError;
use crate::store::StoreError;

/// What came of a run, stage by stage in topological order.
#[derive(Debug)]
pub struct Report {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its stages.
    pub stages: Vec<StageReport>,
    /// Why the record of the run could not be written, if so: the artifacts are there all the same.
    pub unrecorded: Option<StoreError>,
    /// Whether the user wanted to stop.
    cancelled: bool,
}

/// What came of one stage.
#[derive(Debug)]
pub struct StageReport {
    /// The stage's name.
    pub name: String,
    /// The stage's kind.
    pub kind: &'static str,
    /// What came of it.
    pub result: StageResult,
}

/// What came of a stage.
#[derive(Debug)]
pub enum StageResult {
    /// It has an artifact.
    Made(Made),
    /// It failed.
    Failed(StageError),
    /// A stage that it reads, directly or not, failed.
    Blocked {
        /// That stage.
        by: String,
    },
    /// The user stopped it.
    Interrupted,
    /// It is made elsewhere, and nobody waited for it.
    Away {
        /// What makes it.
        by: String,
    },
    /// The user stopped the run before it began, or another stage failed and the call is not to keep going.
    NotStarted,
    /// The call left it out.
    LeftOut,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every selected stage has its artifact.
    Done,
    /// A stage failed, or the record could not be written.
    Failed,
    /// The user stopped it.
    Interrupted,
}

impl Report {
    pub(super) fn new(
        graph: &Graph,
        made: Vec<Option<Made>>,
        stopped: Vec<Option<Stopped>>,
        selected: &[bool],
        cancelled: bool,
    ) -> Self {
        let stopped = not_made(graph, stopped);
        let results = made.into_iter().zip(stopped).zip(selected).map(|((made, stopped), &selected)| match made {
            Some(made) if !matches!(stopped, StageResult::Failed(_)) => StageResult::Made(made),
            _ if selected => stopped,
            _ => StageResult::LeftOut,
        });
        let stages = graph
            .nodes()
            .iter()
            .zip(results)
            .map(|(node, result)| StageReport { name: node.name.clone(), kind: node.work.kind(), result })
            .collect();
        Self { pipeline: graph.pipeline.clone(), stages, unrecorded: None, cancelled }
    }

    /// Whether stages are made elsewhere, and nobody waited.
    pub fn away(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage.result, StageResult::Away { .. }))
    }

    /// How the run ended; an interruption outweighs a failure, because the next run will come to the failure again.
    pub fn ending(&self) -> Ending {
        let any = |test: fn(&StageResult) -> bool| self.stages.iter().any(|stage| test(&stage.result));
        let interrupted = any(|result| matches!(result, StageResult::Interrupted));
        if interrupted || self.cancelled && any(|result| matches!(result, StageResult::NotStarted)) {
            Ending::Interrupted
        } else if any(|result| matches!(result, StageResult::Failed(_))) || self.unrecorded.is_some() {
            Ending::Failed
        } else {
            Ending::Done
        }
    }

    /// Whether anything that was made comes from simulated data.
    pub fn simulated(&self) -> bool {
        self.stages.iter().any(|stage| stage.made().is_some_and(|made| made.artifact.manifest().simulated))
    }

    /// The pipeline's record after this run: what stages came to, and for the others what they came to before.
    pub(super) fn record(&self, before: &Record) -> Record {
        let stages = self.stages.iter().filter_map(|stage| {
            let earlier = before.stages.get(&stage.name);
            let record = match &stage.result {
                StageResult::Made(made) => {
                    let manifest = made.artifact.manifest();
                    StageRecord { key: manifest.key, recipe: manifest.recipe.clone(), reached: true }
                }
                StageResult::LeftOut => earlier?.clone(),
                _ => StageRecord { reached: false, ..earlier?.clone() },
            };
            Some((stage.name.clone(), record))
        });
        Record { pipeline: self.pipeline.clone(), stages: stages.collect() }
    }

    /// The stages as JSON.
    pub fn stages_json(&self) -> Value {
        self.stages.iter().map(StageReport::to_json).collect()
    }
}

/// What became of every stage, had none come to an artifact.
fn not_made(graph: &Graph, stopped: Vec<Option<Stopped>>) -> Vec<StageResult> {
    let mut results: Vec<StageResult> = Vec::with_capacity(stopped.len());
    for (stage, stopped) in stopped.into_iter().enumerate() {
        let by = graph.sources(stage).into_iter().find_map(|source| match &results[source] {
            StageResult::Failed(_) => Some(graph.nodes()[source].name.clone()),
            StageResult::Blocked { by } => Some(by.clone()),
            _ => None,
        });
        results.push(match (stopped, by) {
            (Some(Stopped::Failed(StageError::Interrupted)), _) => StageResult::Interrupted,
            (Some(Stopped::Failed(error)), _) => StageResult::Failed(error),
            (_, Some(by)) => StageResult::Blocked { by },
            (Some(Stopped::Away { by }), None) => StageResult::Away { by },
            (None, None) => StageResult::NotStarted,
        });
    }
    results
}

impl StageReport {
    /// What it made, if it did.
    pub fn made(&self) -> Option<&Made> {
        match &self.result {
            StageResult::Made(made) => Some(made),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        let mut json = json!({ "name": self.name, "kind": self.kind, "result": self.result.word() });
        match &self.result {
            StageResult::Made(made) => {
                let manifest = made.artifact.manifest();
                if let How::Ran { reasons, took } = &made.how {
                    json["seconds"] = json!(took.as_secs_f64());
                    json["reasons"] = json!(reasons);
                }
                json["key"] = json!(manifest.key);
                json["content"] = json!(manifest.content);
                json["simulated"] = json!(manifest.simulated);
                json["summary"] = json!(manifest.summary);
            }
            StageResult::Failed(error) => {
                json["error"] = json!(error.chain());
                if let Some(hint) = error.remedy() {
                    json["hint"] = json!(hint);
                }
                if let Some(field) = error.field() {
                    json["field"] = json!(field);
                }
            }
            StageResult::Blocked { by } | StageResult::Away { by } => json["by"] = json!(by),
            StageResult::Interrupted | StageResult::NotStarted | StageResult::LeftOut => {}
        }
        json
    }
}

impl StageResult {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            StageResult::Made(Made { how: How::UpToDate, .. }) => "up-to-date",
            StageResult::Made(Made { how: How::Shared, .. }) => "shared",
            StageResult::Made(Made { how: How::Pulled, .. }) => "pulled",
            StageResult::Made(Made { how: How::Ran { .. }, .. }) => "ran",
            StageResult::Failed(_) => "failed",
            StageResult::Blocked { .. } => "blocked",
            StageResult::Interrupted => "interrupted",
            StageResult::Away { .. } => "away",
            StageResult::NotStarted => "not-started",
            StageResult::LeftOut => "left-out",
        }
    }
}

impl fmt::Display for StageResult {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            StageResult::Made(Made { how: How::UpToDate, .. }) => f.write_str("up to date"),
            StageResult::Made(Made { how: How::Shared, .. }) => f.write_str("made by another run"),
            StageResult::Made(Made { how: How::Pulled, .. }) => f.write_str("from the remote"),
            StageResult::Blocked { by } => write!(f, "not run: needs `{by}`"),
            StageResult::Away { by } => f.write_str(by),
            StageResult::NotStarted => f.write_str("not started"),
            StageResult::LeftOut => f.write_str("left out"),
            other => f.write_str(other.word()),
        }
    }
}
