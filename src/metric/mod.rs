//! What a model is measured by: one file a metric, exact, reductions in f64.

mod auc;
mod better;
mod calibration_ratio;
mod delta_m;
mod ece;
mod evaluation;
mod gauc;
mod log_loss;
mod pr_auc;
mod ranking;
mod reliability;

use serde::{Deserialize, Serialize};

pub use auc::auc;
pub use better::Better;
pub use calibration_ratio::calibration_ratio;
pub use delta_m::{Compared, delta_m};
pub use ece::{CALIBRATION_BINS, ece};
pub use evaluation::{MEAN, Scored};
pub use gauc::gauc;
pub use log_loss::{log_loss, log_loss_of_probabilities};
pub use pr_auc::pr_auc;
pub use reliability::{Reliability, ReliabilityBin, reliability};

use crate::registry::Entry;

/// The metrics a pipeline can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    /// Area under the ROC curve, ties counted half.
    Auc,
    /// Mean binary cross-entropy, in nats.
    LogLoss,
    /// Area under the ROC curve within groups, their mean weighted by rows; the log must have groups.
    Gauc,
    /// Area under the precision-recall curve, as average precision.
    PrAuc,
    /// Expected calibration error over [`CALIBRATION_BINS`] bins of equal width.
    Ece,
    /// Predicted over observed positives.
    CalibrationRatio,
}

impl Metric {
    /// All of them, in the order of `mtorec list metrics`.
    pub const ALL: &'static [Metric] =
        &[Metric::Auc, Metric::LogLoss, Metric::Gauc, Metric::PrAuc, Metric::Ece, Metric::CalibrationRatio];

    /// The metric of this name, however its letters are written and with hyphens or without: `log-loss` is `LogLoss`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace('-', "");
        Self::ALL.iter().copied().find(|metric| metric.name().eq_ignore_ascii_case(&name))
    }

    /// The name, as a pipeline spells it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Auc => "Auc",
            Metric::LogLoss => "LogLoss",
            Metric::Gauc => "Gauc",
            Metric::PrAuc => "PrAuc",
            Metric::Ece => "Ece",
            Metric::CalibrationRatio => "CalibrationRatio",
        }
    }

    /// Which way it is better.
    pub fn better(self) -> Better {
        match self {
            Metric::Auc | Metric::Gauc | Metric::PrAuc => Better::Higher,
            Metric::LogLoss | Metric::Ece => Better::Lower,
            Metric::CalibrationRatio => Better::Near(1.0),
        }
    }

    /// Whether it is defined only for a log whose rows are in groups.
    pub fn needs_groups(self) -> bool {
        self == Metric::Gauc
    }

    /// The rows of `mtorec list metrics`.
    pub fn entries() -> Vec<Entry> {
        let entry = |metric: &Metric| {
            let (summary, source) = match metric {
                Metric::Auc => {
                    ("area under the ROC curve, exact, ties counted half", "Hanley & McNeil, Radiology 1982")
                }
                Metric::LogLoss => ("mean binary cross-entropy from logits, in nats", "Good, J. R. Stat. Soc. B 1952"),
                Metric::Gauc => (
                    "area under the ROC curve within each group that has both classes, their mean weighted by rows",
                    "Zhu et al., KDD 2017",
                ),
                Metric::PrAuc => (
                    "area under the precision-recall curve by steps: average precision, ties at one threshold",
                    "Davis & Goadrich, ICML 2006",
                ),
                Metric::Ece => (
                    "expected calibration error: 15 bins of equal width",
                    "Naeini et al., AAAI 2015; Guo et al., ICML 2017",
                ),
                Metric::CalibrationRatio => (
                    "sum of predicted probabilities over the number of positives; nearest to 1 is best",
                    "He et al., ADKDD 2014",
                ),
            };
            Entry { name: metric.name(), summary, source, defaults: metric.name().to_owned() }
        };
        Self::ALL.iter().map(entry).collect()
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
    /// The best any model could reach on these rows, known for simulated logs only; none for metrics of calibration, in
    /// which predicting the base rate throughout cannot be beaten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attainable: Option<f64>,
    /// For a mean: how many tasks it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<usize>,
    /// For a task's metric by group: how many groups it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
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
    /// The reliability curve of each task over [`CALIBRATION_BINS`] bins of equally many rows; none in files of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reliability: Vec<Reliability>,
}
