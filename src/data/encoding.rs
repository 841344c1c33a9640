//! Encoding: what the training rows alone decide (vocabularies, statistics), and its application to every row.

use std::ops::Range;

use indexmap::IndexSet;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::log::{Categories, RawField, RawLog};
use super::{DataError, Field, Parts, Rows, Schema};

/// Fields looked at together: half a cache line of every row.
const TOGETHER: usize = 8;

/// `encoding.json` of a `Preprocess` artifact: all one needs to encode further rows of the same log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// How each categorical field's values became ids, in column order.
    pub fields: Vec<FieldEncoding>,
    /// How each numerical column was scaled, in column order.
    pub numerical: Vec<Scaling>,
}

impl Encoding {
    /// Where the record lies in an artifact.
    pub const FILE: &str = "encoding.json";

    /// The text of an `encoding.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers always serialise")
    }
}

/// How one categorical field's values became ids. Everything else is out of vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldEncoding {
    /// Ids below the field's last keep their number, but for these, which no training row has.
    Dense {
        /// Ids below the largest training id that no training row has, ascending.
        unseen: Vec<u32>,
    },
    /// The id of a value is its place here: the distinct values of the training rows, sorted by their bytes.
    Dictionary(Vec<String>),
}

/// How a numerical column was scaled: `(x - mean) / deviation`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Mean over the training rows; 0 for a column that stays as it is.
    pub mean: f64,
    /// Standard deviation over the training rows; 1 for a constant column and for one that stays as it is.
    pub deviation: f64,
}

impl Scaling {
    /// Leaves a column as it is.
    pub const NONE: Self = Self { mean: 0.0, deviation: 1.0 };
}

/// A log whose rows are encoded, still in the order of its files.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) schema: Schema,
    pub(crate) encoding: Encoding,
    pub(crate) rows: Rows,
}

/// Encodes a log in place.
///
/// `train` are the training rows: their values alone make the vocabularies, and their statistics scale the columns.
///
/// # Errors
/// When scaling turns a number into no number.
pub(crate) fn encode(log: RawLog, train: &[u32]) -> Result<Encoded, DataError> {
    let RawLog { fields, numerical, tasks, mut parts, standardise, .. } = log;
    let width = fields.len();
    let seen: Vec<Vec<bool>> = (0..width)
        .into_par_iter()
        .step_by(TOGETHER)
        .flat_map_iter(|at| seen_in(&parts.categorical, width, at..(at + TOGETHER).min(width), train))
        .collect();
    let maps: Vec<IdMap> = fields.into_par_iter().zip(&seen).map(|(field, seen)| IdMap::new(field, seen)).collect();
    if width > 0 {
        parts.categorical.par_chunks_mut(width).for_each(|ids| {
            for (id, map) in ids.iter_mut().zip(&maps) {
                *id = map.apply(*id);
            }
        });
    }
    let scalings = if standardise {
        standardise_columns(&mut parts, numerical.len(), train)
    } else {
        vec![Scaling::NONE; numerical.len()]
    };
    let (fields, encodings) = maps.into_iter().map(|map| (map.field, map.encoding)).unzip();
    let schema = Schema { fields, numerical, tasks };
    let rows = Rows::from_parts(&schema, parts)?;
    Ok(Encoded { schema, encoding: Encoding { fields: encodings, numerical: scalings }, rows })
}

/// For some fields that stand side by side, which ids the training rows have.
fn seen_in(ids: &[u32], width: usize, fields: Range<usize>, train: &[u32]) -> Vec<Vec<bool>> {
    let mut seen: Vec<Vec<bool>> = vec![Vec::new(); fields.len()];
    for &row in train {
        let ids = &ids[row as usize * width..][fields.clone()];
        for (seen, &id) in seen.iter_mut().zip(ids) {
            let id = id as usize;
            if id >= seen.len() {
                seen.resize(id + 1, false);
            }
            seen[id] = true;
        }
    }
    seen
}

/// From a field's ids as read to its rows of the embedding table.
struct IdMap {
    field: Field,
    encoding: FieldEncoding,
    /// The new id of each old one; old ids past its end are out of vocabulary.
    new: Vec<u32>,
    unknown: u32,
}

impl IdMap {
    /// The map that the ids of the training rows make.
    fn new(field: RawField, in_training: &[bool]) -> Self {
        match field.categories {
            Categories::Dense => Self::dense(field.name, in_training),
            Categories::Dictionary(dictionary) => Self::sorted(field.name, in_training, &dictionary),
        }
    }

    /// Ids keep their numbers; the row after the last stands for the unknown.
    fn dense(name: String, in_training: &[bool]) -> Self {
        // Ids as read are at most 50 million.
        let unknown = in_training.len() as u32;
        let new = in_training.iter().zip(0..).map(|(&seen, id)| if seen { id } else { unknown }).collect();
        let unseen = in_training.iter().zip(0..).filter(|(seen, _)| !**seen).map(|(_, id)| id).collect();
        Self { field: field(name, unknown), encoding: FieldEncoding::Dense { unseen }, new, unknown }
    }

