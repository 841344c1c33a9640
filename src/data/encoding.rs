//! Encoding: what the training rows alone decide (vocabularies, statistics), and its application to every row.

use std::fs;
use std::path::Path;

use indexmap::IndexSet;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::log::{Categories, RawField, RawLog};
use super::{Chunk, DataError, Field, Part, Schema, Split};

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

    /// Reads an `encoding.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no such record.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read(path).map_err(DataError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| DataError::unsound(path, error.to_string()))
    }

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

/// Encodes the rows of a log, stretch by stretch.
pub(crate) struct Encoder {
    pub(crate) schema: Schema,
    pub(crate) encoding: Encoding,
    maps: Vec<IdMap>,
    /// Whether any column is scaled.
    scales: bool,
}

/// Rows that are encoded together by one thread.
const STRETCH: usize = 1024;

impl Encoder {
    /// What the training rows of a log decide: their values alone make the vocabularies, and their statistics scale the
    /// columns. Goes through the log, twice more if columns are scaled.
    ///
    /// # Errors
    /// When rows cannot be read back, or `watch`, which hears of every stretch, says stop.
    pub(crate) fn of(
        log: &RawLog,
        split: &Split,
        watch: &mut dyn FnMut() -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let width = log.fields.len();
        let mut seen: Vec<Vec<bool>> = vec![Vec::new(); width];
        log.chunks(|chunk| {
            let parts = split.of(chunk.first, chunk.rows);
            seen.par_chunks_mut(TOGETHER).enumerate().for_each(|(at, seen)| {
                note_seen(seen, chunk.categorical, width, at * TOGETHER, parts);
            });
            watch()
        })?;
        let maps: Vec<IdMap> = log.fields.par_iter().zip(&seen).map(|(field, seen)| IdMap::new(field, seen)).collect();
        let columns = log.numerical.len();
        let scalings =
            if log.standardise { scalings(log, columns, split, watch)? } else { vec![Scaling::NONE; columns] };
        let (fields, encodings) = maps.iter().map(|map| (map.field.clone(), map.encoding.clone())).unzip();
        let schema = Schema { fields, numerical: log.numerical.clone(), tasks: log.tasks.clone() };
        let encoding = Encoding { fields: encodings, numerical: scalings };
        Ok(Self { schema, encoding, maps, scales: log.standardise })
    }

    /// The encoded ids and numbers of a stretch of rows, written into `ids` and `numbers`, which is left alone where numbers
    /// stay as they are.
    ///
    /// # Errors
    /// When scaling turns a number into no number.
    pub(crate) fn encode<'a>(
        &self,
        chunk: &Chunk<'a>,
        ids: &mut Vec<u32>,
        numbers: &'a mut Vec<f32>,
    ) -> Result<&'a [f32], DataError> {
        let width = self.maps.len();
        ids.clear();
        ids.resize(chunk.categorical.len(), 0);
        if width > 0 {
            let stretches = ids.par_chunks_mut(width * STRETCH).zip(chunk.categorical.par_chunks(width * STRETCH));
            stretches.for_each(|(new, old)| {
                for (new, old) in new.chunks_exact_mut(width).zip(old.chunks_exact(width)) {
                    for ((new, old), map) in new.iter_mut().zip(old).zip(&self.maps) {
                        *new = map.apply(*old);
                    }
                }
            });
        }
        if !self.scales {
            return Ok(chunk.numerical);
        }
        let scalings = &self.encoding.numerical;
        numbers.clear();
        numbers.extend_from_slice(chunk.numerical);
        for row in numbers.chunks_mut(scalings.len().max(1)) {
            for (value, scaling) in row.iter_mut().zip(scalings) {
                *value = scaling.apply(*value);
            }
        }
        match numbers.iter().position(|number| !number.is_finite()) {
            None => Ok(numbers),
            Some(at) => {
                let (row, column) = (chunk.first + at / scalings.len(), at % scalings.len());
                Err(DataError::request(
                    format!(
                        "column `{}` of row {row} is too far from its mean to be scaled",
                        self.schema.numerical[column]
                    ),
                    "correct the number, or leave the column out",
                ))
            }
        }
    }
}

impl Scaling {
    /// The scaled number.
    pub(super) fn apply(self, value: f32) -> f32 {
        ((f64::from(value) - self.mean) / self.deviation) as f32
    }
}

/// For some fields that stand side by side from `first` on, notes which ids the training rows among these have.
fn note_seen(seen: &mut [Vec<bool>], ids: &[u32], width: usize, first: usize, parts: &[Part]) {
    let fields = first..first + seen.len();
    for (ids, _) in ids.chunks_exact(width.max(1)).zip(parts).filter(|(_, part)| **part == Part::Train) {
        for (seen, &id) in seen.iter_mut().zip(&ids[fields.clone()]) {
            let id = id as usize;
            if id >= seen.len() {
                seen.resize(id + 1, false);
            }
            seen[id] = true;
        }
    }
}

