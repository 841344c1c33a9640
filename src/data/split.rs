//! Which rows train, which decide when to stop, and which measure.

use super::DataError;
use super::draw::Draw;
use super::error::list;
use crate::spec::{Preprocess, Test, Valid};

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Valid,
    Test,
}

/// What every row is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    of: Vec<Part>,
    counts: [usize; 3],
}

impl Split {
    pub(super) fn new(of: Vec<Part>) -> Self {
        let mut counts = [0; 3];
        of.iter().for_each(|part| counts[*part as usize] += 1);
        Self { of, counts }
    }

    /// How many rows are for this.
    pub(crate) fn count(&self, part: Part) -> usize {
        self.counts[part as usize]
    }

    /// What the rows of a stretch are for.
    pub(crate) fn of(&self, first: usize, rows: usize) -> &[Part] {
        &self.of[first..first + rows]
    }
}

/// The rows of a log as its files divide them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    /// Rows of all files together; training rows come first.
    pub(crate) rows: u32,
    /// The first test row, if the log has a test file.
    pub(crate) test_from: Option<u32>,
}

/// Draws the splits. Shares are exact up to rounding, and depend on the seed and the number of rows alone.
///
/// # Errors
/// When a share is not between 0 and 1, a split would be empty, or the log has no test rows and none are drawn.
pub(crate) fn split(given: Given, stage: &Preprocess) -> Result<Split, DataError> {
    check(stage, given.test_from.is_some())?;
    let (train, test) = match stage.test {
        Test::Random(share) => draw((0..given.rows).collect(), share, "test", stage.seed),
        Test::AsGiven => {
            let first = given.test_from.unwrap_or(given.rows);
            ((0..first).collect(), (first..given.rows).collect())
        }
    };
    let (valid, test) = match stage.valid {
        Valid::FromTest(share) => {
            let (test, valid) = draw(test, share, "valid", stage.seed);
            (valid, test)
        }
        Valid::FromTrain(share) => {
            let (_, valid) = draw(train, share, "valid", stage.seed);
            (valid, test)
        }
    };
    let mut of = vec![Part::Train; given.rows as usize];
    valid.iter().for_each(|row| of[*row as usize] = Part::Valid);
    test.iter().for_each(|row| of[*row as usize] = Part::Test);
    let split = Split::new(of);
    let [train, valid, test] = split.counts;
    let sizes = [("train", train), ("valid", valid), ("test", test)];
    let empty: Vec<&str> = sizes.iter().filter(|(_, rows)| *rows == 0).map(|(name, _)| *name).collect();
    if empty.is_empty() {
        return Ok(split);
    }
    Err(DataError::request(
        format!("no rows are left for {}: {train} train, {valid} valid, {test} test rows", list(&empty)),
        "give the log more rows, or choose other shares in the Preprocess stage",
    ))
}

/// Whether the splits can be drawn at all: worth knowing before a large log is read.
///
/// # Errors
/// When a share is not between 0 and 1, or the log has no test rows and none are drawn.
pub(crate) fn check(stage: &Preprocess, has_test_rows: bool) -> Result<(), DataError> {
    let valid = match stage.valid {
        Valid::FromTest(share) => ("valid: FromTest", share),
        Valid::FromTrain(share) => ("valid: FromTrain", share),
    };
    let test = match stage.test {
        Test::Random(share) => Some(("test: Random", share)),
        Test::AsGiven => None,
    };
    for (field, share) in test.into_iter().chain([valid]) {
        if !(share > 0.0 && share < 1.0) {
            return Err(DataError::request(
                format!("`{field}({share})` is no share of the rows"),
                "a share lies between 0 and 1, both excluded",
            ));
        }
    }
    if stage.test == Test::AsGiven && !has_test_rows {
        return Err(DataError::request(
            "the log comes as one file, without a given split into training and test rows",
            "draw the test rows at random, `test: Random(0.2)` in the Preprocess stage, or add the other file",
        ));
    }
    Ok(())
}

/// Parts rows at random into (the rest, the share), both in their old order.
fn draw(rows: Vec<u32>, share: f64, purpose: &str, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let wanted = (share * rows.len() as f64).round() as usize;
    let order = Draw::new(seed, purpose, 0).permutation(rows.len() as u32);
    let mut chosen = vec![false; rows.len()];
    for &at in &order[..wanted] {
        chosen[at as usize] = true;
    }
    let pick = |wanted: bool| rows.iter().zip(&chosen).filter(move |(_, c)| **c == wanted).map(|(row, _)| *row);
    (pick(false).collect(), pick(true).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(valid: Valid, test: Test, seed: u64) -> Preprocess {
        Preprocess { from: "download".into(), valid, test, seed, fill: None }
    }

    const GIVEN: Given = Given { rows: 1000, test_from: Some(600) };
    const POOLED: Given = Given { rows: 1000, test_from: None };

    #[test]
    fn shares_are_exact_and_every_row_is_in_one_split() {
        for (given, stage, sizes) in [
            (GIVEN, stage(Valid::FromTest(0.5), Test::AsGiven, 0), [600, 200, 200]),
            (GIVEN, stage(Valid::FromTrain(0.1), Test::AsGiven, 0), [540, 60, 400]),
            (GIVEN, stage(Valid::FromTest(0.5), Test::Random(0.4), 0), [600, 200, 200]),
            (POOLED, stage(Valid::FromTest(0.5), Test::Random(0.4), 0), [600, 200, 200]),
            (POOLED, stage(Valid::FromTrain(0.25), Test::Random(0.2), 3), [600, 200, 200]),
        ] {
            let split = split(given, &stage).unwrap();
            assert_eq!([Part::Train, Part::Valid, Part::Test].map(|part| split.count(part)), sizes);
            assert_eq!(split.of(0, 1000).len(), 1000);
        }
    }

    #[test]
    fn given_test_rows_stay_apart_from_training_rows() {
        let split = split(GIVEN, &stage(Valid::FromTest(0.5), Test::AsGiven, 1)).unwrap();
        assert!(split.of(0, 600).iter().all(|part| *part == Part::Train));
        assert!(split.of(600, 400).iter().all(|part| *part != Part::Train));
    }

    #[test]
    fn the_seed_decides() {
        let drawn = |seed| split(POOLED, &stage(Valid::FromTest(0.5), Test::Random(0.4), seed)).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn nonsense_is_refused_with_a_remedy() {
        let refused = |given, valid, test| {
            let error = split(given, &stage(valid, test, 0)).unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let (message, hint) = refused(POOLED, Valid::FromTest(0.5), Test::AsGiven);
        assert!(message.contains("without a given split") && hint.contains("test: Random("), "{message}; {hint}");
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            let (message, _) = refused(GIVEN, Valid::FromTrain(share), Test::AsGiven);
            assert_eq!(message, format!("`valid: FromTrain({share})` is no share of the rows"));
        }
        let (message, _) = refused(GIVEN, Valid::FromTest(0.5), Test::Random(2.0));
        assert_eq!(message, "`test: Random(2)` is no share of the rows");
        let two = Given { rows: 2, test_from: Some(1) };
        let (message, _) = refused(two, Valid::FromTest(0.5), Test::AsGiven);
        assert_eq!(message, "no rows are left for `test`: 1 train, 1 valid, 0 test rows");
        let none = Given { rows: 0, test_from: None };
        let (message, _) = refused(none, Valid::FromTest(0.5), Test::Random(0.5));
        assert_eq!(message, "no rows are left for `train`, `valid` and `test`: 0 train, 0 valid, 0 test rows");
    }
}
