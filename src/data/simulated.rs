//! A simulated log with known probabilities: runs anywhere, and says how good a model could be at best.

mod columns;
mod log;
mod world;

use serde::{Deserialize, Serialize};

use super::aliexpress::{CATEGORICAL, NUMERICAL, TASKS, categorical_names, numerical_names};
use super::{Country, DataError, Field, Parts, Rows, Schema};
use crate::registry::Describe;
use world::World;

/// A log drawn from a known model.
///
/// A country's model (its ids, effects, rates) is fixed; the seed draws searches and rows from it, so that two seeds
/// are two samples of one world. The first two thirds of the rows are training rows, the rest test rows; a search is
/// never cut in two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Simulated {
    /// Whose shape it takes.
    pub like: Like,
    /// Whose preset of rates and sizes it takes.
    pub country: Country,
    /// Rows, train and test together.
    pub rows: usize,
    /// Seed of the simulation.
    pub seed: u64,
}

/// Whose shape a simulated log takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Like {
    #[default]
    AliExpress,
}

impl Default for Simulated {
    fn default() -> Self {
        Self { like: Like::AliExpress, country: Country::ES, rows: 60_000, seed: 7 }
    }
}

impl Describe for Simulated {
    const SUMMARY: &'static str = "simulated AliExpress-like log with known click and conversion probabilities";
    const SOURCE: &'static str = "";
}

/// A simulated log.
#[derive(Debug)]
pub struct SimulatedLog {
    /// The columns; fields have no out-of-vocabulary row yet.
    pub schema: Schema,
    /// Rows to learn from.
    pub train: Rows,
    /// Rows to measure on, of later searches.
    pub test: Rows,
}

impl Simulated {
    /// Fewer rows than this would leave no test rows.
    const FEWEST_ROWS: usize = 5 * log::LONGEST_SEARCH;

    /// The columns as they are drawn.
    fn schema(&self) -> Schema {
        let Like::AliExpress = self.like;
        let sizes = world::sizes(self.country);
        let field = |(name, size)| Field { name, size, out_of_vocabulary: None };
        let fields = categorical_names().into_iter().zip(sizes).map(field).collect();
        Schema { fields, numerical: numerical_names(), tasks: TASKS.map(str::to_owned).to_vec() }
    }

    /// The columns as they are encoded when every id occurs in training: each field has a row for others.
    pub fn encoded_schema(&self) -> Schema {
        let mut schema = self.schema();
        for field in &mut schema.fields {
            field.out_of_vocabulary = Some(field.size as u32);
            field.size += 1;
        }
        schema
    }

    /// Draws the log; the same bits for the same parameters, whatever the number of threads.
    ///
    /// # Errors
    /// When `rows` is below 100 or above 2^32 - 1.
    pub fn simulate(&self) -> Result<SimulatedLog, DataError> {
        if self.rows < Self::FEWEST_ROWS || u32::try_from(self.rows).is_err() {
            return Err(DataError::request(
                format!("a log of {} rows cannot be simulated", self.rows),
                format!("ask for {} to {} rows", Self::FEWEST_ROWS, u32::MAX),
            ));
        }
        let world = World::of(self.country);
        let schema = self.schema();
        let searches = log::draw_searches(self.rows, self.seed);
        let mut train = log::draw_rows(&world, &searches, self.seed);
        let first_test_row =
            (self.rows * 2 / 3..self.rows).find(|&row| searches[row] != searches[row - 1]).unwrap_or(self.rows);
        let test = split_off(&mut train, first_test_row);
        Ok(SimulatedLog { train: Rows::from_parts(&schema, train)?, test: Rows::from_parts(&schema, test)?, schema })
    }
}

