//! Sweeps: a grid of variants of one pipeline. A sweep file names the pipeline and the axes; [`load_sweep`] reads it, and
//! `grid` makes one pipeline of all cells, in which stages that cells have in common stand once.

mod axis;
mod grid;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::decode::decode;
use super::diagnostic::{Origin, Problem, Problems, Source};
use super::parse::parse_file;
use super::syntax::{Node, Span};
use super::{kind_of_file, limits, load, of_other_kind};

pub use axis::{Axis, Choice, Scalar};
pub use grid::{Cell, Grid};

/// A whole sweep file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The pipeline file, relative to the project's folder.
    pub pipeline: String,
    /// The axes; every combination of their values is a cell.
    pub over: Vec<Axis>,
    /// Combinations that make no sense: cells with the one value are cells only with the others.
    #[serde(default)]
    pub only: Vec<Only>,
    /// The variant that the others are compared with: in every row, these values in place of the row's own.
    #[serde(default)]
    pub baseline: Vec<Choice>,
    /// The variant that Δm% is measured from.
    #[serde(default)]
    pub single_task: Vec<Choice>,
    /// When a difference from the baseline counts.
    #[serde(default)]
    pub test: Significance,
}

/// What a value goes with: `Only(value: Arch(SingleTask()), with: [Balancer(Ls())])`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// The value.
    pub value: Choice,
    /// What its cells have on other axes: one of these, where an axis is named.
    pub with: Vec<Choice>,
}

/// When a difference counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Significance {
    /// By the two-sided t-test over seeds, each paired with itself, at this level.
    PairedT(f64),
}

impl Significance {
    /// The level of the test: how often it may call an accident a difference.
    pub fn level(self) -> f64 {
        let Self::PairedT(level) = self;
        level
    }

    /// What is wrong with it.
    pub(super) fn problem(self) -> Option<String> {
        let level = self.level();
        let sound = level > 0.0 && level < 1.0;
        (!sound).then(|| format!("the level of a test lies between 0 and 1, not {level}"))
    }
}

impl Default for Significance {
    fn default() -> Self {
        Self::PairedT(0.05)
    }
}

/// A sweep without problems and its cells.
#[derive(Debug)]
pub struct LoadedSweep {
    /// The sweep.
    pub sweep: Sweep,
    /// Its cells.
    pub grid: Grid,
}

/// Reads a sweep file and the pipeline it names; `root` gives the project's folder for a sweep file.
///
/// # Errors
/// Everything that is wrong with the sweep; then with the pipeline, and with its variants.
pub fn load_sweep(path: &Path, root: impl Fn(&Path) -> PathBuf) -> Result<LoadedSweep, Problems> {
    let name = path.display().to_string();
    let all = |text: &str, problems: Vec<Problem>| {
        Problems::new(vec![Source { origin: Origin::File(name.clone()), text: text.to_owned() }], problems)
    };
    let text = fs::read_to_string(path).map_err(|error| {
        let start = Span { source: 0, start: 0, end: 0 };
        all("", vec![Problem::new(format!("cannot read the file: {error}"), start)])
    })?;
    let (tree, mut problems) = parse_file(&text, 0);
    let Some(tree) = tree else { return Err(all(&text, problems)) };
    if let Some(mistaken) = of_other_kind(&tree, &name, "Sweep") {
        problems.push(mistaken);
        return Err(all(&text, problems));
    }
    let decoded = decode::<Sweep>(&tree);
    problems.extend(decoded.problems);
    problems.extend(limits::out_of_range(&tree, &decoded.faulty));
    let Some(sweep) = decoded.value.filter(|_| problems.is_empty()) else { return Err(all(&text, problems)) };
    problems.extend(check(&sweep, &tree));
    if !problems.is_empty() {
        return Err(all(&text, problems));
    }
    let varied = root(path).join(&sweep.pipeline);
    if kind_of_file(&varied).as_deref() == Some("Sweep") {
        let problem = Problem::new("this file is a sweep itself", tree.locate(&["pipeline"]).head);
        return Err(all(&text, vec![problem.hint("name the pipeline that it varies, and give its axes here")]));
    }
    let base = load(varied, &[])?;
    let stem = path.file_stem().map_or_else(|| "sweep".to_owned(), |stem| stem.to_string_lossy().into_owned());
    match Grid::new(&stem, &sweep, &base) {
        Ok(grid) => Ok(LoadedSweep { sweep, grid }),
        Err(grid::GridError::Axis { index, problem }) => {
            let place = tree.locate(&["over", &index.to_string()]).head;
            Err(all(&text, vec![Problem::new(problem, place)]))
        }
        Err(grid::GridError::Cell(problems)) => Err(problems),
    }
}

/// Cells of a grid at most: more are a slip, and would take days where they took memory enough.
const MOST_CELLS: usize = 10_000;

/// What types cannot say of a sweep.
fn check(sweep: &Sweep, tree: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let over = |index: usize| tree.locate(&["over", &index.to_string()]).head;
    if sweep.over.is_empty() {
        let place = tree.locate(&["over"]).head;
        problems.push(Problem::new("`over` is empty", place).hint("for example `over: [Seed([1, 2, 3])]`"));
    }
    let mut kinds = HashSet::new();
    for (index, axis) in sweep.over.iter().enumerate() {
        if axis.is_empty() {
            problems.push(Problem::new(format!("the axis `{}` has no values", axis.name()), over(index)));
        }
        if let Some(twice) = axis.repeated() {
            problems.push(Problem::new(format!("`{twice}` is given twice"), over(index)));
        }
        if !kinds.insert(axis.name()) {
            problems.push(Problem::new(format!("the axis `{}` is given twice", axis.name()), over(index)));
        }
    }
    let cells = sweep.over.iter().try_fold(1_usize, |cells, axis| cells.checked_mul(axis.len()));
    if cells.is_none_or(|cells| cells > MOST_CELLS) {
        let counts: Vec<String> = sweep.over.iter().map(|axis| axis.len().to_string()).collect();
        let message = format!("the grid has {} cells, more than {MOST_CELLS}", counts.join(" × "));
        let problem = Problem::new(message, tree.locate(&["over"]).head);
        problems.push(problem.hint("leave values out, or make several sweeps of it"));
    }
    for (field, choices) in [("baseline", &sweep.baseline), ("single_task", &sweep.single_task)] {
        for (index, choice) in choices.iter().enumerate() {
            if !sweep.over.iter().any(|axis| axis.position(choice).is_some()) {
                let place = tree.locate(&[field, &index.to_string()]).head;
                let problem = Problem::new(format!("no axis of `over` has this value of `{field}`"), place);
                problems.push(problem.hint("a row to compare with is one of the sweep's own"));
            }
        }
    }
    for (index, only) in sweep.only.iter().enumerate() {
        for choice in std::iter::once(&only.value).chain(&only.with) {
            if !sweep.over.iter().any(|axis| axis.position(choice).is_some()) {
                let place = tree.locate(&["only", &index.to_string()]).head;
                problems.push(Problem::new("no axis of `over` has one of these values", place));
            }
        }
    }
    let place = tree.locate(&["test"]).head;
    problems.extend(sweep.test.problem().map(|problem| Problem::new(problem, place)));
    problems
}

#[cfg(test)]
mod tests;
