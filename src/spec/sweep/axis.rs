//! The axes of a sweep: values, their names, and what each changes in a pipeline.

use serde::{Deserialize, Serialize};

use crate::balance::Balancer;
use crate::data::{Country, Dataset};
use crate::model::Arch;
use crate::registry::{in_full, labels, to_ron};
use crate::spec::{Pipeline, Stage};

/// An axis of the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Axis {
    /// The country of every AliExpress log, simulated ones included.
    Country(Vec<Country>),
    /// The architecture of every model.
    Arch(Vec<Arch>),
    /// The balancer of every training.
    Balancer(Vec<Balancer>),
    /// The seed of every model and every training: what means and tests go over.
    Seed(Vec<u64>),
    /// Any field, by its path as in `--set`.
    Set(String, Vec<Scalar>),
}

/// A value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Choice {
    /// Of [`Axis::Country`].
    Country(Country),
    /// Of [`Axis::Arch`].
    Arch(Arch),
    /// Of [`Axis::Balancer`].
    Balancer(Balancer),
    /// Of [`Axis::Set`].
    Set(String, Scalar),
}

/// A number, a truth value or a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Axis {
    /// What the axis is called.
    pub fn name(&self) -> &str {
        match self {
            Axis::Country(_) => "country",
            Axis::Arch(_) => "arch",
            Axis::Balancer(_) => "balancer",
            Axis::Seed(_) => "seed",
            Axis::Set(path, _) => path,
        }
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        match self {
            Axis::Country(values) => values.len(),
            Axis::Arch(values) => values.len(),
            Axis::Balancer(values) => values.len(),
            Axis::Seed(values) => values.len(),
            Axis::Set(_, values) => values.len(),
        }
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values in a few words each.
    pub fn labels(&self) -> Vec<String> {
        let full = |labels: Vec<(&'static str, String)>| {
            labels.iter().map(|(name, settings)| in_full(name, settings)).collect::<Vec<_>>()
        };
        match self {
            Axis::Country(values) => values.iter().map(|country| country.code().to_owned()).collect(),
            Axis::Arch(values) => full(labels(values)),
            Axis::Balancer(values) => full(labels(values)),
            Axis::Seed(values) => values.iter().map(u64::to_string).collect(),
            Axis::Set(_, values) => values.iter().map(to_ron).collect(),
        }
    }

    /// A value that stands twice.
    pub(super) fn repeated(&self) -> Option<String> {
        fn first<T: PartialEq>(values: &[T]) -> Option<usize> {
            (1..values.len()).find(|&at| values[..at].contains(&values[at]))
        }
        let at = match self {
            Axis::Country(values) => first(values),
            Axis::Arch(values) => first(values),
            Axis::Balancer(values) => first(values),
            Axis::Seed(values) => first(values),
            Axis::Set(_, values) => first(values),
        };
        at.map(|at| self.labels().swap_remove(at))
    }

    /// Which of its values a choice is.
    pub fn position(&self, choice: &Choice) -> Option<usize> {
        match (self, choice) {
            (Axis::Country(values), Choice::Country(choice)) => values.iter().position(|value| value == choice),
            (Axis::Arch(values), Choice::Arch(choice)) => values.iter().position(|value| value == choice),
            (Axis::Balancer(values), Choice::Balancer(choice)) => values.iter().position(|value| value == choice),
            (Axis::Set(path, values), Choice::Set(chosen, choice)) if path == chosen => {
                values.iter().position(|value| value == choice)
            }
            _ => None,
        }
    }

    /// What a value changes in a pipeline, as `--set` arguments.
    ///
    /// # Errors
    /// When the pipeline has nothing that the axis could change.
    pub(super) fn sets(&self, value: usize, pipeline: &Pipeline) -> Result<Vec<String>, String> {
        let of = |pick: &dyn Fn(&Stage) -> bool, field: &str, value: String| -> Vec<String> {
            let stages = pipeline.stages.iter().filter(|(_, stage)| pick(stage));
            stages.map(|(name, _)| format!("{name}.{field}={value}")).collect()
        };
        let builds = |stage: &Stage| matches!(stage, Stage::BuildModel(_));
        let trains = |stage: &Stage| matches!(stage, Stage::Train(_));
        let (sets, wanted) = match self {
            Axis::Country(values) => {
                let has_country = |stage: &Stage| {
                    matches!(stage, Stage::Download(download)
                        if matches!(download.dataset, Dataset::AliExpress(_) | Dataset::Simulated(_)))
                };
                (of(&has_country, "dataset.country", to_ron(&values[value])), "`Download` of an AliExpress log")
            }
            Axis::Arch(values) => (of(&builds, "arch", to_ron(&values[value])), "`BuildModel`"),
            Axis::Balancer(values) => (of(&trains, "balancer", to_ron(&values[value])), "`Train`"),
            Axis::Seed(values) => {
                let seeded = |stage: &Stage| builds(stage) || trains(stage);
                (of(&seeded, "seed", values[value].to_string()), "`BuildModel` or `Train`")
            }
            Axis::Set(path, values) => (vec![format!("{path}={}", to_ron(&values[value]))], ""),
        };
        if sets.is_empty() {
            return Err(format!("the pipeline has no {wanted} that the axis `{}` could change", self.name()));
        }
        Ok(sets)
    }
}
