//! Which rows train, which decide when to stop, and which measure.

use super::DataError;
use super::draw::Draw;
use super::error::list;
use crate::spec::{By, Preprocess, Test, Valid};

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

/// The rows of a log as its files divide them, and what else a split may go by.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Given<'a> {
    /// Rows of all files together; training rows come first.
    pub(crate) rows: u32,
    /// The first test row, if the log has a test file.
    pub(crate) test_from: Option<u32>,
    /// Each row's group, numbered from 0, where groups are kept together.
    pub(crate) groups: Option<Vec<u32>>,
    /// Each row's time, in a log that has times.
    pub(crate) times: Option<&'a [f64]>,
}

/// Draws the splits. Of rows, shares are exact up to rounding, and depend on the seed and the number of rows alone. Of
/// groups, the split is off its share by at most half a group; of times, by at most the rows of one time.
///
/// # Errors
/// When a share is not between 0 and 1, a split would be empty, the log has no test rows and none are drawn, or it lacks
/// the groups or times that the stage asks for.
pub(crate) fn split(given: &Given, stage: &Preprocess) -> Result<Split, DataError> {
    check(stage, given.test_from.is_some())?;
    let groups = groups(given, stage)?;
    let chance = |rows, share, purpose| match groups {
        Some(groups) => draw_groups(rows, share, purpose, stage.seed, groups),
        None => draw(rows, share, purpose, stage.seed),
    };
    let (train, test) = match stage.test {
        Test::Random(share) => chance((0..given.rows).collect(), share, "test"),
        Test::Latest(share) => latest((0..given.rows).collect(), share, times(given, "test", share)?),
        Test::AsGiven => {
            let first = given.test_from.unwrap_or(given.rows);
            ((0..first).collect(), (first..given.rows).collect())
        }
    };
    let (train, valid, test) = match stage.valid {
        Valid::FromTest(share) => {
            let (test, valid) = chance(test, share, "valid");
            (train, valid, test)
        }
        Valid::FromTrain(share) => {
            let (train, valid) = chance(train, share, "valid");
            (train, valid, test)
        }
        Valid::Latest(share) => {
            let (train, valid) = latest(train, share, times(given, "valid", share)?);
            (train, valid, test)
        }
    };
    if let Some(groups) = groups {
        undivided(groups, [("train", &train), ("valid", &valid), ("test", &test)])?;
    }
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
        Valid::Latest(share) => ("valid: Latest", share),
    };
    let test = match stage.test {
        Test::Random(share) => Some(("test: Random", share)),
        Test::Latest(share) => Some(("test: Latest", share)),
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

/// Each row's group, if groups are to be kept together.
fn groups<'a>(given: &'a Given, stage: &Preprocess) -> Result<Option<&'a [u32]>, DataError> {
    match (stage.by, &given.groups) {
        (By::Row, _) => Ok(None),
        (By::Group, Some(groups)) => Ok(Some(groups)),
        (By::Group, None) => Err(DataError::request(
            "`by: Group` needs to know which rows belong together: the log has no groups",
            "name the column in `Csv(group: ..)`, or leave `by: Group` out",
        )),
    }
}

/// Each row's time.
fn times<'a>(given: &Given<'a>, field: &str, share: f64) -> Result<&'a [f64], DataError> {
    given.times.ok_or_else(|| {
        DataError::request(
            format!("`{field}: Latest({share})` needs to know when rows were logged: the log has no times"),
            "name the column in `Csv(time: ..)`, or draw the rows at random",
        )
    })
}

/// Parts rows at random into (the rest, the share), both in their old order.
fn draw(rows: Vec<u32>, share: f64, purpose: &str, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let wanted = (share * rows.len() as f64).round() as usize;
    let order = Draw::new(seed, purpose, 0).permutation(rows.len() as u32);
    let mut chosen = vec![false; rows.len()];
    for &at in &order[..wanted] {
        chosen[at as usize] = true;
    }
    let mut chosen = chosen.into_iter();
    part(rows, |_| chosen.next() == Some(true))
}

/// The same of whole groups: in random order, each is taken that brings the number of rows nearer to the share.
fn draw_groups(rows: Vec<u32>, share: f64, purpose: &str, seed: u64, groups: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let count = rows.iter().map(|row| groups[*row as usize] + 1).max().unwrap_or(0);
    let mut sizes = vec![0_usize; count as usize];
    let mut present = Vec::new();
    for &row in &rows {
        let group = groups[row as usize];
        if sizes[group as usize] == 0 {
            present.push(group);
        }
        sizes[group as usize] += 1;
    }
    let mut missing = (share * rows.len() as f64).round() as usize;
    let mut chosen = vec![false; count as usize];
    for at in Draw::new(seed, purpose, 0).permutation(present.len() as u32) {
        let group = present[at as usize] as usize;
        if sizes[group] < 2 * missing {
            chosen[group] = true;
            // what is above the share is above it by less than half of this group, and ends it
            missing = missing.saturating_sub(sizes[group]);
        }
    }
    part(rows, |row| chosen[groups[row as usize] as usize])
}

