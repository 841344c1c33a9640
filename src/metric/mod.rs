//! What a model is measured by: one file a metric, exact, reductions in f64.

mod auc;
mod evaluation;
mod log_loss;

use serde::{Deserialize, Serialize};

pub use auc::auc;
pub use evaluation::Scored;
pub use log_loss::{log_loss, log_loss_of_probabilities};

use crate::registry::Entry;

/// The metrics a pipeline can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    /// Area under the ROC curve, ties counted half.
    Auc,
    /// Mean binary cross-entropy, in nats.
    LogLoss,
}

impl Metric {
    /// All of them, in the order of `mtorec list metrics`.
    pub const ALL: &'static [Metric] = &[Metric::Auc, Metric::LogLoss];

    /// The name, as a pipeline spells it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Auc => "Auc",
            Metric::LogLoss => "LogLoss",
        }
    }

    /// Whether more is better.
    pub fn higher_is_better(self) -> bool {
        match self {
            Metric::Auc => true,
            Metric::LogLoss => false,
        }
    }

    /// The rows of `mtorec list metrics`.
    pub fn entries() -> Vec<Entry> {
        let entry = |metric: &Metric| {
            let (summary, source) = match metric {
                Metric::Auc => {
                    ("area under the ROC curve, exact, ties counted half", "Hanley & McNeil, Radiology 1982")
                }
                Metric::LogLoss => ("mean binary cross-entropy from logits, in nats", "Good, J. R. Stat. Soc. B 1952"),
            };
            Entry { name: metric.name(), summary, source, defaults: metric.name().to_owned() }
        };
        Self::ALL.iter().map(entry).collect()
    }

    /// The metric of one task, from its logits.
    fn of_logits(self, logits: &[f32], labels: &[u8]) -> Option<f64> {
        match self {
            Metric::Auc => auc(logits, labels),
            Metric::LogLoss => log_loss(logits, labels),
        }
    }

    /// The metric of one task, from probabilities.
    fn of_probabilities(self, probabilities: &[f32], labels: &[u8]) -> Option<f64> {
        match self {
            Metric::Auc => auc(probabilities, labels),
            Metric::LogLoss => log_loss_of_probabilities(probabilities, labels),
        }
    }
}

/// One number of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// The metric's name as a pipeline spells it: `Auc`.
    pub metric: String,
    /// The task's name, or `mean` over the tasks that define it.
    pub task: String,
    /// The number; `None` where it is undefined (one class only), never a made-up 0.5.
    pub value: Option<f64>,
    /// The best any model could reach on these rows, known for simulated logs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attainable: Option<f64>,
    /// For a mean: how many tasks it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<usize>,
}

/// `metrics.json` of an `Evaluate` artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Which rows: `Test`, `Valid`, `Train`.
    pub on: String,
    /// How many rows.
    pub rows: usize,
    /// Made from simulated data.
    pub simulated: bool,
    /// The numbers, metric by metric, tasks in order, then the mean.
    pub values: Vec<MetricValue>,
}
