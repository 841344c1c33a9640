//! Encoding: what the training rows alone decide (vocabularies, statistics), and its application to every row.

use std::fs;
use std::path::Path;

use indexmap::IndexSet;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::log::{Categories, RawField, RawLog};
use super::{Chunk, DataError, Field, Part, Schema, Split};
use crate::spec::Fill;

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
    /// The id of a value is its place here: the distinct values of the training rows (those of them that are frequent
    /// enough), sorted by their bytes.
    Dictionary(Vec<String>),
    /// The id of a value is its hash: the first eight bytes of the BLAKE3 of its UTF-8 text, as a little-endian number,
    /// modulo the number of ids. No value is out of vocabulary; several share an id.
    Hashed {
        /// How many ids there are.
        buckets: u32,
    },
}

impl FieldEncoding {
    /// The id of a value as the log writes it, in a field of so many ids ([`Field::size`]); `None` when it is out of
    /// vocabulary.
    pub fn id(&self, value: &str, size: usize) -> Option<u32> {
        match self {
            Self::Dense { unseen } => {
                let id: u32 = value.parse().ok()?;
                ((id as usize) + 1 < size && unseen.binary_search(&id).is_err()).then_some(id)
            }
            Self::Dictionary(values) => {
                // there are no more than ids
                values.binary_search_by(|known| known.as_str().cmp(value)).ok().map(|place| place as u32)
            }
            Self::Hashed { buckets } => Some(bucket(value, *buckets)),
        }
    }
}

/// The id of a hashed value.
pub(crate) fn bucket(value: &str, buckets: u32) -> u32 {
    let hash = blake3::hash(value.as_bytes());
    let first = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    // below the number of buckets
    (first % u64::from(buckets.max(1))) as u32
}

/// How a numerical column was scaled: `(x - mean) / deviation`, or the same of `ln(1 + x)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Whether `ln(1 + x)` is scaled in the place of `x`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log1p: bool,
    /// Mean over the training rows; 0 for a column that stays as it is.
    pub mean: f64,
    /// Standard deviation over the training rows; 1 for a constant column and for one that stays as it is.
    pub deviation: f64,
    /// The number that stands for a missing one, before it is scaled; `None` where missing numbers are errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<f32>,
}

impl Scaling {
    /// Leaves a column as it is.
    pub const NONE: Self = Self { log1p: false, mean: 0.0, deviation: 1.0, missing: None };

    /// The scaled number, where NaN stands for a missing one: NaN or infinite when it cannot be scaled, as it is missing
    /// and nothing stands for it, negative and its logarithm is to be taken, or too large.
    pub fn apply(&self, value: f32) -> f32 {
        ((self.bent(value) - self.mean) / self.deviation) as f32
    }

    /// Whether numbers stay as they are, those apart that are missing.
    pub fn keeps(&self) -> bool {
        Self { missing: None, ..*self } == Self::NONE
    }

    /// The number that was scaled.
    pub fn invert(&self, value: f64) -> f64 {
        let value = value * self.deviation + self.mean;
        if self.log1p { value.exp_m1() } else { value }
    }

