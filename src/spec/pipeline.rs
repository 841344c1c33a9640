//! The types of a pipeline file. Every field but the references between stages has a default.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::balance::Balancer;
use crate::data::Dataset;
use crate::fetch::Address;
use crate::metric::Metric;
use crate::model::{Arch, Sizes};
use crate::optim::{Adam, Optimizer};
use crate::spec::{Resources, Significance};

/// A whole pipeline file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Names the run's records; letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// The stages by name; the order in the file means nothing.
    pub stages: IndexMap<String, Stage>,
    /// Metrics that `golden check` holds this pipeline to.
    #[serde(default)]
    pub golden: Option<Golden>,
    /// What its stages ask of a cluster where they do not say so themselves.
    #[serde(default)]
    pub resources: Resources,
}

/// One node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    /// Finds (or fetches, or simulates) a data set.
    Download(Download),
    /// Encodes it: ids to dense rows of the embedding table, train/valid/test splits.
    Preprocess(Preprocess),
    /// Makes a model: an architecture with its initial parameters.
    BuildModel(BuildModel),
    /// Trains a model with a balancer.
    Train(Train),
    /// Measures a model.
    Evaluate(Evaluate),
    /// Scores the rows of a file.
    Predict(Predict),
    /// Makes one table of several evaluations.
    Compare(Compare),
    /// Runs balancers on a problem of two parameters and two losses.
    Toy(Toy),
}

/// A stage that another one reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The field that names it, as a path: `data`, `rows.0.runs.2`.
    pub field: Cow<'static, str>,
    /// Its name.
    pub stage: &'a str,
    /// The kinds that may stand there.
    pub kinds: &'static [&'static str],
}

impl Stage {
    /// The names of the kinds, as a file spells them.
    pub const KINDS: &'static [&'static str] =
        &["Download", "Preprocess", "BuildModel", "Train", "Evaluate", "Predict", "Compare", "Toy"];

    /// The kind's name, as a file spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Stage::Download(_) => "Download",
            Stage::Preprocess(_) => "Preprocess",
            Stage::BuildModel(_) => "BuildModel",
            Stage::Train(_) => "Train",
            Stage::Evaluate(_) => "Evaluate",
            Stage::Predict(_) => "Predict",
            Stage::Compare(_) => "Compare",
            Stage::Toy(_) => "Toy",
        }
    }

    /// The stages this one reads.
    pub fn references(&self) -> Vec<Reference<'_>> {
        const DATA: &[&str] = &["Preprocess"];
        const MODEL: &[&str] = &["BuildModel", "Train"];
        let to = |field: &'static str, stage, kinds| Reference { field: field.into(), stage, kinds };
        match self {
            Stage::Download(_) | Stage::Toy(_) => vec![],
            Stage::Preprocess(s) => vec![to("from", &s.from, &["Download"])],
            Stage::BuildModel(s) => vec![to("data", &s.data, DATA)],
            Stage::Train(s) => vec![to("model", &s.model, MODEL), to("data", &s.data, DATA)],
            Stage::Evaluate(s) => vec![to("model", &s.model, MODEL), to("data", &s.data, DATA)],
            Stage::Predict(s) => vec![to("model", &s.model, MODEL), to("data", &s.data, DATA)],
            Stage::Compare(s) => {
                let run = |row, (run, stage)| Reference {
                    field: Compare::field(row, run).into(),
                    stage,
                    kinds: &["Evaluate"],
                };
                let rows = s.rows.iter().enumerate();
                rows.flat_map(|(at, row)| row.runs.iter().map(String::as_str).enumerate().map(move |r| run(at, r)))
                    .collect()
            }
        }
    }

    /// What it asks of a cluster.
    pub fn resources(&self) -> &Resources {
        match self {
            Stage::Download(s) => &s.resources,
            Stage::Preprocess(s) => &s.resources,
            Stage::BuildModel(s) => &s.resources,
            Stage::Train(s) => &s.resources,
            Stage::Evaluate(s) => &s.resources,
            Stage::Predict(s) => &s.resources,
            Stage::Compare(s) => &s.resources,
            Stage::Toy(s) => &s.resources,
        }
    }

    /// The same stage with its references renamed.
    pub fn with_references(&self, rename: impl Fn(&str) -> String) -> Self {
        let mut stage = self.clone();
        let references: Vec<&mut String> = match &mut stage {
            Stage::Download(_) | Stage::Toy(_) => vec![],
            Stage::Preprocess(s) => vec![&mut s.from],
            Stage::BuildModel(s) => vec![&mut s.data],
            Stage::Train(s) => vec![&mut s.model, &mut s.data],
            Stage::Evaluate(s) => vec![&mut s.model, &mut s.data],
            Stage::Predict(s) => vec![&mut s.model, &mut s.data],
            Stage::Compare(s) => s.rows.iter_mut().flat_map(|row| &mut row.runs).collect(),
        };
        references.into_iter().for_each(|reference| *reference = rename(reference));
        stage
    }
}

