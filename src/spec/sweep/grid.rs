//! The cells of a sweep, and one pipeline of all of them.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Sweep;
use crate::spec::{Loaded, Pipeline, Problems, Stage, parse};

/// One combination of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Which value of each axis.
    pub values: Vec<usize>,
    /// The cell's stages: their name in the swept pipeline, and in the pipeline of all cells.
    pub stages: IndexMap<String, String>,
}

/// All cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The cells, the last axis varying fastest.
    pub cells: Vec<Cell>,
    /// One pipeline of all cells. Stages that cells have in common stand in it once.
    pub pipeline: Pipeline,
}

/// Why there is no grid.
#[derive(Debug)]
pub(super) enum GridError {
    /// An axis does not fit the pipeline.
    Axis {
        /// Its place in the sweep.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// The pipeline of a cell is wrong.
    Cell(Problems),
}

impl Grid {
    pub(super) fn new(name: &str, sweep: &Sweep, base: &Loaded) -> Result<Self, GridError> {
        let counts: Vec<usize> = sweep.over.iter().map(super::Axis::len).collect();
        let total = counts.iter().product();
        let mut stages: Vec<Stage> = Vec::new();
        let mut cells: Vec<(Vec<usize>, IndexMap<String, usize>)> = Vec::with_capacity(total);
        for cell in 0..total {
            let values = digits(cell, &counts);
            if !makes_sense(sweep, &values) {
                continue;
            }
            let mut sets = Vec::new();
            for (index, (axis, &value)) in sweep.over.iter().zip(&values).enumerate() {
                let more = axis.sets(value, &base.pipeline);
                sets.extend(more.map_err(|problem| GridError::Axis { index, problem })?);
            }
            let name = base.path.display().to_string();
            let variant = parse(&base.text, &name, &sets).map_err(GridError::Cell)?.pipeline;
            cells.push((values, place(&variant, &mut stages)));
        }
        let names = names(sweep, &stages, &cells);
        let renamed =
            |stage: &Stage| stage.with_references(|number| names[number.parse::<usize>().unwrap_or(0)].clone());
        let pipeline = Pipeline {
            name: name.to_owned(),
            stages: names.iter().cloned().zip(stages.iter().map(renamed)).collect(),
            golden: None,
            resources: base.pipeline.resources.clone(),
        };
        let cell = |(values, places): (Vec<usize>, IndexMap<String, usize>)| Cell {
            values,
            stages: places.into_iter().map(|(stage, place)| (stage, names[place].clone())).collect(),
        };
        Ok(Self { cells: cells.into_iter().map(cell).collect(), pipeline })
    }
}

/// Whether no [`Only`](super::Only) rules a combination out.
fn makes_sense(sweep: &Sweep, values: &[usize]) -> bool {
    let chosen = |choice: &super::Choice| {
        sweep.over.iter().zip(values).any(|(axis, &value)| axis.position(choice) == Some(value))
    };
    let fits = |only: &super::Only| {
        !chosen(&only.value)
            || sweep.over.iter().zip(values).all(|(axis, &value)| {
                let mut named = only.with.iter().filter_map(|choice| axis.position(choice)).peekable();
                named.peek().is_none() || named.any(|position| position == value)
            })
    };
    sweep.only.iter().all(fits)
}

/// The digits of a number whose places count up to these, the last one fastest.
fn digits(mut number: usize, counts: &[usize]) -> Vec<usize> {
    let mut digits = vec![0; counts.len()];
    for (digit, count) in digits.iter_mut().zip(counts).rev() {
        (*digit, number) = (number % count, number / count);
    }
    digits
}

/// Finds the place of every stage of a pipeline among those of all, where references are places; adds those that are new.
/// Stages may stand in any order in a file, so one is taken as soon as all that it reads have been.
fn place(pipeline: &Pipeline, all: &mut Vec<Stage>) -> IndexMap<String, usize> {
    let mut places: IndexMap<String, usize> = IndexMap::new();
    while places.len() < pipeline.stages.len() {
        let before = places.len();
        for (name, stage) in &pipeline.stages {
            let ready = stage.references().iter().all(|source| places.contains_key(source.stage));
            if places.contains_key(name) || !ready {
                continue;
            }
            let stage = stage.with_references(|source| places[source].to_string());
            let place = all.iter().position(|known| *known == stage).unwrap_or_else(|| {
                all.push(stage);
                all.len() - 1
            });
            places.insert(name.clone(), place);
        }
        // a checked pipeline has no cycles
        if places.len() == before {
            break;
        }
    }
    places
}

/// A name for each stage: its own, and the values that all cells with it have in common of the axes where others differ.
fn names(sweep: &Sweep, stages: &[Stage], cells: &[(Vec<usize>, IndexMap<String, usize>)]) -> Vec<String> {
    let labels: Vec<Vec<String>> = sweep.over.iter().map(super::Axis::labels).collect();
    let mut names: Vec<String> = Vec::with_capacity(stages.len());
    for place in 0..stages.len() {
        let users: Vec<_> = cells.iter().filter(|(_, places)| places.values().any(|&p| p == place)).collect();
        let own = users.first().and_then(|(_, places)| places.iter().find(|(_, p)| **p == place));
        let own = own.map_or_else(String::new, |(name, _)| name.clone());
        let common = sweep.over.iter().enumerate().filter_map(|(axis, values)| {
            let (first, _) = users.first()?;
            let shared = values.len() > 1 && users.iter().all(|(values, _)| values[axis] == first[axis]);
            shared.then(|| {
                let label = &labels[axis][first[axis]];
                // a bare number would not say what it is
                if label.parse::<f64>().is_ok() { format!("{} {label}", values.name()) } else { label.clone() }
            })
        });
        let common: Vec<String> = common.collect();
        let name = if common.is_empty() { own } else { format!("{own} [{}]", common.join(", ")) };
        // two stages of one cell may be the same but for their name
        let again = names.iter().filter(|known| **known == name).count();
        names.push(if again == 0 { name } else { format!("{name} ({})", again + 1) });
    }
    names
}
