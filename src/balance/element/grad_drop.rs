//! Gradient sign dropout.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::balance::draw::generator;
use crate::balance::{Build, ElementBalancer, Memory, Method, Step, hyper};
use crate::registry::Describe;

const EPS: f32 = 1e-8;

/// Where the tasks disagree about the sign of a coordinate, one sign is drawn, by its share of the gradients, and the
/// gradients of the other sign are dropped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradDrop {
    /// For each task, the share of its gradient that is never dropped; default 0.
    pub leak: Vec<f64>,
}

impl Describe for GradDrop {
    const SUMMARY: &'static str = "keeps, at each coordinate, the gradients of one sign drawn by its share of them";
    const SOURCE: &'static str = "Chen et al., NeurIPS 2020";
}

impl Build for GradDrop {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let leak = hyper::per_task("leak", &self.leak, tasks, 0.0)?;
        leak.iter().try_for_each(|&leak| hyper::share("leak", leak))?;
        Ok(Method::Element(Box::new(SignDropout { leak: leak.iter().map(|&leak| leak as f32).collect() })))
    }
}

struct SignDropout {
    leak: Vec<f32>,
}

impl Memory for SignDropout {}

/// Coordinates drawn for together.
const BLOCK: usize = 256;

impl ElementBalancer for SignDropout {
    fn combine(&self, step: &Step, first: u64, columns: &[&[f32]], out: &mut [f32]) {
        let mut generator = generator(step);
        // one word of the step's stream for each coordinate, whoever asks for it
        generator.set_word_pos(u128::from(first));
        let mut words = [0u8; 4 * BLOCK];
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let words = &mut words[..4 * out.len()];
            generator.fill_bytes(words);
            let at = block * BLOCK..block * BLOCK + out.len();
            let mut sums = [(0.0f32, 0.0f32); BLOCK];
            for column in columns {
                sums.iter_mut().zip(&column[at.clone()]).for_each(|((sum, size), g)| {
                    *sum += g;
                    *size += g.abs();
                });
            }
            // by how much the share of the positive gradients, P = ½(1 + Σ g/Σ|g|), exceeds the draw
            let mut excess = [0.0f32; BLOCK];
            for ((excess, (sum, size)), word) in excess.iter_mut().zip(sums).zip(words.as_chunks::<4>().0) {
                let drawn = (u32::from_le_bytes(*word) >> 8) as f32 / 16_777_216.0;
                *excess = 0.5 * (1.0 + sum / (size + EPS)) - drawn;
            }
            out.fill(0.0);
            for (column, leak) in columns.iter().zip(&self.leak) {
                for ((out, g), excess) in out.iter_mut().zip(&column[at.clone()]).zip(excess) {
                    // positive gradients stay where P is above the draw, negative ones where it is below
                    *out += if g * excess > 0.0 { *g } else { leak * g };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::ex_a;

    fn combined(leak: &[f64], seed: u64, first: u64, columns: &[&[f32]]) -> Vec<f32> {
        let Ok(Method::Element(method)) = (GradDrop { leak: leak.to_vec() }).build(columns.len()) else {
            panic!("an element-wise balancer")
        };
        let mut out = vec![f32::NAN; columns[0].len()];
        method.combine(&Step { index: 3, epoch: 0, seed, losses: &[] }, first, columns, &mut out);
        out
    }

    #[test]
    fn the_standard_example() {
        // P = 2/3 at the first coordinate, 1 at the second
        let gradients = ex_a().gradients;
        let columns: Vec<Vec<f32>> = gradients.iter().map(|g| g.iter().map(|x| *x as f32).collect()).collect();
        let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
        let draws: Vec<Vec<f32>> = (0..3000).map(|seed| combined(&[], seed, 0, &columns)).collect();
        assert!(draws.iter().all(|d| *d == [2.0, 2.0] || *d == [-1.0, 2.0]), "{:?}", &draws[..5]);
        let positive = draws.iter().filter(|d| d[0] == 2.0).count() as f64 / 3000.0;
        assert!((positive - 2.0 / 3.0).abs() < 0.03, "{positive}");
        // what leaks is there whatever is drawn
        let leaking = (0..50).map(|seed| combined(&[0.0, 0.5], seed, 0, &columns));
        assert!(leaking.into_iter().all(|d| d == [1.5, 2.0] || d == [-1.0, 2.0]));
    }

    #[test]
    fn a_run_draws_what_the_whole_draws_there() {
        let columns: Vec<Vec<f32>> = (1..4).map(|k| (0..100).map(|p| ((p * k * 7) as f32).sin()).collect()).collect();
        let whole: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
        let whole = combined(&[], 5, 1000, &whole);
        for cut in [1, 15, 16, 17, 99] {
            let part: Vec<&[f32]> = columns.iter().map(|column| &column[cut..]).collect();
            assert_eq!(combined(&[], 5, 1000 + cut as u64, &part), whole[cut..]);
        }
    }
}