    /// Values are numbered in sorted order, which does not depend on the order of the rows.
    fn sorted(name: String, in_training: &[bool], dictionary: &IndexSet<String>) -> Self {
        let mut values: Vec<(&String, usize)> =
            dictionary.iter().zip(0..).filter(|&(_, place)| in_training.get(place) == Some(&true)).collect();
        values.sort_unstable();
        let unknown = values.len() as u32;
        let mut new = vec![unknown; in_training.len()];
        for ((_, place), id) in values.iter().zip(0..) {
            new[*place] = id;
        }
        let values = values.into_iter().map(|(value, _)| value.clone()).collect();
        Self { field: field(name, unknown), encoding: FieldEncoding::Dictionary(values), new, unknown }
    }

    fn apply(&self, id: u32) -> u32 {
        self.new.get(id as usize).copied().unwrap_or(self.unknown)
    }
}

fn field(name: String, unknown: u32) -> Field {
    Field { name, size: unknown as usize + 1, out_of_vocabulary: Some(unknown) }
}

/// Brings every column to mean 0 and variance 1 over the training rows. Sums run in f64 and row order.
fn standardise_columns(parts: &mut Parts, columns: usize, train: &[u32]) -> Vec<Scaling> {
    let values = &parts.numerical;
    let scaling = |column: usize| {
        let column = || train.iter().map(|&row| f64::from(values[row as usize * columns + column]));
        let mean = column().sum::<f64>() / train.len() as f64;
        let variance = column().map(|value| (value - mean).powi(2)).sum::<f64>() / train.len() as f64;
        let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        Scaling { mean, deviation }
    };
    let scalings: Vec<Scaling> = (0..columns).into_par_iter().map(scaling).collect();
    if columns > 0 {
        parts.numerical.par_chunks_mut(columns).for_each(|row| {
            for (value, scaling) in row.iter_mut().zip(&scalings) {
                *value = ((f64::from(*value) - scaling.mean) / scaling.deviation) as f32;
            }
        });
    }
    scalings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::log::{Piece, dense_fields, dictionary_fields};

    #[test]
    fn dense_ids_keep_their_numbers_and_unseen_ones_share_the_last_row() {
        let mut log = RawLog::new(dense_fields(["a", "b"]), vec![], vec!["y".into()]);
        log.parts.categorical = vec![0, 9, 3, 9, 1, 2, 7, 9];
        log.parts.labels = vec![0, 1, 0, 1];
        let encoded = encode(log, &[0, 1]).unwrap();
        let sizes: Vec<_> = encoded.schema.fields.iter().map(|f| (f.size, f.out_of_vocabulary)).collect();
        assert_eq!(sizes, [(5, Some(4)), (11, Some(10))]);
        // Below the largest training id or above it: unseen is unseen.
        assert_eq!(encoded.rows.categorical(), [0, 9, 3, 9, 4, 10, 4, 9]);
        assert_eq!(encoded.encoding.fields[0], FieldEncoding::Dense { unseen: vec![1, 2] });
    }

    #[test]
    fn dictionaries_hold_the_training_values_sorted() {
        let mut log = RawLog::new(dictionary_fields(["a"]), vec![], vec!["y".into()]);
        let mut piece = Piece::default();
        for value in ["pear", "fig", "kiwi", "apple", "fig"] {
            piece.push_category(0, value);
        }
        log.append(&mut piece).unwrap();
        log.parts.labels = vec![0; 5];
        let encoded = encode(log, &[0, 3, 4]).unwrap();
        assert_eq!(
            encoded.encoding.fields[0],
            FieldEncoding::Dictionary(vec!["apple".into(), "fig".into(), "pear".into()])
        );
        assert_eq!(encoded.schema.fields[0], Field { name: "a".into(), size: 4, out_of_vocabulary: Some(3) });
        assert_eq!(encoded.rows.categorical(), [2, 1, 3, 0, 1]);
    }

    #[test]
    fn standardised_columns_use_the_training_rows_alone() {
        let mut log = RawLog::new(vec![], vec!["a".into(), "constant".into()], vec!["y".into()]);
        log.parts.numerical = vec![1.0, 5.0, 3.0, 5.0, 100.0, 7.0];
        log.parts.labels = vec![0; 3];
        log.standardise = true;
        let encoded = encode(log, &[0, 1]).unwrap();
        assert_eq!(encoded.rows.numerical(), [-1.0, 0.0, 1.0, 0.0, 98.0, 2.0]);
        let expected = [Scaling { mean: 2.0, deviation: 1.0 }, Scaling { mean: 5.0, deviation: 1.0 }];
        assert_eq!(encoded.encoding.numerical, expected);
    }

    #[test]
    fn columns_stay_as_they_are_unless_asked() {
        let mut log = RawLog::new(vec![], vec!["a".into()], vec!["y".into()]);
        log.parts.numerical = vec![1.0, 3.0];
        log.parts.labels = vec![0; 2];
        let encoded = encode(log, &[0, 1]).unwrap();
        assert_eq!(encoded.rows.numerical(), [1.0, 3.0]);
        assert_eq!(encoded.encoding.numerical, [Scaling::NONE]);
    }
}
