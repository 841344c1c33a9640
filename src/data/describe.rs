//! What a data set holds, in numbers: rows, labels, vocabularies, columns and groups of each split.

use std::collections::HashMap;

use indexmap::IndexMap;
use rayon::prelude::*;
use serde::Serialize;

use super::{Encoding, Field, FieldEncoding, MissingNumbers, Rows, Scaling, Schema};

/// Rows that one thread counts at a time; sums are added up in the order of the pieces, whatever the threads.
const PIECE: usize = 1 << 14;

/// What a data set holds; `train`, `valid`, `test` name the splits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Rows and groups of each split.
    pub splits: IndexMap<&'static str, SplitDescription>,
    /// The tasks' labels.
    pub tasks: Vec<TaskDescription>,
    /// The categorical fields.
    pub fields: Vec<FieldDescription>,
    /// The numerical columns.
    pub numerical: Vec<ColumnDescription>,
}

/// A split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitDescription {
    /// Its rows.
    pub rows: usize,
    /// Its groups, if the log has any.
    pub groups: Option<Groups>,
}

/// Rows that belong together (a search's, a user's).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Groups {
    /// How many groups.
    pub count: usize,
    /// Rows of the smallest.
    pub smallest: usize,
    /// Mean rows.
    pub mean: f64,
    /// Rows of the largest.
    pub largest: usize,
}

/// A task's labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskDescription {
    /// Its name.
    pub name: String,
    /// How often its label is 1, by split.
    pub positives: IndexMap<&'static str, Share>,
}

/// A categorical field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldDescription {
    /// The column's name.
    pub name: String,
    /// Different values that it knows: those of the training rows.
    pub values: usize,
    /// Rows of the embedding table that belong to it.
    pub embedding_rows: usize,
    /// Rows with a value that it does not know, by split; nothing for a field without a row for such.
    pub out_of_vocabulary: Option<IndexMap<&'static str, Share>>,
}

/// A numerical column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// How it is scaled for the model; nothing for a column that stays as it is.
    pub scaling: Option<Scaling>,
    /// Its numbers before scaling, by split; nothing for a split without rows.
    pub values: IndexMap<&'static str, Option<Figures>>,
    /// Rows whose number is missing or not finite, so that another stands in its place, by split; nothing where they are
    /// not counted.
    pub missing: Option<IndexMap<&'static str, Share>>,
    /// The number that stands in their place, before scaling; nothing where missing numbers are errors.
    pub filled: Option<f32>,
}

/// Some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// The least.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// How many are zero.
    pub zeros: Share,
}

/// Some rows of a split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub rows: usize,
    /// Which share of all rows; nothing for a split without rows.
    pub share: Option<f64>,
}

impl Share {
    fn new(rows: usize, of: usize) -> Self {
        Self { rows, share: (of > 0).then(|| rows as f64 / of as f64) }
    }

    /// Whether some rows are meant, and others are not.
    pub fn is_mixed(&self) -> bool {
        self.share.is_some_and(|share| 0.0 < share && share < 1.0)
    }
}

