//! Drawing a log: searches of several rows each, every search and every row from its own stream of random numbers, so
//! that threads may share the work and the bytes stay the same.

use rayon::prelude::*;

use super::columns::{Side, TRAITS, draw_numerical};
use super::world::World;
use crate::data::Parts;
use crate::data::aliexpress::{CATEGORICAL, NUMERICAL, TASKS};
use crate::data::draw::Draw;

/// Rows a thread draws at a time.
const CHUNK: usize = 1024;
/// Rows of the longest search.
pub(super) const LONGEST_SEARCH: usize = 20;
/// Mean rows of a search beyond its first.
const MEAN_FURTHER_ROWS: f64 = 5.0;

/// The features of one row.
pub(super) struct RowColumns {
    pub(super) categorical: [u32; CATEGORICAL],
    pub(super) numerical: [f32; NUMERICAL],
}

impl Default for RowColumns {
    fn default() -> Self {
        Self { categorical: [0; CATEGORICAL], numerical: [0.0; NUMERICAL] }
    }
}

impl RowColumns {
    /// Draws what all rows of a search share.
    pub(super) fn draw_search(&mut self, world: &World, seed: u64, purpose: &str, search: u64) {
        self.draw_side(world, Side::Search, &mut Draw::new(seed, purpose, search));
    }

    /// Draws what is the row's own.
    pub(super) fn draw_product(&mut self, world: &World, draw: &mut Draw) {
        self.draw_side(world, Side::Product, draw);
    }

    fn draw_side(&mut self, world: &World, side: Side, draw: &mut Draw) {
        let mut traits = [0.0; TRAITS];
        draw.fill_normal(&mut traits);
        world.draw_ids(draw, side, &traits, &mut self.categorical);
        draw_numerical(draw, side, &traits, &mut self.numerical);
    }
}

/// The search of each row, counted from 0; exactly `rows` of them.
pub(super) fn draw_searches(rows: usize, seed: u64) -> Vec<u32> {
    let mut draw = Draw::new(seed, "search lengths", 0);
    let mut search_of_row = Vec::with_capacity(rows);
    for search in 0.. {
        let further = (-draw.uniform().ln() * MEAN_FURTHER_ROWS) as usize;
        let length = (1 + further).min(LONGEST_SEARCH).min(rows - search_of_row.len());
        if length == 0 {
            break;
        }
        search_of_row.extend(std::iter::repeat_n(search, length));
    }
    search_of_row
}

/// Draws every row.
pub(super) fn draw_rows(world: &World, search_of_row: &[u32], seed: u64) -> Parts {
    let rows = search_of_row.len();
    let tasks = TASKS.len();
    let mut categorical = vec![0; rows * CATEGORICAL];
    let mut numerical = vec![0.0; rows * NUMERICAL];
    let mut labels = vec![0; rows * tasks];
    let mut probability = vec![0.0; rows * tasks];
    let chunks = (
        search_of_row.par_chunks(CHUNK),
        categorical.par_chunks_mut(CHUNK * CATEGORICAL),
        numerical.par_chunks_mut(CHUNK * NUMERICAL),
        labels.par_chunks_mut(CHUNK * tasks),
        probability.par_chunks_mut(CHUNK * tasks),
    );
    chunks.into_par_iter().enumerate().for_each(|(chunk, (searches, ids, numbers, labels, probabilities))| {
        let mut row = RowColumns::default();
        let mut current = None;
        for (at, &search) in searches.iter().enumerate() {
            if current != Some(search) {
                row.draw_search(world, seed, "simulated search", search.into());
                current = Some(search);
            }
            let mut draw = Draw::new(seed, "simulated row", (chunk * CHUNK + at) as u64);
            row.draw_product(world, &mut draw);
            let (click, conversion) = world.probabilities(&row);
            let clicked = draw.uniform() < click;
            let converted = clicked && draw.uniform() < conversion;

            ids[at * CATEGORICAL..][..CATEGORICAL].copy_from_slice(&row.categorical);
            numbers[at * NUMERICAL..][..NUMERICAL].copy_from_slice(&row.numerical);
            labels[at * tasks..][..tasks].copy_from_slice(&[clicked.into(), converted.into()]);
            probabilities[at * tasks..][..tasks].copy_from_slice(&[click as f32, (click * conversion) as f32]);
        }
    });
    let group = search_of_row.iter().map(|&search| i64::from(search) + 1).collect();
    Parts { categorical, numerical, labels, group: Some(group), probability: Some(probability) }
}