/// Finds a data set where the user put it, fetches it, or simulates one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// Which data set.
    pub dataset: Dataset,
    /// The folder that holds its files; default `data/<dataset>`, see `data/README.md`.
    #[serde(default)]
    pub path: Option<String>,
    /// What to do when the files are not there.
    #[serde(default)]
    pub when_missing: WhenMissing,
    /// Files that are fetched from the web when they are not there.
    #[serde(default)]
    pub fetch: Vec<Fetch>,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

/// Where a file of a data set is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Its address, `http://` or `https://`.
    pub url: String,
    /// Its name in the data set's folder; by default the last part of the address.
    #[serde(default)]
    pub file: Option<String>,
    /// The SHA-256 that it must have, in hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl Fetch {
    /// Its name in the data set's folder, as far as there is one.
    pub fn name(&self) -> Option<String> {
        let of_url = || self.url.parse::<Address>().ok()?.file_name().map(str::to_owned);
        self.file.clone().or_else(of_url)
    }
}

/// What to do when a real data set is not there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum WhenMissing {
    /// Stop, and say where to get it and where to put it.
    #[default]
    Fail,
    /// Go on with a simulated log of the same shape, and mark everything made from it `simulated`.
    Simulate {
        /// Rows to simulate, train and test together.
        rows: usize,
        /// Seed of the simulation.
        #[serde(default)]
        seed: u64,
    },
}

/// Encodes a data set into train, valid and test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The `Download` stage.
    pub from: String,
    /// Where the validation rows come from.
    #[serde(default)]
    pub valid: Valid,
    /// Where the test rows come from.
    #[serde(default)]
    pub test: Test,
    /// What the splits keep together.
    #[serde(default)]
    pub by: By,
    /// Seed of the random splits.
    #[serde(default)]
    pub seed: u64,
    /// Replaces missing, NaN or infinite numerical values, before they are transformed; without it they are errors.
    #[serde(default)]
    pub fill: Option<Fill>,
    /// How many wrong rows, over all files, are left out and counted; one more is an error.
    #[serde(default)]
    pub max_bad_rows: usize,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

/// Where the validation rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Valid {
    /// This share of the test rows, drawn at random; the rest stays test.
    FromTest(f64),
    /// This share of the training rows, drawn at random; the rest stays training.
    FromTrain(f64),
    /// This share of the training rows, those with the latest times; the rest stays training.
    Latest(f64),
}

impl Default for Valid {
    fn default() -> Self {
        Valid::FromTest(0.5)
    }
}

/// Where the test rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Test {
    /// The data set's own test file.
    #[default]
    AsGiven,
    /// All files are pooled and this share of the rows, drawn at random, is the test set.
    Random(f64),
    /// All files are pooled and this share of the rows, those with the latest times, is the test set.
    Latest(f64),
}

/// What stands for a missing number: `0.0`, or any other number, or `Mean`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Fill {
    /// The same number in all columns; the name may be left out.
    Number(f32),
    /// The mean of the column's numbers in the training rows.
    Mean,
}

/// What the splits keep together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum By {
    /// Nothing: every row goes its own way.
    #[default]
    Row,
    /// The rows of a group (a user, a search): no group is in two splits.
    Group,
}

/// Makes a model: an architecture with its initial parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildModel {
    /// The `Preprocess` stage whose schema sizes the embedding table.
    pub data: String,
    /// The architecture and its hyper-parameters.
    pub arch: Arch,
    /// Widths of the network.
    #[serde(default)]
    pub sizes: Sizes,
    /// Seed of the initial parameters that are drawn.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where the initial parameters come from.
    #[serde(default)]
    pub init: Init,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

/// Where a model's initial parameters come from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Init {
    /// Drawn at random from the seed.
    #[default]
    Random,
    /// Read from a safetensors file with the names and layouts of PyTorch's `state_dict`, one that a stage of mtorec
    /// wrote or one that came from PyTorch; a relative path starts at the project's folder.
    Checkpoint(String),
}

/// Trains a model with a balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// The `BuildModel` stage (or a `Train` stage to go on from).
    pub model: String,
    /// The `Preprocess` stage.
    pub data: String,
    /// How the tasks are balanced.
    #[serde(default)]
    pub balancer: Balancer,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// At most this many passes over the training rows.
    #[serde(default = "fifty")]
    pub epochs: usize,
    /// Rows per step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Stop after this many epochs in a row without a better mean validation AUC.
    #[serde(default = "three")]
    pub patience: usize,
    /// Seed of the row order, dropout and the balancer's own randomness.
    #[serde(default = "one")]
    pub seed: u64,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

/// Measures a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The `Train` (or `BuildModel`) stage.
    pub model: String,
    /// The `Preprocess` stage.
    pub data: String,
    /// What to measure.
    #[serde(default = "auc_and_log_loss")]
    pub metrics: Vec<Metric>,
    /// Which rows to measure on.
    #[serde(default)]
    pub on: On,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

/// Which rows to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum On {
    Train,
    Valid,
    #[default]
    Test,
}

