//! What the columns of an encoded data set are.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DataError;

/// One categorical field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// Rows of the embedding table that belong to it, the out-of-vocabulary row included.
    pub size: usize,
    /// The row that stands for ids unseen in training, if the field has one (the last row).
    pub out_of_vocabulary: Option<u32>,
}

/// What the columns of an encoded data set are; a model fits a data set when the schemas are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Categorical fields in column order.
    pub fields: Vec<Field>,
    /// Names of the numerical columns, in order.
    pub numerical: Vec<String>,
    /// Names of the tasks, in order; for a funnel the click comes first.
    pub tasks: Vec<String>,
}

impl Schema {
    /// Rows of the whole embedding table: the sum of the fields' sizes.
    pub fn vocabulary(&self) -> usize {
        self.fields.iter().map(|field| field.size).sum()
    }

    /// Reads a `schema.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no schema.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read(path).map_err(DataError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| DataError::unsound(path, error.to_string()))
    }

    /// Writes a `schema.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        fs::write(path, self.to_json()).map_err(DataError::write(path))
    }

    /// The text of a `schema.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and numbers always serialise")
    }

    /// The first difference from another schema, in words; `None` when a model of one fits data of the other.
    pub fn difference(&self, other: &Schema) -> Option<String> {
        if self.tasks != other.tasks {
            return Some(format!("tasks {:?} against {:?}", self.tasks, other.tasks));
        }
        if self.numerical != other.numerical {
            return Some(format!("{} numerical columns against {}", self.numerical.len(), other.numerical.len()));
        }
        if self.fields.len() != other.fields.len() {
            return Some(format!("{} categorical fields against {}", self.fields.len(), other.fields.len()));
        }
        self.fields
            .iter()
            .zip(&other.fields)
            .find(|(a, b)| a != b)
            .map(|(a, b)| format!("field `{}` with {} rows against `{}` with {}", a.name, a.size, b.name, b.size))
    }
}
