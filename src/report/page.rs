//! The page itself: what the template in `templates/report.html` is filled with.

use askama::Template;

use super::chart::{Chart, Line};
use super::dag;
use super::forest::Forest;
use crate::comparison::Table;
use crate::metric::{MEAN, Reliability};
use crate::readable;
use crate::run::{GoldenMetrics, StageEvaluation, StagePredictions};
use crate::spec::{Grid, Sweep};

/// What a page is about.
pub struct Source<'a> {
    /// The files that say what is run, with their names: a pipeline; a sweep and its pipeline.
    pub files: Vec<(String, String)>,
    /// `--set` arguments.
    pub sets: Vec<String>,
    /// The blessed metrics, to which those that the page shows are held.
    pub blessed: Option<GoldenMetrics>,
    /// The sweep, if it is one.
    pub sweep: Option<(&'a Sweep, &'a Grid)>,
}

/// A page: one HTML document that needs nothing else.
#[derive(Debug, Default, Template)]
#[template(path = "report.html")]
pub struct Page {
    pub(super) title: String,
    pub(super) written: String,
    pub(super) tool: String,
    pub(super) simulated: bool,
    pub(super) state: String,
    pub(super) cells: Option<CellCount>,
    pub(super) findings: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) dag: Option<String>,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) evaluations: Vec<Measured>,
    pub(super) predictions: Vec<Scored>,
    pub(super) overview: Vec<String>,
    pub(super) trainings: Vec<Training>,
    pub(super) toys: Vec<ToyFigure>,
    pub(super) stages: Vec<StageRow>,
    pub(super) configuration: Configuration,
    pub(super) machines: Vec<String>,
    pub(super) this_machine: String,
}

impl Page {
    /// Whether no stage has come to anything.
    pub fn is_empty(&self) -> bool {
        self.stages.iter().all(|stage| stage.key.is_empty())
    }

    fn comparison_has_plots(&self) -> bool {
        self.comparisons.iter().any(|comparison| !comparison.forests.is_empty())
    }

    fn number(&self, value: &Option<f64>) -> String {
        readable::number(*value, 4)
    }
}

/// How far a sweep is.
#[derive(Debug)]
pub(super) struct CellCount {
    pub done: usize,
    pub all: usize,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub files: Vec<(String, String)>,
    pub sets: Vec<String>,
}

/// A table and its forest plots.
#[derive(Debug)]
pub(super) struct Comparison {
    pub stage: String,
    pub table: Table,
    /// Of the means over tasks.
    pub forests: Vec<String>,
    /// Of the single tasks.
    pub more: Vec<String>,
}

impl Comparison {
    pub fn new(stage: &str, table: &Table) -> Self {
        let plots = |of_means: bool| {
            let columns = (0..table.columns.len()).filter(|&column| (table.columns[column].1 == MEAN) == of_means);
            columns.filter_map(|column| Some(Forest::of(table, column)?.to_string())).collect()
        };
        Self { stage: stage.to_owned(), table: table.clone(), forests: plots(true), more: plots(false) }
    }

    /// The data sets of the columns, each with how many columns it has.
    fn data(&self) -> Vec<(&str, usize)> {
        let mut groups: Vec<(&str, usize)> = Vec::new();
        for (data, _) in &self.table.columns {
            match groups.last_mut() {
                Some((last, count)) if last == data => *count += 1,
                _ => groups.push((data, 1)),
            }
        }
        groups
    }

    fn has_data(&self) -> bool {
        self.table.columns.iter().any(|(data, _)| !data.is_empty())
    }

    /// Whether a row is the first of its class, but not the first of all.
    fn begins_class(&self, row: &usize) -> bool {
        let rows = &self.table.rows;
        *row > 0 && rows[*row].class != rows[*row - 1].class
    }

    /// Columns that stand before the numbers.
    fn heads(&self) -> usize {
        usize::from(self.table.has_classes()) + self.table.axes.len()
    }
}

/// What an evaluation measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub found: StageEvaluation,
    /// What was predicted against what came.
    pub reliability: Option<String>,
}

impl Measured {
    pub fn new(found: &StageEvaluation) -> Self {
        let line = |(colour, of): (usize, &Reliability)| Line {
            name: of.task.clone(),
            colour,
            points: of.bins.iter().map(|bin| (bin.predicted, bin.observed)).collect(),
        };
        let chart = Chart {
            title: "Reliability: rows in bins of equal size".to_owned(),
            x: "mean predicted probability",
            y: "observed share".to_owned(),
            lines: found.evaluation.reliability.iter().enumerate().map(line).collect(),
            diagonal: true,
            ..Chart::default()
        };
        let reliability = chart.is_worth_drawing().then(|| chart.to_string());
        Self { found: found.clone(), reliability }
    }

    fn has_attainable(&self) -> bool {
        self.found.evaluation.values.iter().any(|value| value.attainable.is_some())
    }
}

/// What a `Predict` stage came to.
#[derive(Debug)]
pub(super) struct Scored {
    pub found: StagePredictions,
    /// Where the probabilities lie.
    pub path: String,
}

impl Scored {
    pub fn new(found: &StagePredictions) -> Self {
        Self { found: found.clone(), path: readable::from_here(&found.predictions).display().to_string() }
    }
}

/// A training's learning curve.
#[derive(Debug)]
pub(super) struct Training {
    pub title: String,
    pub summary: String,
    pub current: bool,
    pub charts: Vec<String>,
}

/// The figure of a toy problem.
#[derive(Debug)]
pub(super) struct ToyFigure {
    pub stage: String,
    pub figure: String,
}

/// A line of the table of stages.
#[derive(Debug)]
pub(super) struct StageRow {
    pub name: String,
    pub kind: &'static str,
    pub state: &'static str,
    pub verdict: String,
    pub key: String,
    pub made: String,
    pub took: String,
    pub size: String,
    pub tool: String,
    pub simulated: bool,
    pub summary: String,
    pub parameters: Vec<String>,
}

impl StageRow {
    /// The beginning of the key: enough to find it by.
    fn short_key(&self) -> &str {
        self.key.get(..12).unwrap_or(&self.key)
    }
}
