//! Recipes: all that decides what an artifact holds. The key is their digest, their difference is the reason to rerun.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// All that decides what an artifact holds. Names, comments, layout and order in the pipeline file are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The kind of stage.
    pub kind: String,
    /// The revision of that kind's implementation.
    pub revision: u32,
    /// The kind of device, where it can make a difference to the bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Canonical parameters, flattened: `optimizer.lr` → `0.001`.
    pub parameters: BTreeMap<String, String>,
    /// Content digests of the artifacts it reads, by the field that names them.
    pub inputs: BTreeMap<String, Digest>,
    /// Digests of the files outside the store that it reads, by their role.
    pub files: BTreeMap<String, Digest>,
}

impl Recipe {
    /// The name of the artifact that this recipe makes.
    pub fn key(&self) -> Digest {
        let fields: Vec<String> = self.parts().into_iter().flat_map(|(name, value)| [name, value]).collect();
        Digest::of_fields("mtorec 2026 artifact key", fields.iter().map(|field| field.as_bytes()))
    }

    /// What is different from an older recipe, in a fixed order; empty when the keys are equal.
    pub fn changes_since(&self, old: &Recipe) -> Vec<Change> {
        let (before, after) = (old.parts(), self.parts());
        let mut names: Vec<&String> = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, _) in after.iter().chain(&before) {
            if seen.insert(name) {
                names.push(name);
            }
        }
        let value = |parts: &[(String, String)], name: &String| {
            parts.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        };
        let changes = names
            .into_iter()
            .map(|name| Change { part: name.clone(), old: value(&before, name), new: value(&after, name) })
            .filter(|change| change.old != change.new)
            .collect();
        variants_as_one(changes)
    }

    /// Every part with the name people know it by. Parameters come bare, the other groups carry their own prefix with a
    /// space, which no parameter's name has: no two parts share a name.
    fn parts(&self) -> Vec<(String, String)> {
        let mut parts = vec![("stage kind".to_owned(), self.kind.clone())];
        parts.push(("implementation revision".to_owned(), self.revision.to_string()));
        parts.extend(self.device.iter().map(|device| ("device kind".to_owned(), device.clone())));
        parts.extend(self.parameters.iter().map(|(name, value)| (name.clone(), value.clone())));
        parts.extend(self.inputs.iter().map(|(field, digest)| (format!("input {field}"), digest.to_string())));
        parts.extend(self.files.iter().map(|(role, digest)| (format!("file {role}"), digest.to_string())));
        parts
    }
}

/// A place of the parameters where one variant took another's place, with all its fields, is one change and not as many as
/// the two have fields: `balancer: Famo(gamma: 0.001) → NashMtl(max_norm: 1.0)`.
fn variants_as_one(mut changes: Vec<Change>) -> Vec<Change> {
    let mut places: Vec<String> =
        changes.iter().flat_map(|change| variants_of(&change.part)).map(|(place, _, _)| place.to_owned()).collect();
    // the outermost first: what is inside goes with it
    places.sort_by_key(String::len);
    places.dedup();
    for place in places {
        let inside = |change: &Change| {
            change.part == place || variants_of(&change.part).iter().any(|(other, _, _)| *other == place)
        };
        let old = variant_at(&place, &changes, |change| change.old.as_deref().filter(|_| change.new.is_none()));
        let new = variant_at(&place, &changes, |change| change.new.as_deref().filter(|_| change.old.is_none()));
        let (Some((old, old_name)), Some((new, new_name))) = (old, new) else { continue };
        if old_name == new_name {
            continue;
        }
        let Some(first) = changes.iter().position(inside) else { continue };
        changes.retain(|change| !inside(change));
        changes.insert(first, Change { part: place, old: Some(old), new: Some(new) });
    }
    changes
}

/// Where a parameter's name goes through a variant, which begins with a capital: the place, the variant, and what is left.
fn variants_of(name: &str) -> Vec<(&str, &str, &str)> {
    let starts = name.match_indices('.').map(|(at, _)| at + 1);
    let capital = starts.filter(|&at| name[at..].starts_with(|c: char| c.is_ascii_uppercase()));
    capital
        .map(|at| {
            let (variant, rest) = name[at..].split_once('.').unwrap_or((&name[at..], ""));
            (&name[..at - 1], variant, rest)
        })
        .collect()
}