/// What brings every column to mean 0 and variance 1 over the training rows. Sums run in f64 and row order.
fn scalings(
    log: &RawLog,
    columns: usize,
    split: &Split,
    watch: &mut dyn FnMut() -> Result<(), DataError>,
) -> Result<Vec<Scaling>, DataError> {
    let rows = split.count(Part::Train) as f64;
    let mut sums = |of: &dyn Fn(usize, f64) -> f64| -> Result<Vec<f64>, DataError> {
        let mut sums = vec![0.0; columns];
        log.chunks(|chunk| {
            let parts = split.of(chunk.first, chunk.rows);
            let training =
                chunk.numerical.chunks_exact(columns.max(1)).zip(parts).filter(|(_, part)| **part == Part::Train);
            for (row, _) in training {
                for ((at, sum), value) in sums.iter_mut().enumerate().zip(row) {
                    *sum += of(at, f64::from(*value));
                }
            }
            watch()
        })?;
        Ok(sums)
    };
    let means: Vec<f64> = sums(&|_, value| value)?.into_iter().map(|sum| sum / rows).collect();
    let squares = sums(&|at, value| (value - means[at]).powi(2))?;
    let scaling = |(mean, squares): (f64, f64)| {
        let variance = squares / rows;
        Scaling { mean, deviation: if variance > 0.0 { variance.sqrt() } else { 1.0 } }
    };
    Ok(means.into_iter().zip(squares).map(scaling).collect())
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
    fn new(field: &RawField, in_training: &[bool]) -> Self {
        let name = field.name.clone();
        match &field.categories {
            Categories::Dense => Self::dense(name, in_training),
            Categories::Dictionary(dictionary) => Self::sorted(name, in_training, dictionary),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::encode;
    use crate::data::log::{Piece, dense_fields, dictionary_fields};

    #[test]
    fn dense_ids_keep_their_numbers_and_unseen_ones_share_the_last_row() {
        let mut log = RawLog::new(dense_fields(["a", "b"]), vec![], vec!["y".into()]);
        log.parts.categorical = vec![0, 9, 3, 9, 1, 2, 7, 9];
        log.parts.labels = vec![0, 1, 0, 1];
        let encoded = encode(log, &[0, 1]);
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
        let encoded = encode(log, &[0, 3, 4]);
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
        let encoded = encode(log, &[0, 1]);
        assert_eq!(encoded.rows.numerical(), [-1.0, 0.0, 1.0, 0.0, 98.0, 2.0]);
        let expected = [Scaling { mean: 2.0, deviation: 1.0 }, Scaling { mean: 5.0, deviation: 1.0 }];
        assert_eq!(encoded.encoding.numerical, expected);
    }

    /// A log that does not fit into memory encodes to the same, whatever part of it waits on the disk.
    #[test]
    fn rows_on_the_disk_are_encoded_as_those_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let log = |budget: Option<usize>| {
            let mut log = RawLog::new(dictionary_fields(["a", "b"]), vec!["x".into()], vec!["y".into()]);
            log.standardise = true;
            if let Some(budget) = budget {
                log.spill_to(folder.path().to_path_buf(), budget);
            }
            for row in 0..50 {
                let mut piece = Piece::default();
                piece.push_category(0, ["pear", "fig", "kiwi"][row % 3]);
                piece.push_category(1, &row.to_string());
                piece.push_group_name(["u", "v"][row / 25]);
                piece.parts.numerical.push((row * row) as f32);
                piece.parts.labels.push((row % 2) as u8);
                log.append(&mut piece).unwrap();
            }
            log
        };
        let train: Vec<u32> = (0..40).collect();
        let expected = encode(log(None), &train);
        for budget in [1, 300, 1 << 20] {
            let found = encode(log(Some(budget)), &train);
            assert_eq!(found.rows.to_parts(), expected.rows.to_parts(), "{budget}");
            assert_eq!((found.schema, found.encoding), (expected.schema.clone(), expected.encoding.clone()));
        }
    }

    #[test]
    fn columns_stay_as_they_are_unless_asked() {
        let mut log = RawLog::new(vec![], vec!["a".into()], vec!["y".into()]);
        log.parts.numerical = vec![1.0, 3.0];
        log.parts.labels = vec![0; 2];
        let encoded = encode(log, &[0, 1]);
        assert_eq!(encoded.rows.numerical(), [1.0, 3.0]);
        assert_eq!(encoded.encoding.numerical, [Scaling::NONE]);
    }
}