    /// What is scaled: the number, or its logarithm.
    fn bent(&self, value: f32) -> f64 {
        let value = match self.missing {
            Some(missing) if value.is_nan() => missing,
            _ => value,
        };
        match (self.log1p, f64::from(value)) {
            (false, value) => value,
            (true, value) if value < 0.0 => f64::NAN,
            (true, value) => value.ln_1p(),
        }
    }
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
    /// columns. Goes through the log, twice more if columns are scaled, and once more if means are filled in.
    ///
    /// # Errors
    /// When a column without any number is to be filled with its mean, rows cannot be read back, or `watch`, which hears of
    /// every stretch, says stop.
    pub(crate) fn of(
        log: &RawLog,
        split: &Split,
        watch: &mut dyn FnMut() -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let seen = if log.min_count > 1 {
            let counts: Vec<Vec<u32>> = notes(log, split, watch)?;
            counts.into_iter().map(|field| field.into_iter().map(|count| count >= log.min_count).collect()).collect()
        } else {
            notes(log, split, watch)?
        };
        let maps: Vec<IdMap> = log.fields.par_iter().zip(&seen).map(|(field, seen)| IdMap::new(field, seen)).collect();
        let scalings = scalings(log, split, watch)?;
        let scales = log.fill == Some(Fill::Mean) || !scalings.iter().all(Scaling::keeps);
        let (fields, encodings) = maps.iter().map(|map| (map.field.clone(), map.encoding.clone())).unzip();
        let schema = Schema { fields, numerical: log.numerical.clone(), tasks: log.tasks.clone() };
        let encoding = Encoding { fields: encodings, numerical: scalings };
        Ok(Self { schema, encoding, maps, scales })
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

/// What is noted of an id that a training row has.
trait Note: Copy + Default + Send {
    fn note(&mut self);
}

impl Note for bool {
    fn note(&mut self) {
        *self = true;
    }
}

impl Note for u32 {
    fn note(&mut self) {
        *self = self.saturating_add(1);
    }
}

/// For every field, what is noted of its ids up to the last that a training row has.
fn notes<T: Note>(
    log: &RawLog,
    split: &Split,
    watch: &mut dyn FnMut() -> Result<(), DataError>,
) -> Result<Vec<Vec<T>>, DataError> {
    let width = log.fields.len();
    let mut notes = vec![Vec::new(); width];
    log.chunks(|chunk| {
        let parts = split.of(chunk.first, chunk.rows);
        notes.par_chunks_mut(TOGETHER).enumerate().for_each(|(at, notes)| {
            note_ids(notes, chunk.categorical, width, at * TOGETHER, parts);
        });
        watch()
    })?;
    Ok(notes)
}

/// For some fields that stand side by side from `first` on, notes which ids the training rows among these have.
fn note_ids<T: Note>(notes: &mut [Vec<T>], ids: &[u32], width: usize, first: usize, parts: &[Part]) {
    let fields = first..first + notes.len();
    for (ids, _) in ids.chunks_exact(width.max(1)).zip(parts).filter(|(_, part)| **part == Part::Train) {
        for (notes, &id) in notes.iter_mut().zip(&ids[fields.clone()]) {
            let id = id as usize;
            if id >= notes.len() {
                notes.resize(id + 1, T::default());
            }
            notes[id].note();
        }
    }
}

/// How every column is scaled. Sums over the training rows run in f64 and row order.
fn scalings(
    log: &RawLog,
    split: &Split,
    watch: &mut dyn FnMut() -> Result<(), DataError>,
) -> Result<Vec<Scaling>, DataError> {
    let columns = log.numerical.len();
    let mut sums = |of: &dyn Fn(usize, f32) -> f64| -> Result<Vec<f64>, DataError> {
        let mut sums = vec![0.0; columns];
        log.chunks(|chunk| {
            let parts = split.of(chunk.first, chunk.rows);
            let training =
                chunk.numerical.chunks_exact(columns.max(1)).zip(parts).filter(|(_, part)| **part == Part::Train);
            for (row, _) in training {
                for ((at, sum), value) in sums.iter_mut().enumerate().zip(row) {
                    *sum += of(at, *value);
                }
            }
            watch()
        })?;
        Ok(sums)
    };
    let mut scalings: Vec<Scaling> = (log.transforms.iter())
        .map(|transform| Scaling { log1p: transform.takes_logarithms(), ..Scaling::NONE })
        .collect();
    match log.fill {
        None => {}
        Some(Fill::Number(number)) => scalings.iter_mut().for_each(|scaling| scaling.missing = Some(number)),
        Some(Fill::Mean) => {
            let counts = sums(&|_, value| if value.is_nan() { 0.0 } else { 1.0 })?;
            let totals = sums(&|_, value| if value.is_nan() { 0.0 } else { f64::from(value) })?;
            for (at, scaling) in scalings.iter_mut().enumerate() {
                if counts[at] == 0.0 {
                    return Err(DataError::request(
                        format!("column `{}` has no number in any training row, and so no mean", log.numerical[at]),
                        "leave the column out, or fill it with a number: `fill: 0.0`",
                    ));
                }
                scaling.missing = Some((totals[at] / counts[at]) as f32);
            }
        }
    }
    if log.transforms.iter().any(|transform| transform.standardises()) {
        let rows = split.count(Part::Train) as f64;
        let means: Vec<f64> = sums(&|at, value| scalings[at].bent(value))?.into_iter().map(|sum| sum / rows).collect();
        let squares = sums(&|at, value| (scalings[at].bent(value) - means[at]).powi(2))?;
        for (at, scaling) in scalings.iter_mut().enumerate().filter(|(at, _)| log.transforms[*at].standardises()) {
            let variance = squares[at] / rows;
            scaling.mean = means[at];
            scaling.deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        }
    }
    Ok(scalings)
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
        if let Some(buckets) = field.buckets {
            return Self::hashed(name, buckets);
        }
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

    /// Ids below the number of buckets are rows already, whether training rows have them or not.
    fn hashed(name: String, buckets: u32) -> Self {
        let field = Field { name, size: buckets as usize, out_of_vocabulary: None };
        // no id is that large
        let unknown = buckets;
        Self { field, encoding: FieldEncoding::Hashed { buckets }, new: (0..buckets).collect(), unknown }
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
    use crate::data::Transform;
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
        log.transforms.fill(Transform::Standardise);
        let encoded = encode(log, &[0, 1]);
        assert_eq!(encoded.rows.numerical(), [-1.0, 0.0, 1.0, 0.0, 98.0, 2.0]);
        let expected = [Scaling { mean: 2.0, ..Scaling::NONE }, Scaling { mean: 5.0, ..Scaling::NONE }];
        assert_eq!(encoded.encoding.numerical, expected);
    }

    /// A log that does not fit into memory encodes to the same, whatever part of it waits on the disk.
    #[test]
    fn rows_on_the_disk_are_encoded_as_those_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let log = |budget: Option<usize>| {
            let mut log = RawLog::new(dictionary_fields(["a", "b"]), vec!["x".into()], vec!["y".into()]);
            log.transforms.fill(Transform::Standardise);
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

    #[test]
    fn rare_categories_are_out_of_vocabulary() {
        let mut log = RawLog::new(dictionary_fields(["a"]), vec![], vec!["y".into()]);
        let mut piece = Piece::default();
        for value in ["rare", "often", "often", "rare", "late", "late"] {
            piece.push_category(0, value);
        }
        log.append(&mut piece).unwrap();
        log.parts.labels = vec![0; 6];
        log.min_count = 2;
        // the second `rare` and both `late` are no training rows
        let encoded = encode(log, &[0, 1, 2]);
        assert_eq!(encoded.encoding.fields[0], FieldEncoding::Dictionary(vec!["often".into()]));
        assert_eq!(encoded.rows.categorical(), [1, 0, 0, 1, 1, 1]);
    }

    /// First eight bytes of `b3sum` of the texts, by hand.
    #[test]
    fn hashes_are_those_of_blake3() {
        // BLAKE3 of nothing starts with af1349b9f5f9a1a6, that of "abc" with 6437b3ac38465133
        assert_eq!(u64::from(bucket("", 1000)), 0xa6a1_f9f5_b949_13af_u64 % 1000);
        assert_eq!(u64::from(bucket("abc", 50_000_000)), 0x3351_4638_acb3_3764_u64 % 50_000_000);
        assert_eq!(bucket("abc", 1), 0);
    }

    #[test]
    fn values_have_the_ids_that_their_rows_were_given() {
        let mut dense = RawLog::new(dense_fields(["a"]), vec![], vec!["y".into()]);
        dense.parts.categorical = vec![0, 3, 1, 7, 5];
        dense.parts.labels = vec![0; 5];
        let encoded = encode(dense, &[0, 1, 4]);
        let size = encoded.schema.fields[0].size;
        let unknown = encoded.schema.fields[0].out_of_vocabulary.unwrap();
        let id = |value: &str| encoded.encoding.fields[0].id(value, size).unwrap_or(unknown);
        assert_eq!(["0", "3", "1", "7", "5"].map(id), encoded.rows.categorical());
        assert_eq!(id("6"), unknown);
        assert_eq!(id("five"), unknown);
        let dictionary = FieldEncoding::Dictionary(vec!["apple".into(), "fig".into(), "pear".into()]);
        assert_eq!(
            ["apple", "fig", "pear", "plum", ""].map(|text| dictionary.id(text, 4)),
            [Some(0), Some(1), Some(2), None, None]
        );
        assert_eq!(FieldEncoding::Hashed { buckets: 7 }.id("abc", 7), Some((0x3351_4638_acb3_3764_u64 % 7) as u32));
    }

    #[test]
    fn each_column_has_its_own_transform() {
        let names = ["as_is", "standard", "log", "both"].map(str::to_owned).to_vec();
        let mut log = RawLog::new(vec![], names, vec!["y".into()]);
        log.transforms = vec![Transform::AsIs, Transform::Standardise, Transform::Log1p, Transform::Log1pStandardise];
        let e = std::f32::consts::E;
        // logarithms of 1 + x are 0, 1 and 2
        let rows = [[5.0, 1.0, 0.0, 0.0], [6.0, 3.0, e - 1.0, e * e - 1.0], [7.0, 100.0, e * e - 1.0, e - 1.0]];
        log.parts.numerical = rows.concat();
        log.parts.labels = vec![0; 3];
        let encoded = encode(log, &[0, 1]);
        let expected = [5.0, -1.0, 0.0, -1.0, 6.0, 1.0, 1.0, 1.0, 7.0, 98.0, 2.0, 0.0];
        for (found, expected) in encoded.rows.numerical().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        for (at, scaling) in encoded.encoding.numerical.iter().enumerate() {
            let back = scaling.invert(f64::from(scaling.apply(rows[1][at])));
            assert!((back - f64::from(rows[1][at])).abs() < 1e-5, "{back}");
        }
        assert!(encoded.encoding.numerical[2].apply(-0.5).is_nan());
    }

    /// As scikit-learn's `SimpleImputer(strategy="mean")` before `StandardScaler`, worked by hand.
    #[test]
    fn means_of_training_rows_stand_for_missing_numbers() {
        let mut log = RawLog::new(vec![], vec!["x".into(), "y".into()], vec!["label".into()]);
        log.parts.numerical = vec![1.0, 1.0, f32::NAN, 1.0, 4.0, 1.0, 4.0, f32::NAN, 100.0, 9.0];
        log.parts.labels = vec![0; 5];
        log.fill = Some(Fill::Mean);
        log.transforms[0] = Transform::Standardise;
        let encoded = encode(log, &[0, 1, 2, 3]);
        // (1 + 4 + 4) / 3 = 3; of 1, 3, 4, 4 the deviations from it are -2, 0, 1, 1, so the variance is 1.5
        let deviation = 1.5_f64.sqrt();
        assert_eq!(encoded.encoding.numerical[0], Scaling { log1p: false, mean: 3.0, deviation, missing: Some(3.0) });
        assert_eq!(encoded.encoding.numerical[1], Scaling { missing: Some(1.0), ..Scaling::NONE });
        let second: Vec<f32> = encoded.rows.numerical().iter().copied().skip(1).step_by(2).collect();
        assert_eq!(second, [1.0, 1.0, 1.0, 1.0, 9.0]);
        let first: Vec<f32> = encoded.rows.numerical().iter().copied().step_by(2).collect();
        let expected = [-2.0, 0.0, 1.0, 1.0, 97.0].map(|x: f64| (x / deviation) as f32);
        assert_eq!(first, expected);
    }

    #[test]
    fn a_column_without_numbers_has_no_mean() {
        let mut log = RawLog::new(vec![], vec!["x".into()], vec!["label".into()]);
        log.parts.numerical = vec![f32::NAN, 1.0];
        log.parts.labels = vec![0; 2];
        log.fill = Some(Fill::Mean);
        let split = Split::new(vec![Part::Train, Part::Test]);
        let error = Encoder::of(&log, &split, &mut || Ok(())).err().unwrap();
        assert_eq!(error.to_string(), "column `x` has no number in any training row, and so no mean");
    }

    #[test]
    fn a_record_without_transforms_reads_as_it_did() {
        let old =
            r#"{"fields":[{"dense":{"unseen":[1]}},{"dictionary":["a"]}],"numerical":[{"mean":1.5,"deviation":2.0}]}"#;
        let encoding: Encoding = serde_json::from_str(old).unwrap();
        assert_eq!(encoding.numerical[0], Scaling { mean: 1.5, deviation: 2.0, ..Scaling::NONE });
        assert_eq!(serde_json::to_string(&encoding).unwrap(), old);
    }
}