/// Scores the rows of a file: `predictions.csv` holds a probability for each task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predict {
    /// The `Train` (or `BuildModel`) stage.
    pub model: String,
    /// The `Preprocess` stage that says how values become what the model reads.
    pub data: String,
    /// The file, laid out like those of the data set that `data` was made from; columns are found by name, and labels need
    /// not be there. Of an archive of AliExpress as it is published, the test rows. A relative path starts at the project's
    /// folder.
    pub rows: String,
    /// Columns of the file that are copied beside the probabilities; without any, the rows' numbers stand there.
    #[serde(default)]
    pub keep: Vec<String>,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

/// Makes one table of several evaluations: a row for each variant, a column for each task (and data set), means over runs,
/// and which differences from a baseline count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The rows.
    pub rows: Vec<CompareRow>,
    /// What to compare; a table for each.
    #[serde(default = "auc")]
    pub metrics: Vec<Metric>,
    /// The row that the others are compared with.
    #[serde(default)]
    pub baseline: Option<String>,
    /// The row that Δm% is measured from.
    #[serde(default)]
    pub single_task: Option<String>,
    /// When a difference from the baseline counts.
    #[serde(default)]
    pub test: Significance,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

impl Compare {
    /// The path of the field that names a run.
    pub fn field(row: usize, run: usize) -> String {
        format!("rows.{row}.runs.{run}")
    }
}

/// What one variant came to on one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Row")]
pub struct CompareRow {
    /// The variant; entries of the same name make one row.
    pub name: String,
    /// Rows of one class stand together.
    #[serde(default)]
    pub class: Option<String>,
    /// The data set that these runs are of, where there are several: a group of columns.
    #[serde(default)]
    pub data: String,
    /// `Evaluate` stages that differ by their seed only, in the same order in every row: they are compared in pairs.
    pub runs: Vec<String>,
}

/// Runs balancers on a problem of two parameters and two losses, from several starts: trajectories, where they end, and
/// a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toy {
    /// The balancers to compare.
    pub balancers: Vec<Balancer>,
    /// Optimizer steps from every start.
    #[serde(default = "fifty_thousand")]
    pub steps: u64,
    /// What multiplies the first loss.
    #[serde(default = "one_f64")]
    pub scale: f64,
    /// The optimizer of the two parameters; without weight decay unless one is asked for.
    #[serde(default = "adam_without_decay")]
    pub optimizer: Optimizer,
    /// Seed of the balancers' own randomness.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where to start, `(x1, x2)` each; the five points of the published figures unless others are given.
    #[serde(default = "published_starts")]
    pub starts: Vec<(f64, f64)>,
    /// What it asks of a cluster.
    #[serde(default)]
    pub resources: Resources,
}

impl Toy {
    /// The starts of the published figures (Nash-MTL, ICML 2022; FAMO, NeurIPS 2023).
    pub const STARTS: [(f64, f64); 5] = [(-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)];

    /// Everywhere the second loss is above this, and the first above `scale` times this.
    pub const LOWEST: f64 = -20.0;

    /// What the two losses stay above.
    pub fn losses_above(&self) -> [f64; 2] {
        [self.scale * Self::LOWEST, Self::LOWEST]
    }
}

/// Metrics that `golden check` holds a pipeline to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Where the blessed metrics lie, relative to the project's folder.
    pub file: String,
    /// Largest absolute difference that is no regression.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
    /// Metrics that are held otherwise.
    #[serde(default)]
    pub metrics: Vec<Held>,
}

/// How one metric is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Which metric, for every task.
    pub metric: Metric,
    /// Largest absolute difference that is no regression.
    #[serde(default)]
    pub absolute: Option<f64>,
    /// Largest difference that is no regression, as a share of the blessed number; the larger of both counts. With neither,
    /// the tolerance of all metrics does.
    #[serde(default)]
    pub relative: Option<f64>,
    /// Which differences beyond the tolerance fail.
    #[serde(default)]
    pub fails: Fails,
}

/// Which differences beyond the tolerance fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fails {
    /// Better numbers too: something changed that nobody blessed.
    #[default]
    Any,
    /// Only worse ones.
    Worse,
}

fn one() -> u64 {
    1
}
fn one_f64() -> f64 {
    1.0
}
fn fifty_thousand() -> u64 {
    50_000
}
fn adam_without_decay() -> Optimizer {
    Optimizer::Adam(Adam { lr: 1e-3, weight_decay: 0.0, ..Adam::default() })
}
fn published_starts() -> Vec<(f64, f64)> {
    Toy::STARTS.to_vec()
}
fn three() -> usize {
    3
}
fn fifty() -> usize {
    50
}
fn batch() -> usize {
    2048
}
fn tolerance() -> f64 {
    0.002
}
fn auc() -> Vec<Metric> {
    vec![Metric::Auc]
}
fn auc_and_log_loss() -> Vec<Metric> {
    vec![Metric::Auc, Metric::LogLoss]
}