/// Parts rows into (the rest, the share with the latest times). Rows of one time stay together, on the side that brings
/// the number of rows nearer to the share, unless nothing is left on the other.
fn latest(rows: Vec<u32>, share: f64, times: &[f64]) -> (Vec<u32>, Vec<u32>) {
    let wanted = ((share * rows.len() as f64).round() as usize).max(1);
    let Some(first) = rows.len().checked_sub(wanted) else { return (rows, Vec::new()) };
    let mut of_rows: Vec<f64> = rows.iter().map(|row| times[*row as usize]).collect();
    let (_, &mut boundary, _) = of_rows.select_nth_unstable_by(first, f64::total_cmp);
    let later = of_rows.iter().filter(|time| **time > boundary).count();
    let not_earlier = of_rows.iter().filter(|time| **time >= boundary).count();
    let nearer = not_earlier - wanted <= wanted - later;
    let with_boundary = later == 0 || (nearer && not_earlier < rows.len());
    part(rows, |row| {
        let time = times[row as usize];
        time > boundary || (with_boundary && time == boundary)
    })
}

/// Parts rows into (those that are not chosen, those that are), both in their old order.
fn part(rows: Vec<u32>, mut chosen: impl FnMut(u32) -> bool) -> (Vec<u32>, Vec<u32>) {
    rows.into_iter().partition(|row| !chosen(*row))
}