impl Description {
    /// Counts all rows of some splits. Without an encoding, ids and numbers are taken as they are. Missing numbers, which
    /// the rows do not show, are counted already.
    ///
    /// # Panics
    /// When the schema, the encoding or the counts are not those of the rows.
    pub fn of(
        schema: &Schema,
        encoding: Option<&Encoding>,
        missing: Option<&MissingNumbers>,
        splits: &[(&'static str, &Rows)],
    ) -> Self {
        let scaling = |column: usize| encoding.map_or(Scaling::NONE, |encoding| encoding.numerical[column]);
        let scalings: Vec<Scaling> = (0..schema.numerical.len()).map(scaling).collect();
        let counted: Vec<(&'static str, usize, Count)> =
            splits.iter().map(|&(name, rows)| (name, rows.len(), Count::of(schema, &scalings, rows))).collect();
        let by_split = |count: &dyn Fn(&Count) -> usize| -> IndexMap<&'static str, Share> {
            counted.iter().map(|(name, rows, counted)| (*name, Share::new(count(counted), *rows))).collect()
        };
        let figures = |column: usize| {
            let figures = |(name, rows, count): &(&'static str, usize, Count)| {
                (*name, (*rows > 0).then(|| count.columns[column].figures(&scalings[column], *rows)))
            };
            counted.iter().map(figures).collect()
        };
        let ids = |field: &Field| field.size - usize::from(field.out_of_vocabulary.is_some());
        let fields = schema.fields.iter().enumerate().map(|(at, field)| FieldDescription {
            name: field.name.clone(),
            values: match encoding.map(|encoding| &encoding.fields[at]) {
                Some(FieldEncoding::Dictionary(values)) => values.len(),
                Some(FieldEncoding::Dense { unseen }) => ids(field) - unseen.len(),
                Some(FieldEncoding::Hashed { .. }) | None => ids(field),
            },
            embedding_rows: field.size,
            out_of_vocabulary: field.out_of_vocabulary.map(|_| by_split(&|count| count.unknown[at])),
        });
        let tasks = schema.tasks.iter().enumerate();
        let tasks = tasks.map(|(at, name)| TaskDescription {
            name: name.clone(),
            positives: by_split(&|count| count.positives[at]),
        });
        let numerical = schema.numerical.iter().enumerate().map(|(at, name)| ColumnDescription {
            name: name.clone(),
            scaling: Some(scalings[at]).filter(|scaling| !scaling.keeps()),
            values: figures(at),
            missing: missing.map(|missing| {
                let of =
                    |&(name, rows): &(&'static str, &Rows)| Some((name, Share::new(missing.of(name)?[at], rows.len())));
                splits.iter().filter_map(of).collect()
            }),
            filled: scalings[at].missing,
        });
        Self {
            splits: splits
                .iter()
                .map(|&(name, rows)| {
                    (name, SplitDescription { rows: rows.len(), groups: rows.group().and_then(groups) })
                })
                .collect(),
            tasks: tasks.collect(),
            fields: fields.collect(),
            numerical: numerical.collect(),
        }
    }
}

/// What was counted in a split.
struct Count {
    positives: Vec<usize>,
    unknown: Vec<usize>,
    columns: Vec<Column>,
}

/// A column's numbers as they are encoded.
#[derive(Clone, Copy)]
struct Column {
    min: f32,
    max: f32,
    /// Of a column of logarithms, that of the numbers before them: a mean of logarithms is none of numbers.
    sum: f64,
    zeros: usize,
}

impl Count {
    fn of(schema: &Schema, scalings: &[Scaling], rows: &Rows) -> Self {
        let unknown: Vec<Option<u32>> = schema.fields.iter().map(|field| field.out_of_vocabulary).collect();
        let zeros: Vec<f32> = scalings.iter().map(scaled_zero).collect();
        let empty = || Self {
            positives: vec![0; schema.tasks.len()],
            unknown: vec![0; unknown.len()],
            columns: vec![Column { min: f32::INFINITY, max: f32::NEG_INFINITY, sum: 0.0, zeros: 0 }; zeros.len()],
        };
        let piece = |start: usize| {
            let end = rows.len().min(start + PIECE);
            let mut count = empty();
            for labels in parts(rows.labels(), rows.tasks(), start, end) {
                count.positives.iter_mut().zip(labels).for_each(|(count, label)| *count += usize::from(*label));
            }
            for ids in parts(rows.categorical(), rows.fields(), start, end) {
                let hits = count.unknown.iter_mut().zip(ids).zip(&unknown);
                hits.for_each(|((count, id), unknown)| *count += usize::from(Some(*id) == *unknown));
            }
            for values in parts(rows.numerical(), rows.columns(), start, end) {
                for (((column, value), zero), scaling) in count.columns.iter_mut().zip(values).zip(&zeros).zip(scalings)
                {
                    column.min = column.min.min(*value);
                    column.max = column.max.max(*value);
                    column.sum += if scaling.log1p { scaling.invert((*value).into()) } else { f64::from(*value) };
                    column.zeros += usize::from(value == zero);
                }
            }
            count
        };
        let pieces: Vec<Self> = (0..rows.len()).into_par_iter().step_by(PIECE).map(piece).collect();
        pieces.into_iter().fold(empty(), Self::plus)
    }

    fn plus(mut self, other: Self) -> Self {
        self.positives.iter_mut().zip(other.positives).for_each(|(all, more)| *all += more);
        self.unknown.iter_mut().zip(other.unknown).for_each(|(all, more)| *all += more);
        for (all, more) in self.columns.iter_mut().zip(other.columns) {
            all.min = all.min.min(more.min);
            all.max = all.max.max(more.max);
            all.sum += more.sum;
            all.zeros += more.zeros;
        }
        self
    }
}

impl Column {
    fn figures(&self, scaling: &Scaling, rows: usize) -> Figures {
        let mean = self.sum / rows as f64;
        Figures {
            min: scaling.invert(self.min.into()),
            mean: if scaling.log1p { mean } else { scaling.invert(mean) },
            max: scaling.invert(self.max.into()),
            zeros: Share::new(self.zeros, rows),
        }
    }
}

/// What a zero is encoded as, by the arithmetic of the encoding.
fn scaled_zero(scaling: &Scaling) -> f32 {
    scaling.apply(0.0)
}

/// The rows `start..end` of a table of this width; none of a table without columns.
fn parts<T>(table: &[T], width: usize, start: usize, end: usize) -> impl Iterator<Item = &[T]> {
    table[start * width..end * width].chunks(width.max(1))
}

fn groups(group: &[i64]) -> Option<Groups> {
    let mut rows: HashMap<i64, usize> = HashMap::new();
    group.iter().for_each(|group| *rows.entry(*group).or_default() += 1);
    let (smallest, largest) = (*rows.values().min()?, *rows.values().max()?);
    Some(Groups { count: rows.len(), smallest, mean: group.len() as f64 / rows.len() as f64, largest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Parts;

    fn schema() -> Schema {
        let field = |name: &str, size, out_of_vocabulary| Field { name: name.into(), size, out_of_vocabulary };
        Schema {
            fields: vec![field("colour", 3, Some(2)), field("shape", 6, Some(5)), field("bare", 2, None)],
            numerical: vec!["price".into(), "age".into()],
            tasks: vec!["click".into(), "buy".into()],
        }
    }

    fn encoding() -> Encoding {
        let dictionary = FieldEncoding::Dictionary(vec!["blue".into(), "red".into()]);
        let dense = || FieldEncoding::Dense { unseen: vec![1, 3] };
        Encoding {
            fields: vec![dictionary, dense(), FieldEncoding::Dense { unseen: vec![] }],
            numerical: vec![Scaling::NONE, Scaling { mean: 30.0, deviation: 10.0, ..Scaling::NONE }],
        }
    }

    fn rows() -> Rows {
        let parts = Parts {
            categorical: vec![0, 5, 0, 2, 0, 1, 2, 5, 1, 1, 4, 0],
            // ages 20, 0, 60, 30
            numerical: vec![0.0, -1.0, 2.5, -3.0, 0.0, 3.0, -0.5, 0.0],
            labels: vec![1, 0, 1, 1, 0, 0, 0, 0],
            group: Some(vec![7, -9, 7, 7]),
            probability: None,
        };
        Rows::from_parts(&schema(), parts).unwrap()
    }

    fn missing() -> MissingNumbers {
        MissingNumbers { train: vec![0, 3], valid: vec![7, 7], test: vec![0, 0] }
    }

    fn share(rows: usize, share: f64) -> Share {
        Share { rows, share: Some(share) }
    }

    /// All figures counted by hand.
    #[test]
    fn four_rows_are_what_they_are() {
        let (rows, none) = (rows(), Rows::from_parts(&schema(), Parts::default()).unwrap());
        let found =
            Description::of(&schema(), Some(&encoding()), Some(&missing()), &[("train", &rows), ("test", &none)]);
        let groups = Groups { count: 2, smallest: 1, mean: 2.0, largest: 3 };
        assert_eq!(found.splits["train"], SplitDescription { rows: 4, groups: Some(groups) });
        assert_eq!(found.splits["test"], SplitDescription { rows: 0, groups: None });

        assert_eq!(found.tasks[0].positives["train"], share(2, 0.5));
        assert_eq!(found.tasks[1].positives["train"], share(1, 0.25));
        assert_eq!(found.tasks[1].positives["test"], Share { rows: 0, share: None });

        let fields: Vec<_> = found.fields.iter().map(|field| (field.values, field.embedding_rows)).collect();
        assert_eq!(fields, [(2, 3), (3, 6), (2, 2)]);
        assert_eq!(found.fields[0].out_of_vocabulary.as_ref().unwrap()["train"], share(2, 0.5));
        assert_eq!(found.fields[1].out_of_vocabulary.as_ref().unwrap()["train"], share(2, 0.5));
        assert_eq!(found.fields[2].out_of_vocabulary, None);

        let price = Figures { min: -0.5, mean: 0.5, max: 2.5, zeros: share(2, 0.5) };
        assert_eq!((found.numerical[0].scaling, found.numerical[0].values["train"]), (None, Some(price)));
        let age = Figures { min: 0.0, mean: 27.5, max: 60.0, zeros: share(1, 0.25) };
        assert_eq!(found.numerical[1].scaling, Some(Scaling { mean: 30.0, deviation: 10.0, ..Scaling::NONE }));
        assert_eq!(found.numerical[1].values["train"], Some(age));
        assert_eq!(found.numerical[1].values["test"], None);
        let of_ages = found.numerical[1].missing.as_ref().unwrap();
        assert_eq!((of_ages["train"], of_ages["test"]), (share(3, 0.75), Share { rows: 0, share: None }));
    }

    #[test]
    fn many_rows_are_counted_piece_by_piece() {
        let schema = Schema { fields: vec![], numerical: vec!["x".into()], tasks: vec!["y".into()] };
        let count = 3 * PIECE + 5;
        let parts = Parts {
            numerical: (0..count).map(|row| row as f32).collect(),
            labels: (0..count).map(|row| u8::from(row % 3 == 0)).collect(),
            ..Parts::default()
        };
        let rows = Rows::from_parts(&schema, parts).unwrap();
        let found = Description::of(&schema, None, None, &[("train", &rows)]);
        assert_eq!(found.tasks[0].positives["train"].rows, count.div_ceil(3));
        let figures = found.numerical[0].values["train"].unwrap();
        assert_eq!((figures.min, figures.max, figures.zeros.rows), (0.0, (count - 1) as f64, 1));
        assert_eq!(figures.mean, (count - 1) as f64 / 2.0);
    }

    /// The mean of 0 and 3 is 1.5; that of ln(1 + x) is ln 2, which stands for 1.
    #[test]
    fn logarithms_are_described_as_the_numbers_they_were() {
        let schema = Schema { fields: vec![], numerical: vec!["x".into()], tasks: vec!["y".into()] };
        let scaling = Scaling { log1p: true, mean: 0.5, deviation: 2.0, missing: None };
        let numerical = vec![scaling.apply(0.0), scaling.apply(3.0)];
        let rows = Rows::from_parts(&schema, Parts { numerical, labels: vec![0, 1], ..Parts::default() }).unwrap();
        let encoding = Encoding { fields: vec![], numerical: vec![scaling] };
        let found = Description::of(&schema, Some(&encoding), None, &[("train", &rows)]);
        assert_eq!(found.numerical[0].missing, None);
        let found = found.numerical[0].values["train"].unwrap();
        for (found, expected) in [(found.min, 0.0), (found.mean, 1.5), (found.max, 3.0)] {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(found.zeros.rows, 1);
    }
}
