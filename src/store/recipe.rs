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
        names
            .into_iter()
            .map(|name| Change { part: name.clone(), old: value(&before, name), new: value(&after, name) })
            .filter(|change| change.old != change.new)
            .collect()
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
}
