//! A stage as the planner and the runner see it: one object-safe face for all kinds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::{Context, Execute, External, Inputs, Lacking, Outcome, Provision, StageError};
use crate::registry::{Entry, to_ron};
use crate::spec::{self, Resources, Stage};
use crate::store::{Draft, FileDigests};

/// All that planning and running need of a stage. [`Stage`] has it through the [`Execute`] of its kind.
pub trait Work: Send + Sync {
    /// The kind's name, as a pipeline file spells it.
    fn kind(&self) -> &'static str;

    /// [`Execute::REVISION`] of the kind.
    fn revision(&self) -> u32;

    /// Whether the device can make a difference to the bits of the artifact.
    fn depends_on_device(&self) -> bool;

    /// Canonical parameters, flattened, references left out.
    fn parameters(&self) -> BTreeMap<String, String>;

    /// The stages it reads: field and name of the stage.
    fn references(&self) -> Vec<(Cow<'static, str>, String)>;

    /// See [`Execute::lacking`].
    fn lacking(&self, root: &Path) -> Vec<Lacking>;

    /// See [`Execute::provide`].
    ///
    /// # Errors
    /// When a file cannot be had.
    fn provide(&self, provision: &Provision) -> Result<(), StageError>;

    /// See [`Execute::externals`].
    ///
    /// # Errors
    /// When a file that must be there is not.
    fn externals(&self, root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError>;

    /// See [`Execute::run`].
    ///
    /// # Errors
    /// Whatever stops the stage.
    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError>;
}

/// Evaluates an expression for the parameters of whatever kind a stage is; `$Kind` is their type.
macro_rules! for_each_kind {
    ($stage:expr, |$parameters:ident: $Kind:ident| $body:expr) => {
        match $stage {
            Stage::Download($parameters) => {
                type $Kind = spec::Download;
                $body
            }
            Stage::Preprocess($parameters) => {
                type $Kind = spec::Preprocess;
                $body
            }
            Stage::BuildModel($parameters) => {
                type $Kind = spec::BuildModel;
                $body
            }
            Stage::Train($parameters) => {
                type $Kind = spec::Train;
                $body
            }
            Stage::Evaluate($parameters) => {
                type $Kind = spec::Evaluate;
                $body
            }
            Stage::Predict($parameters) => {
                type $Kind = spec::Predict;
                $body
            }
            Stage::Compare($parameters) => {
                type $Kind = spec::Compare;
                $body
            }
            Stage::Toy($parameters) => {
                type $Kind = spec::Toy;
                $body
            }
        }
    };
}

impl Work for Stage {
    fn kind(&self) -> &'static str {
        Stage::kind(self)
    }

    fn revision(&self) -> u32 {
        for_each_kind!(self, |_parameters: Kind| <Kind as Execute>::REVISION)
    }

    fn depends_on_device(&self) -> bool {
        matches!(self, Stage::Train(_) | Stage::Evaluate(_) | Stage::Predict(_))
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        Stage::parameters(self)
    }

    fn references(&self) -> Vec<(Cow<'static, str>, String)> {
        Stage::references(self).into_iter().map(|found| (found.field, found.stage.to_owned())).collect()
    }

    fn lacking(&self, root: &Path) -> Vec<Lacking> {
        for_each_kind!(self, |parameters: Kind| <Kind as Execute>::lacking(parameters, root))
    }

    fn provide(&self, provision: &Provision) -> Result<(), StageError> {
        for_each_kind!(self, |parameters: Kind| <Kind as Execute>::provide(parameters, provision))
    }

    fn externals(&self, root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError> {
        for_each_kind!(self, |parameters: Kind| <Kind as Execute>::externals(parameters, root, digests))
    }

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        for_each_kind!(self, |parameters: Kind| <Kind as Execute>::run(parameters, cx, inputs, out))
    }
}

/// The kinds of stages, each with the least a pipeline must say of it.
const KINDS: [(&str, &str, &str); 8] = [
    (
        "Download",
        "finds a data set where the user put it, fetches it, or simulates one",
        "Download(dataset: AliExpress())",
    ),
    (
        "Preprocess",
        "encodes a data set: ids to dense rows of the embedding table, train/valid/test splits",
        r#"Preprocess(from: "download")"#,
    ),
    (
        "BuildModel",
        "makes a model: an architecture with initial parameters, drawn or from a checkpoint",
        r#"BuildModel(data: "preprocess", arch: Mmoe())"#,
    ),
    ("Train", "trains a model with a balancer", r#"Train(model: "model", data: "preprocess")"#),
    ("Evaluate", "measures a model", r#"Evaluate(model: "train", data: "preprocess")"#),
    (
        "Predict",
        "scores the rows of a file with a model: a CSV with a probability for each task",
        r#"Predict(model: "train", data: "preprocess", rows: "new.csv")"#,
    ),
    (
        "Compare",
        "makes one table of several evaluations: means over runs, and which differences from a baseline count",
        r#"Compare(rows: [Row(name: "Ls", runs: ["evaluate"])])"#,
    ),
    (
        "Toy",
        "runs balancers on a problem of two parameters and two losses: trajectories, where they end, a figure",
        "Toy(balancers: [Ls()])",
    ),
];

/// The kinds of stages with every default written out, for `mtorec list stages`; what all of them have stands once.
pub fn entries() -> Vec<Entry> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
    let resources = format!("resources:{}", to_ron(&Resources::default()));
    let defaults = |least: &str| {
        let all = options.from_str::<Stage>(least).map_or_else(|_| least.to_owned(), |stage| to_ron(&stage));
        all.replace(&format!(",{resources}"), "")
    };
    let kinds = KINDS.into_iter();
    let mut entries: Vec<Entry> =
        kinds.map(|(name, summary, least)| Entry { name, summary, source: "", defaults: defaults(least) }).collect();
    let summary = "in any stage, or once for the whole pipeline: what its job asks for with `--on slurm`";
    entries.push(Entry { name: "resources", summary, source: "", defaults: resources });
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_with_its_defaults() {
        let entries = entries();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names, [Stage::KINDS, &["resources"]].concat());
        for (entry, (_, _, least)) in entries.iter().zip(KINDS) {
            assert!(entry.defaults.len() > least.len(), "no defaults in {}", entry.defaults);
        }
    }
}
