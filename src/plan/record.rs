//! What the last run of a pipeline left, stage by stage: what `plan` compares with and `metrics` reads.

use std::fs;
use std::io;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::store::{Digest, Recipe, Store, StoreError};

/// The record of a pipeline's last run, kept in the store under the pipeline's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its stages.
    pub stages: IndexMap<String, StageRecord>,
}

/// The last artifact that a stage of this name came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The artifact's key.
    pub key: Digest,
    /// What it was made by.
    pub recipe: Recipe,
    /// Whether the last run that wanted the stage got there; if not, the artifact is from an earlier run.
    pub reached: bool,
}

impl Record {
    /// The kind of device that the last run computed on, if any of its stages depends on that.
    pub fn device(&self) -> Option<&str> {
        self.stages.values().filter(|stage| stage.reached).find_map(|stage| stage.recipe.device.as_deref())
    }

    /// The record of a pipeline; empty when it never ran.
    ///
    /// # Errors
    /// When the system refuses to read. A record that cannot be understood is warned of and counts as none: it only
    /// explains, and decides nothing.
    pub fn load(store: &Store, pipeline: &str) -> Result<Self, StoreError> {
        let path = store.record(pipeline);
        let empty = Self { pipeline: pipeline.to_owned(), stages: IndexMap::new() };
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the record of the last run cannot be understood");
                empty
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(empty),
            Err(source) => Err(StoreError::Io { action: "read", path, source }),
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        store.prepare()?;
        let path = store.record(&self.pipeline);
        let written =
            serde_json::to_vec_pretty(self).map_err(io::Error::from).and_then(|json| store.replace(&path, &json));
        written.map_err(|source| StoreError::Io { action: "write", path, source })
    }
}
