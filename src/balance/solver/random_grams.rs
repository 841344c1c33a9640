//! Random Gram matrices of the kinds that break solvers.

use std::ops::RangeInclusive;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::balance::gram::Gram;

/// `count` Gram matrices with their seeds: generic, rank-deficient, opposing, duplicated, with zero rows, and with row
/// norms spread over 8 decades.
pub(in crate::balance) fn random_grams(tasks: RangeInclusive<usize>, count: u64) -> impl Iterator<Item = (u64, Gram)> {
    (0..count).map(move |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let tasks = rng.random_range(tasks.clone());
        (seed, random_gram(&mut rng, tasks, seed % 6))
    })
}

fn random_gram(rng: &mut impl Rng, tasks: usize, kind: u64) -> Gram {
    let width = if kind == 1 { 1 + tasks / 2 } else { tasks + 3 };
    let mut rows: Vec<Vec<f64>> =
        (0..tasks).map(|_| (0..width).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let (from, to) = (rng.random_range(0..tasks), rng.random_range(0..tasks));
    let factor = rng.random_range(0.1..3.0);
    match kind {
        2 if from != to => rows[to] = rows[from].iter().map(|x| -factor * x).collect(),
        3 => rows[to] = rows[from].clone(),
        4 => rows[to] = vec![0.0; width],
        5 => {
            for row in &mut rows {
                let scale = 10f64.powf(rng.random_range(-6.0..2.0));
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        _ => {}
    }
    Gram::from_gradients(&rows).unwrap()
}