/// No group may be in two splits: files and times may divide one.
fn undivided(groups: &[u32], splits: [(&str, &[u32]); 3]) -> Result<(), DataError> {
    let count = groups.iter().max().map_or(0, |last| *last as usize + 1);
    let mut split_of = vec![usize::MAX; count];
    for (split, (name, rows)) in splits.iter().enumerate() {
        for &row in *rows {
            let of = &mut split_of[groups[row as usize] as usize];
            if *of != usize::MAX && *of != split {
                return Err(DataError::request(
                    format!(
                        "`by: Group` keeps a group in one split, but that of row {} has rows in `{}` and in `{name}`",
                        row + 1,
                        splits[*of].0
                    ),
                    "draw all splits at random, `test: Random(0.2)` and `valid: FromTrain(0.1)`, or leave `by: Group` out",
                ));
            }
            *of = split;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(valid: Valid, test: Test, seed: u64) -> Preprocess {
        Preprocess {
            from: "download".into(),
            valid,
            test,
            by: By::Row,
            seed,
            fill: None,
            max_bad_rows: 0,
            resources: Default::default(),
        }
    }

    const GIVEN: Given = Given { rows: 1000, test_from: Some(600), groups: None, times: None };
    const POOLED: Given = Given { test_from: None, ..GIVEN };

    #[test]
    fn shares_are_exact_and_every_row_is_in_one_split() {
        for (given, stage, sizes) in [
            (GIVEN, stage(Valid::FromTest(0.5), Test::AsGiven, 0), [600, 200, 200]),
            (GIVEN, stage(Valid::FromTrain(0.1), Test::AsGiven, 0), [540, 60, 400]),
            (GIVEN, stage(Valid::FromTest(0.5), Test::Random(0.4), 0), [600, 200, 200]),
            (POOLED, stage(Valid::FromTest(0.5), Test::Random(0.4), 0), [600, 200, 200]),
            (POOLED, stage(Valid::FromTrain(0.25), Test::Random(0.2), 3), [600, 200, 200]),
        ] {
            let split = split(&given, &stage).unwrap();
            assert_eq!([Part::Train, Part::Valid, Part::Test].map(|part| split.count(part)), sizes);
            assert_eq!(split.of(0, 1000).len(), 1000);
        }
    }

    #[test]
    fn given_test_rows_stay_apart_from_training_rows() {
        let split = split(&GIVEN, &stage(Valid::FromTest(0.5), Test::AsGiven, 1)).unwrap();
        assert!(split.of(0, 600).iter().all(|part| *part == Part::Train));
        assert!(split.of(600, 400).iter().all(|part| *part != Part::Train));
    }

    #[test]
    fn the_seed_decides() {
        let drawn = |seed| split(&POOLED, &stage(Valid::FromTest(0.5), Test::Random(0.4), seed)).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn nonsense_is_refused_with_a_remedy() {
        let refused = |given: Given, valid, test| {
            let error = split(&given, &stage(valid, test, 0)).unwrap_err();
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
        let two = Given { rows: 2, test_from: Some(1), ..GIVEN };
        let (message, _) = refused(two, Valid::FromTest(0.5), Test::AsGiven);
        assert_eq!(message, "no rows are left for `test`: 1 train, 1 valid, 0 test rows");
        let none = Given { rows: 0, ..POOLED };
        let (message, _) = refused(none, Valid::FromTest(0.5), Test::Random(0.5));
        assert_eq!(message, "no rows are left for `train`, `valid` and `test`: 0 train, 0 valid, 0 test rows");
    }

    /// The rows of each split.
    fn members(split: &Split) -> [Vec<u32>; 3] {
        [Part::Train, Part::Valid, Part::Test]
            .map(|part| (0..).zip(&split.of).filter(|(_, of)| **of == part).map(|(row, _)| row).collect())
    }

    fn by_group(valid: Valid, test: Test, seed: u64) -> Preprocess {
        Preprocess { by: By::Group, ..stage(valid, test, seed) }
    }

    #[test]
    fn no_group_is_in_two_splits() {
        // 1000 rows in groups of one to seven, scattered
        let sizes = (0..1000_u32).map(|group| (group, 1 + group * group % 7));
        let groups: Vec<u32> = sizes.flat_map(|(group, size)| vec![group; size as usize]).take(1000).collect();
        let groups: Vec<u32> = (0..1000).map(|row| groups[row * 337 % 1000]).collect();
        let given = Given { groups: Some(groups.clone()), ..POOLED };
        for seed in 0..20 {
            let found = split(&given, &by_group(Valid::FromTrain(0.25), Test::Random(0.2), seed)).unwrap();
            let parts = members(&found);
            let of =
                |part: &[u32]| part.iter().map(|row| groups[*row as usize]).collect::<std::collections::HashSet<_>>();
            let sets = parts.each_ref().map(|part| of(part));
            assert!(sets[0].is_disjoint(&sets[1]) && sets[0].is_disjoint(&sets[2]) && sets[1].is_disjoint(&sets[2]));
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 1000);
            // groups have at most seven rows
            assert!(parts[2].len().abs_diff(200) <= 3, "{} test rows", parts[2].len());
            assert!(parts[1].len().abs_diff(200) <= 4, "{} valid rows", parts[1].len());
            assert_eq!(found, split(&given, &by_group(Valid::FromTrain(0.25), Test::Random(0.2), seed)).unwrap());
            assert_ne!(found, split(&given, &by_group(Valid::FromTrain(0.25), Test::Random(0.2), seed + 1)).unwrap());
        }
    }

    /// Groups of one row are drawn as rows are.
    #[test]
    fn groups_of_one_row_are_rows() {
        let given = Given { groups: Some((0..1000).collect()), ..POOLED };
        let rows = split(&POOLED, &stage(Valid::FromTest(0.5), Test::Random(0.4), 5)).unwrap();
        assert_eq!(split(&given, &by_group(Valid::FromTest(0.5), Test::Random(0.4), 5)).unwrap(), rows);
    }

    #[test]
    fn groups_that_files_or_times_divide_are_refused() {
        let given = Given { rows: 6, test_from: Some(4), groups: Some(vec![0, 0, 1, 2, 3, 4]), ..GIVEN };
        let stage = by_group(Valid::FromTrain(0.25), Test::AsGiven, 0);
        assert!(split(&given, &stage).is_ok());
        let divided = Given { groups: Some(vec![0, 0, 1, 2, 3, 0]), ..given };
        let error = split(&divided, &by_group(Valid::FromTest(0.5), Test::AsGiven, 0)).unwrap_err();
        assert!(error.to_string().starts_with("`by: Group` keeps a group in one split, but that of row 6 "), "{error}");
        let times: Vec<f64> = (0..6).map(f64::from).collect();
        let timed = Given { times: Some(&times), ..divided };
        let stage = by_group(Valid::FromTrain(0.5), Test::Latest(0.2), 0);
        assert!(split(&timed, &stage).unwrap_err().to_string().contains("that of row 6"));
    }

    #[test]
    fn the_latest_rows_by_brute_force() {
        let times: Vec<f64> = (0..1000_u32).map(|row| f64::from(row * 389 % 1000 / 3)).collect();
        let given = Given { times: Some(&times), ..POOLED };
        for share in [0.05, 0.2, 0.331, 0.9] {
            let found = split(&given, &stage(Valid::FromTrain(0.1), Test::Latest(share), 1)).unwrap();
            let test = found.count(Part::Test);
            // rows of one time are three, so the nearest whole time is off by one at most
            assert!(test.abs_diff((share * 1000.0) as usize) <= 1, "{share}: {test}");
            let mut order: Vec<u32> = (0..1000).collect();
            order.sort_by(|a, b| times[*b as usize].total_cmp(&times[*a as usize]));
            let mut expected = order[..test].to_vec();
            expected.sort_unstable();
            let [train, valid, found] = members(&found);
            assert_eq!(found, expected);
            let first = found.iter().map(|row| times[*row as usize]).fold(f64::MAX, f64::min);
            assert!(train.iter().chain(&valid).all(|row| times[*row as usize] < first));
        }
    }

    #[test]
    fn rows_of_one_time_stay_together() {
        let chosen = |times: &[f64], share| {
            let given = Given { rows: times.len() as u32, times: Some(times), ..POOLED };
            split(&given, &stage(Valid::FromTrain(0.5), Test::Latest(share), 0)).map(|split| members(&split)[2].clone())
        };
        assert_eq!(chosen(&[4.0, 1.0, 2.0, 4.0, 3.0], 0.4).unwrap(), [0, 3]);
        // one row is asked for and two have the time: nearer than none, as a split must not be empty
        assert_eq!(chosen(&[4.0, 1.0, 2.0, 4.0, 3.0], 0.2).unwrap(), [0, 3]);
        // three are asked for: four (with both of time 2) are as near as two, and more are taken
        assert_eq!(chosen(&[1.0, 1.0, 2.0, 2.0, 3.0, 3.0], 0.5).unwrap(), [2, 3, 4, 5]);
        // three of five are asked for: one is nearer than all, as something must be left
        assert_eq!(chosen(&[1.0, 1.0, 1.0, 1.0, 2.0], 0.6).unwrap(), [4]);
        let error = chosen(&[7.0; 5], 0.4).unwrap_err();
        assert_eq!(error.to_string(), "no rows are left for `train` and `valid`: 0 train, 0 valid, 5 test rows");
    }

    #[test]
    fn validation_rows_may_be_the_latest_before_the_test_rows() {
        let times: Vec<f64> = (0..10).rev().map(f64::from).collect();
        let given = Given { rows: 10, times: Some(&times), ..POOLED };
        let found = split(&given, &stage(Valid::Latest(0.25), Test::Latest(0.2), 9)).unwrap();
        assert_eq!(members(&found), [vec![4, 5, 6, 7, 8, 9], vec![2, 3], vec![0, 1]]);
    }

    #[test]
    fn logs_without_groups_or_times_are_told_what_to_name() {
        let refused = |stage: &Preprocess| {
            let error = split(&POOLED, stage).unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let (message, hint) = refused(&by_group(Valid::FromTrain(0.1), Test::Random(0.2), 0));
        assert_eq!(message, "`by: Group` needs to know which rows belong together: the log has no groups");
        assert!(hint.contains("Csv(group: ..)"));
        let (message, hint) = refused(&stage(Valid::FromTrain(0.1), Test::Latest(0.2), 0));
        assert_eq!(message, "`test: Latest(0.2)` needs to know when rows were logged: the log has no times");
        assert!(hint.contains("Csv(time: ..)"));
        let (message, _) = refused(&stage(Valid::Latest(0.3), Test::Random(0.2), 0));
        assert_eq!(message, "`valid: Latest(0.3)` needs to know when rows were logged: the log has no times");
    }

    /// The half of a group is a bound that is reached.
    #[test]
    fn a_group_is_taken_that_brings_the_rows_nearer_to_the_share() {
        let test_rows = |large: u32, share| {
            let mut groups = vec![0; large as usize];
            groups.extend(1..=100 - large);
            let given = Given { rows: 100, groups: Some(groups), ..POOLED };
            let counts = (0..50).map(|seed| {
                split(&given, &by_group(Valid::FromTrain(0.3), Test::Random(share), seed)).unwrap().count(Part::Test)
            });
            counts.collect::<std::collections::BTreeSet<_>>()
        };
        // the group of 40 is taken while more than 20 rows are missing: at 21, up to 19 too many
        let counts = test_rows(40, 0.3);
        assert_eq!(counts.first(), Some(&30));
        assert!(*counts.last().unwrap() > 40 && *counts.last().unwrap() <= 49, "{counts:?}");
        // never when 20 at most are
        assert_eq!(Vec::from_iter(test_rows(40, 0.2)), [20]);
    }
}
