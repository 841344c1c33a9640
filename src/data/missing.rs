//! How many numbers a log lacks: counted while its rows are written, as nothing tells afterwards which were filled in.

use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{DataError, Part};

/// Rows that one thread counts at a time.
const STRETCH: usize = 1024;

/// `missing.json` of a `Preprocess` artifact: for every numerical column, in their order, how many rows of each split have
/// nothing or no finite number there, and got what `fill` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingNumbers {
    /// Of the training rows.
    pub train: Vec<usize>,
    /// Of the validation rows.
    pub valid: Vec<usize>,
    /// Of the test rows.
    pub test: Vec<usize>,
}

impl MissingNumbers {
    /// Where the record lies in an artifact.
    pub const FILE: &str = "missing.json";

    /// None in so many columns.
    pub fn none(columns: usize) -> Self {
        let none = || vec![0; columns];
        Self { train: none(), valid: none(), test: none() }
    }

    /// Reads a `missing.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no such record.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read(path).map_err(DataError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| DataError::unsound(path, error.to_string()))
    }

    /// The text of a `missing.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers always serialise")
    }

    /// Those of the split `train`, `valid` or `test`; nothing by another name.
    pub fn of(&self, split: &str) -> Option<&[usize]> {
        match split {
            "train" => Some(&self.train),
            "valid" => Some(&self.valid),
            "test" => Some(&self.test),
            _ => None,
        }
    }

    /// Counts the NaN among the numbers of some rows, of which `parts` says what each is for.
    pub(crate) fn count(&mut self, numbers: &[f32], parts: &[Part]) {
        let columns = self.train.len();
        if columns == 0 {
            return;
        }
        let stretches = numbers.par_chunks(columns * STRETCH).zip(parts.par_chunks(STRETCH));
        let counted = stretches.map(|(numbers, parts)| {
            let mut counts = [(); 3].map(|()| vec![0_u32; columns]);
            for (row, part) in numbers.chunks_exact(columns).zip(parts) {
                let counts = counts[*part as usize].iter_mut().zip(row);
                counts.for_each(|(count, number)| *count += u32::from(number.is_nan()));
            }
            counts
        });
        for counts in counted.collect::<Vec<_>>() {
            for (all, more) in [&mut self.train, &mut self.valid, &mut self.test].into_iter().zip(counts) {
                all.iter_mut().zip(more).for_each(|(all, more)| *all += more as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a count of one row after the other; NaN are set by a fixed recurrence.
    #[test]
    fn every_nan_is_counted_in_its_column_and_split() {
        let (rows, columns) = (3 * STRETCH + 7, 5);
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let numbers: Vec<f32> =
            (0..rows * columns).map(|at| if next() % (2 + at % columns) == 0 { f32::NAN } else { 1.0 }).collect();
        let parts: Vec<Part> = (0..rows).map(|_| [Part::Train, Part::Valid, Part::Test][next() % 3]).collect();
        let mut found = MissingNumbers::none(columns);
        let half = rows / 2;
        found.count(&numbers[..half * columns], &parts[..half]);
        found.count(&numbers[half * columns..], &parts[half..]);
        let expected = |part: Part| -> Vec<usize> {
            let is = |row: &usize, column: usize| parts[*row] == part && numbers[row * columns + column].is_nan();
            (0..columns).map(|column| (0..rows).filter(|row| is(row, column)).count()).collect()
        };
        assert_eq!(
            found,
            MissingNumbers { train: expected(Part::Train), valid: expected(Part::Valid), test: expected(Part::Test) }
        );
        assert!(found.valid.iter().all(|count| *count > 100), "{found:?}");
    }
}