/// Cuts off the rows from `row` on.
fn split_off(parts: &mut Parts, row: usize) -> Parts {
    Parts {
        categorical: parts.categorical.split_off(row * CATEGORICAL),
        numerical: parts.numerical.split_off(row * NUMERICAL),
        labels: parts.labels.split_off(row * TASKS.len()),
        group: parts.group.as_mut().map(|group| group.split_off(row)),
        probability: parts.probability.as_mut().map(|probability| probability.split_off(row * TASKS.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const COUNTRIES: [Country; 5] = [Country::NL, Country::ES, Country::FR, Country::US, Country::RU];

    fn simulate(country: Country, rows: usize, seed: u64) -> SimulatedLog {
        Simulated { like: Like::AliExpress, country, rows, seed }.simulate().unwrap()
    }

    /// The share of (positive, negative) pairs in order, ties counted half.
    fn auc(scores: &[f32], labels: &[u8]) -> f64 {
        let of = |wanted: u8| -> Vec<f32> {
            let mut scores: Vec<f32> =
                scores.iter().zip(labels).filter(|(_, label)| **label == wanted).map(|(score, _)| *score).collect();
            scores.sort_unstable_by(f32::total_cmp);
            scores
        };
        let (negative, positive) = (of(0), of(1));
        let below = |score: f32| negative.partition_point(|&other| other < score);
        let up_to = |score: f32| negative.partition_point(|&other| other <= score);
        let wins: f64 = positive.iter().map(|&score| (below(score) + up_to(score)) as f64 / 2.0).sum();
        wins / (positive.len() * negative.len()) as f64
    }

    fn column<T: Copy>(values: &[T], width: usize, at: usize) -> Vec<T> {
        values.iter().skip(at).step_by(width).copied().collect()
    }

    #[test]
    fn rates_and_attainable_auc_are_realistic_in_every_country() {
        for country in COUNTRIES {
            let log = simulate(country, 60_000, 7);
            let mut parts = log.train.to_parts();
            let test = log.test.to_parts();
            parts.labels.extend(test.labels);
            parts.probability.as_mut().unwrap().extend(test.probability.unwrap());
            let rows = parts.labels.len() / 2;
            assert_eq!(rows, 60_000);

            let labels = [column(&parts.labels, 2, 0), column(&parts.labels, 2, 1)];
            let clicks = labels[0].iter().filter(|&&label| label == 1).count();
            let conversions = labels[1].iter().filter(|&&label| label == 1).count();
            let probability = parts.probability.unwrap();
            let best: Vec<f64> = (0..2).map(|task| auc(&column(&probability, 2, task), &labels[task])).collect();
            println!("{country:?}: {clicks} clicks, {conversions} conversions, attainable AUC {best:?}");
            assert!((0.025..=0.055).contains(&(clicks as f64 / rows as f64)), "{country:?}: {clicks} clicks");
            assert!((200..=550).contains(&conversions), "{country:?}: {conversions} conversions");
            assert!((0.72..=0.80).contains(&best[0]), "{country:?}: attainable click AUC {}", best[0]);
            assert!((0.80..=0.88).contains(&best[1]), "{country:?}: attainable CTCVR AUC {}", best[1]);
            assert!(labels[0].iter().zip(&labels[1]).all(|(click, conversion)| conversion <= click));

            // Labels are as frequent as their probabilities say, to five standard deviations.
            for (task, positives) in [clicks, conversions].into_iter().enumerate() {
                let expected: f64 = column(&probability, 2, task).into_iter().map(f64::from).sum();
                assert!((positives as f64 - expected).abs() < 5.0 * expected.sqrt(), "{positives} for {expected}");
            }
        }
    }

    #[test]
    fn the_log_looks_like_the_published_one() {
        let log = simulate(Country::ES, 20_000, 3);
        let numerical = log.train.numerical();
        assert!(numerical.iter().all(|value| (0.0..=1.0).contains(value)));
        let zeros = numerical.iter().filter(|&&value| value == 0.0).count() as f64 / numerical.len() as f64;
        assert!((0.35..0.55).contains(&zeros), "{zeros}");
        let sizes: Vec<usize> = log.schema.fields.iter().map(|field| field.size).collect();
        assert!(sizes.iter().all(|&size| (2..=400).contains(&size)) && sizes.iter().any(|&size| size > 100));

        // Rows of a search are neighbours and share the search's columns; a search is in one split only.
        let group = log.train.group().unwrap();
        assert!(group.is_sorted());
        let searches: HashSet<i64> = group.iter().copied().collect();
        assert!(log.test.group().unwrap().iter().all(|search| !searches.contains(search)));
        let mean = group.len() as f64 / searches.len() as f64;
        assert!((4.0..7.0).contains(&mean), "{mean} rows a search");
        let ids = log.train.categorical();
        for (at, pair) in group.windows(2).enumerate() {
            if pair[0] == pair[1] {
                assert_eq!(ids[at * CATEGORICAL..][..9], ids[(at + 1) * CATEGORICAL..][..9]);
                assert_eq!(numerical[at * NUMERICAL..][..23], numerical[(at + 1) * NUMERICAL..][..23]);
            }
        }
        let share = log.train.len() as f64 / 20_000.0;
        assert!((0.66..0.67).contains(&share), "{share}");
    }

    #[test]
    fn the_same_bits_on_any_number_of_threads() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let log = simulate(Country::FR, 5000, 11);
                (log.train.to_parts(), log.test.to_parts())
            })
        };
        assert_eq!(on(1), on(4));
    }

    #[test]
    fn seeds_and_countries_differ_and_a_longer_log_starts_alike() {
        let labels = |country, seed| simulate(country, 2000, seed).train.to_parts();
        assert_ne!(labels(Country::ES, 1), labels(Country::ES, 2));
        assert_ne!(labels(Country::ES, 1).categorical, labels(Country::US, 1).categorical);
        let (short, long) = (simulate(Country::NL, 1000, 5), simulate(Country::NL, 4000, 5));
        assert_eq!(short.train.numerical(), &long.train.numerical()[..short.train.numerical().len()]);
    }

    #[test]
    fn too_few_rows_are_refused() {
        for rows in [0, 99, usize::MAX] {
            let error = Simulated { rows, ..Simulated::default() }.simulate().unwrap_err();
            assert_eq!(error.to_string(), format!("a log of {rows} rows cannot be simulated"));
            assert_eq!(error.hint().unwrap(), "ask for 100 to 4294967295 rows");
        }
        assert!(Simulated { rows: 100, ..Simulated::default() }.simulate().is_ok());
    }
}