/// The variant at a place with the fields that one side of the changes gives it, and its name.
fn variant_at<'a>(
    place: &str,
    changes: &'a [Change],
    side: impl Fn(&'a Change) -> Option<&'a str>,
) -> Option<(String, &'a str)> {
    let mut found: Option<(&str, Vec<String>)> = None;
    for change in changes {
        let Some(value) = side(change) else { continue };
        if change.part == place {
            return Some((value.to_owned(), value));
        }
        let at_place = variants_of(&change.part).into_iter().find(|(other, _, _)| *other == place);
        let Some((_, variant, field)) = at_place else { continue };
        let (_, fields) = found.get_or_insert((variant, Vec::new()));
        fields.push(format!("{field}: {value}"));
    }
    found.map(|(variant, fields)| (format!("{variant}({})", fields.join(", ")), variant))
}

/// One part of a recipe that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which part: `seed`, `input data`, `file train`.
    pub part: String,
    /// What it was; `None` for a part that is new.
    pub old: Option<String>,
    /// What it is; `None` for a part that is gone.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = |value: &Option<String>| match value {
            None => "none".to_owned(),
            Some(text) => text.parse().map_or_else(|_| text.clone(), |digest: Digest| format!("{}…", digest.short())),
        };
        write!(f, "{}: {} → {}", self.part, shown(&self.old), shown(&self.new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            kind: "Train".into(),
            revision: 1,
            device: Some("cpu".into()),
            parameters: BTreeMap::from([("seed".into(), "1".into()), ("batch".into(), "2048".into())]),
            inputs: BTreeMap::from([("data".into(), Digest::of_bytes(b"abc"))]),
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn every_part_moves_the_key_and_is_named() {
        let old = recipe();
        type Edit = fn(&mut Recipe);
        let edits: [(&str, Edit); 6] = [
            ("stage kind: Train → Evaluate", |r| r.kind = "Evaluate".into()),
            ("implementation revision: 1 → 2", |r| r.revision = 2),
            ("device kind: cpu → none", |r| r.device = None),
            ("seed: 1 → 2", |r| {
                r.parameters.insert("seed".into(), "2".into());
            }),
            ("input data: 6437b3ac… → af1349b9…", |r| {
                r.inputs.insert("data".into(), Digest::of_bytes(b""));
            }),
            ("file train: none → af1349b9…", |r| {
                r.files.insert("train".into(), Digest::of_bytes(b""));
            }),
        ];
        for (expected, edit) in edits {
            let mut new = old.clone();
            edit(&mut new);
            assert_ne!(new.key(), old.key(), "{expected}");
            let changes: Vec<String> = new.changes_since(&old).iter().map(Change::to_string).collect();
            assert_eq!(changes, [expected]);
        }
        assert!(old.changes_since(&recipe()).is_empty());
        assert_eq!(old.key(), recipe().key());
    }

    #[test]
    fn a_variant_that_takes_anothers_place_is_one_change() {
        let with = |parameters: &[(&str, &str)]| Recipe {
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..recipe()
        };
        let says = |old: &[(&str, &str)], new: &[(&str, &str)]| -> Vec<String> {
            with(new).changes_since(&with(old)).iter().map(Change::to_string).collect()
        };
        let famo = [("balancer.Famo.gamma", "0.001"), ("balancer.Famo.lr", "0.025"), ("seed", "1")];
        let nash = [("balancer.NashMtl.scale", "Paper"), ("seed", "2")];
        assert_eq!(
            says(&famo, &nash),
            ["balancer: Famo(gamma: 0.001, lr: 0.025) → NashMtl(scale: Paper)", "seed: 1 → 2"]
        );
        assert_eq!(
            says(&famo, &[("balancer", "Gls"), ("seed", "1")]),
            ["balancer: Famo(gamma: 0.001, lr: 0.025) → Gls"]
        );
        assert_eq!(says(&[("balancer", "Gls")], &[("balancer", "Rlw")]), ["balancer: Gls → Rlw"]);
        // a field of the same variant, and a variant within another
        assert_eq!(
            says(&famo, &[("balancer.Famo.gamma", "0.1"), ("balancer.Famo.lr", "0.025"), ("seed", "1")]),
            ["balancer.Famo.gamma: 0.001 → 0.1"]
        );
        let clipped = |of: &'static str| [("balancer.ClippyAdam.abs", "0.1"), (of, "1")];
        assert_eq!(
            says(&clipped("balancer.ClippyAdam.of.Uw.init"), &clipped("balancer.ClippyAdam.of.Famo.gamma")),
            ["balancer.ClippyAdam.of: Uw(init: 1) → Famo(gamma: 1)"]
        );
    }
}
