//! The shape of a simulated AliExpress row: which columns belong to the search and which to the product, how many ids
//! a field has and how a numerical column is distributed. The figures follow the published log: values in [0, 1],
//! many of them exactly zero, whole blocks of columns zero together.

use crate::data::aliexpress::{CATEGORICAL, NUMERICAL};
use crate::data::draw::Draw;

/// What a column describes: a search's columns are equal in all of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Search,
    Product,
}

/// Hidden traits behind a search (activity, means, taste) or a product (popularity, price, style, relevance).
pub(super) const TRAITS: usize = 4;

/// A categorical field.
pub(super) struct FieldShape {
    pub(super) side: Side,
    /// Number of ids; the country's breadth multiplies the large ones.
    pub(super) ids: usize,
    /// The trait that leans on the choice of the id.
    pub(super) trait_: usize,
    /// Exponent of the Zipf law by which ids lose popularity.
    pub(super) zipf: f64,
}

const fn field(side: Side, ids: usize, trait_: usize, zipf: f64) -> FieldShape {
    FieldShape { side, ids, trait_, zipf }
}

/// The sixteen fields in order.
pub(super) const FIELDS: [FieldShape; CATEGORICAL] = [
    field(Side::Search, 10, 0, 2.0),
    field(Side::Search, 8, 0, 1.5),
    field(Side::Search, 7, 1, 1.5),
    field(Side::Search, 2, 2, 0.5),
    field(Side::Search, 21, 1, 1.2),
    field(Side::Search, 7, 1, 2.0),
    field(Side::Search, 120, 2, 1.0),
    field(Side::Search, 40, 2, 1.2),
    field(Side::Search, 12, 2, 0.8),
    field(Side::Product, 2, 0, 1.5),
    field(Side::Product, 2, 0, 1.5),
    field(Side::Product, 2, 1, 1.5),
    field(Side::Product, 2, 1, 2.0),
    field(Side::Product, 2, 2, 2.5),
    field(Side::Product, 2, 3, 1.0),
    field(Side::Search, 2, 0, 5.0),
];

/// Numerical columns that are distributed alike.
pub(super) struct Block {
    /// Number in the column's name of the first and the last column.
    columns: (usize, usize),
    side: Side,
    /// Share of exact zeros.
    zeros: f64,
    /// Whether the block's columns are zero in the same rows.
    together: bool,
    /// Largest value.
    scale: f64,
    /// Distance between two values.
    step: f64,
    /// The trait they show, and how clearly: a correlation.
    trait_: usize,
    clarity: f64,
}

const fn block(
    columns: (usize, usize),
    side: Side,
    (zeros, together): (f64, bool),
    (scale, step): (f64, f64),
    (trait_, clarity): (usize, f64),
) -> Block {
    Block { columns, side, zeros, together, scale, step, trait_, clarity }
}

const FINE: f64 = 1e-5;

/// Every numerical column once.
const BLOCKS: [Block; 30] = [
    block((1, 8), Side::Search, (0.55, false), (1.0, 0.05), (0, 0.5)),
    block((9, 18), Side::Search, (0.14, true), (0.2, FINE), (1, 0.8)),
    block((19, 21), Side::Search, (0.5, false), (0.7, FINE), (2, 0.5)),
    block((22, 22), Side::Search, (0.19, false), (1.0, FINE), (1, 0.6)),
    block((23, 23), Side::Search, (0.75, false), (0.4, FINE), (0, 0.3)),
    block((58, 60), Side::Search, (0.995, true), (0.5, 0.05), (3, 0.0)),
    block((24, 24), Side::Product, (0.49, false), (0.4, FINE), (0, 0.4)),
    block((25, 25), Side::Product, (0.85, false), (0.6, FINE), (0, 0.3)),
    block((26, 26), Side::Product, (0.63, false), (0.7, FINE), (2, 0.3)),
    block((27, 27), Side::Product, (0.29, false), (0.9, FINE), (0, 0.7)),
    block((28, 28), Side::Product, (0.02, false), (0.9, 0.01), (1, 0.7)),
    block((29, 29), Side::Product, (0.07, false), (0.6, 0.01), (1, 0.5)),
    block((30, 30), Side::Product, (0.0, false), (1.0, FINE), (3, 0.7)),
    block((31, 31), Side::Product, (0.32, false), (0.85, FINE), (0, 0.5)),
    block((32, 33), Side::Product, (0.54, false), (0.3, FINE), (0, 0.2)),
    block((34, 34), Side::Product, (0.12, false), (0.8, FINE), (3, 0.5)),
    block((35, 35), Side::Product, (0.01, false), (0.75, FINE), (2, 0.6)),
    block((36, 36), Side::Product, (0.03, false), (0.2, FINE), (2, 0.2)),
    block((37, 37), Side::Product, (0.53, false), (0.025, FINE), (0, 0.2)),
    block((38, 40), Side::Product, (0.5, true), (0.9, FINE), (0, 0.7)),
    block((41, 41), Side::Product, (0.67, false), (0.9, FINE), (2, 0.4)),
    block((42, 43), Side::Product, (0.85, false), (0.1, FINE), (1, 0.2)),
    block((44, 45), Side::Product, (0.77, false), (1.0, 0.05), (3, 0.2)),
    block((46, 46), Side::Product, (0.95, false), (0.25, 0.01), (3, 0.2)),
    block((47, 51), Side::Product, (0.48, true), (0.8, FINE), (0, 0.5)),
    block((52, 53), Side::Product, (0.0, false), (0.9, FINE), (3, 0.4)),
    block((54, 54), Side::Product, (0.35, false), (0.7, FINE), (1, 0.3)),
    block((55, 57), Side::Product, (0.14, true), (0.8, FINE), (2, 0.5)),
    block((61, 61), Side::Product, (0.4, false), (1.0, 0.05), (1, 0.3)),
    block((62, 63), Side::Product, (0.55, true), (0.7, FINE), (2, 0.4)),
];

/// The largest value of each column.
pub(super) fn scales() -> [f64; NUMERICAL] {
    let mut scales = [0.0; NUMERICAL];
    for block in &BLOCKS {
        scales[block.columns.0 - 1..block.columns.1].fill(block.scale);
    }
    scales
}

/// Draws the numerical columns of one side, given its traits.
pub(super) fn draw_numerical(draw: &mut Draw, side: Side, traits: &[f64; TRAITS], out: &mut [f32]) {
    for block in BLOCKS.iter().filter(|block| block.side == side) {
        let all_zero = block.together && draw.uniform() < block.zeros;
        let (first, last) = block.columns;
        for value in &mut out[first - 1..last] {
            let zero = all_zero || (!block.together && draw.uniform() < block.zeros);
            *value = if zero { 0.0 } else { block.value(traits[block.trait_], draw.normals().0) };
        }
    }
}

impl Block {
    fn value(&self, trait_: f64, noise: f64) -> f32 {
        let level = self.clarity * trait_ + (1.0 - self.clarity * self.clarity).sqrt() * noise;
        let value = self.scale * sigmoid(1.25 * level);
        ((value / self.step).round() * self.step) as f32
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_cover_every_column_once() {
        let mut covered = [0; NUMERICAL];
        for block in &BLOCKS {
            for slot in &mut covered[block.columns.0 - 1..block.columns.1] {
                *slot += 1;
            }
        }
        assert_eq!(covered, [1; NUMERICAL]);
    }
}
