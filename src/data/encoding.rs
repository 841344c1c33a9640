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
    /// Whether something stands for missing numbers.
    fills: bool,
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
        let (scales, fills) = (!scalings.iter().all(Scaling::keeps), log.fill.is_some());
        let (fields, encodings) = maps.iter().map(|map| (map.field.clone(), map.encoding.clone())).unzip();
        let schema = Schema { fields, numerical: log.numerical.clone(), tasks: log.tasks.clone() };
        let encoding = Encoding { fields: encodings, numerical: scalings };
        Ok(Self { schema, encoding, maps, scales, fills })
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
        if !self.scales && !self.fills {
            return Ok(chunk.numerical);
        }
        let scalings = &self.encoding.numerical;
        let columns = scalings.len().max(1);
        numbers.clear();
        numbers.extend_from_slice(chunk.numerical);
        if !self.scales {
            // as by `Scaling::apply`, but much quicker; what stands for missing numbers is as finite as the others
            numbers.par_chunks_mut(columns * STRETCH).for_each(|stretch| {
                for row in stretch.chunks_mut(columns) {
                    for (value, scaling) in row.iter_mut().zip(scalings) {
                        *value = if value.is_nan() { scaling.missing.unwrap_or(*value) } else { *value };
                    }
                }
            });
            return Ok(numbers);
        }
        numbers.par_chunks_mut(columns * STRETCH).for_each(|stretch| {
            for row in stretch.chunks_mut(columns) {
                row.iter_mut().zip(scalings).for_each(|(value, scaling)| *value = scaling.apply(*value));
            }
        });
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
    // columns side by side, the rows of each in their order: no bit depends on the threads
    let mut sums = |of: &(dyn Fn(usize, f32) -> f64 + Sync)| -> Result<Vec<f64>, DataError> {
        let mut sums = vec![0.0; columns];
        log.chunks(|chunk| {
            let parts = split.of(chunk.first, chunk.rows);
            let rows = || chunk.numerical.chunks_exact(columns.max(1)).zip(parts);
            sums.par_chunks_mut(TOGETHER).enumerate().for_each(|(group, sums)| {
                let first = group * TOGETHER;
                for (row, _) in rows().filter(|(_, part)| **part == Part::Train) {
                    for ((at, sum), value) in (first..).zip(sums.iter_mut()).zip(&row[first..]) {
                        *sum += of(at, *value);
                    }
                }
            });
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
mod properties;
#[cfg(test)]
mod tests;
