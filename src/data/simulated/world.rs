//! The world of one country: which ids there are, how popular they are, and what makes people click and buy.
//!
//! The two logits are functions of a row's columns alone, so that the best attainable AUC is attainable: main effects
//! of ids, linear and hump-shaped effects of numbers, and interactions (ids with numbers, numbers with numbers, ids
//! with ids) which no linear model has. What makes people click partly keeps them from buying: every id's effect on
//! conversion is drawn against its effect on click, and price and popularity have opposite signs.

use super::columns::{FIELDS, Side, TRAITS, scales, sigmoid};
use super::log::RowColumns;
use crate::data::Country;
use crate::data::aliexpress::{CATEGORICAL, NUMERICAL};
use crate::data::draw::Draw;

/// What tells one country's log from another's.
struct Preset {
    /// Mean probability of a click.
    click_rate: f64,
    /// Mean probability of a conversion, given a click.
    conversion_rate: f64,
    /// Standard deviation of the click's logit.
    click_spread: f64,
    /// Standard deviation of the conversion's logit, given a click.
    conversion_spread: f64,
    /// Correlation of an id's effects on click and on conversion.
    conflict: f64,
    /// Multiplies the number of ids of the large fields.
    breadth: f64,
}

impl Preset {
    fn of(country: Country) -> Self {
        let (click_rate, conversion_rate, click_spread, conversion_spread, conflict, breadth) = match country {
            Country::NL => (0.045, 0.14, 1.10, 1.45, -0.5, 1.0),
            Country::ES => (0.050, 0.14, 1.10, 1.50, -0.5, 1.5),
            Country::FR => (0.040, 0.15, 1.10, 1.40, -0.4, 1.5),
            Country::US => (0.035, 0.15, 1.05, 1.50, -0.6, 2.0),
            Country::RU => (0.050, 0.12, 1.10, 1.50, -0.3, 2.5),
        };
        Self { click_rate, conversion_rate, click_spread, conversion_spread, conflict, breadth }
    }
}

/// Fields with at least this many ids grow with a country's breadth.
const LARGE: usize = 20;
/// Rows on which rates and spreads are set.
const CALIBRATION_ROWS: u32 = 8192;

/// Number of ids of each field in a country.
pub(super) fn sizes(country: Country) -> Vec<usize> {
    let breadth = Preset::of(country).breadth;
    let ids = |ids: usize| if ids >= LARGE { (ids as f64 * breadth).round() as usize } else { ids };
    FIELDS.iter().map(|shape| ids(shape.ids)).collect()
}

/// The world of one country; the same for every seed of a log.
pub(super) struct World {
    fields: Vec<Ids>,
    scales: [f64; NUMERICAL],
    click: Logit,
    conversion: Logit,
}

/// The ids of a field.
struct Ids {
    /// Cumulative popularity by rank.
    cumulative: Vec<f64>,
    /// The id of each rank.
    by_rank: Vec<u32>,
}

/// A logit as a function of a row: `intercept + gain · effects`.
struct Logit {
    effects: Effects,
    intercept: f64,
    gain: f64,
}

/// Effects of a row's columns; a column's number counts from 1, as in its name, and its value is centred and scaled.
struct Effects {
    /// Main effect of every id of every field.
    ids: Vec<Vec<f64>>,
    /// (column, slope).
    linear: Vec<(usize, f64)>,
    /// (column, height): best in the middle.
    hump: Vec<(usize, f64)>,
    /// (column, column, slope).
    product: Vec<(usize, usize, f64)>,
    /// (field, column, slope of each id).
    slope_by_id: Vec<(usize, usize, Vec<f64>)>,
    /// (field, field, effect of each pair of ids, row-major).
    pair: Vec<(usize, usize, Vec<f64>)>,
}

impl World {
    pub(super) fn of(country: Country) -> Self {
        let preset = Preset::of(country);
        let mut draw = Draw::new(country as u64, "simulated world", 0);
        let sizes = sizes(country);
        let fields: Vec<Ids> =
            FIELDS.iter().zip(&sizes).map(|(shape, &ids)| Ids::new(ids, shape.zipf, &mut draw)).collect();
        let (click, conversion) = effects(&sizes, preset.conflict, &mut draw);
        let logit = |effects| Logit { effects, intercept: 0.0, gain: 1.0 };
        let mut world = Self { fields, scales: scales(), click: logit(click), conversion: logit(conversion) };
        world.calibrate(&preset, country);
        world
    }

    /// Draws the ids of one side's fields, given its traits.
    pub(super) fn draw_ids(&self, draw: &mut Draw, side: Side, traits: &[f64; TRAITS], out: &mut [u32]) {
        const CLARITY: f64 = 0.6;
        for ((ids, shape), slot) in self.fields.iter().zip(&FIELDS).zip(out) {
            if shape.side == side {
                let level = CLARITY * traits[shape.trait_] + (1.0 - CLARITY * CLARITY).sqrt() * draw.normals().0;
                // The logistic curve that is nearest to the normal distribution function.
                *slot = ids.at(sigmoid(1.702 * level));
            }
        }
    }

    /// P(click) and P(conversion | click) of a row.
    pub(super) fn probabilities(&self, row: &RowColumns) -> (f64, f64) {
        let (click, conversion) = self.logits(row);
        (sigmoid(click), sigmoid(conversion))
    }

    fn logits(&self, row: &RowColumns) -> (f64, f64) {
        let mut centred = [0.0; NUMERICAL];
        for ((slot, &value), scale) in centred.iter_mut().zip(&row.numerical).zip(&self.scales) {
            *slot = (f64::from(value) / scale - 0.5) * 4.0;
        }
        (self.click.of(&row.categorical, &centred), self.conversion.of(&row.categorical, &centred))
    }

    /// Sets gains and intercepts so that spreads and rates are the preset's.
    fn calibrate(&mut self, preset: &Preset, country: Country) {
        let mut row = RowColumns::default();
        let sample: Vec<(f64, f64)> = (0..CALIBRATION_ROWS)
            .map(|number| {
                row.draw_search(self, country as u64, "calibrate search", number.into());
                row.draw_product(self, &mut Draw::new(country as u64, "calibrate product", number.into()));
                self.logits(&row)
            })
            .collect();
        let (clicks, conversions): (Vec<f64>, Vec<f64>) = sample.into_iter().unzip();
        let even = vec![1.0; clicks.len()];
        let clicked = self.click.calibrate(&clicks, &even, preset.click_spread, preset.click_rate);
        self.conversion.calibrate(&conversions, &clicked, preset.conversion_spread, preset.conversion_rate);
    }
}

impl Ids {
    fn new(count: usize, exponent: f64, draw: &mut Draw) -> Self {
        let weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let cumulative = weights
            .iter()
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        Self { cumulative, by_rank: draw.permutation(count as u32) }
    }

    /// The id at this quantile of popularity.
    fn at(&self, quantile: f64) -> u32 {
        let rank = self.cumulative.partition_point(|&cumulative| cumulative < quantile);
        self.by_rank[rank.min(self.by_rank.len() - 1)]
    }
}

impl Logit {
    fn of(&self, ids: &[u32; CATEGORICAL], centred: &[f64; NUMERICAL]) -> f64 {
        self.intercept + self.gain * self.effects.of(ids, centred)
    }

    /// Sets gain and intercept from effects and weights of a sample of rows; gives the rows' probabilities.
    fn calibrate(&mut self, effects: &[f64], weights: &[f64], spread: f64, rate: f64) -> Vec<f64> {
        let mean = effects.iter().sum::<f64>() / effects.len() as f64;
        let variance = effects.iter().map(|effect| (effect - mean).powi(2)).sum::<f64>() / effects.len() as f64;
        self.gain = spread / variance.sqrt();
        let total: f64 = weights.iter().sum();
        // The mean probability grows with the intercept: halve the bracket until it is one number.
        let (mut low, mut high) = (-60.0, 60.0);
        for _ in 0..80 {
            self.intercept = 0.5 * (low + high);
            let reached: f64 = effects.iter().zip(weights).map(|(e, w)| w * self.probability(*e)).sum::<f64>() / total;
            if reached < rate { low = self.intercept } else { high = self.intercept }
        }
        effects.iter().map(|&effect| self.probability(effect)).collect()
    }

    fn probability(&self, effect: f64) -> f64 {
        sigmoid(self.intercept + self.gain * effect)
    }
}

impl Effects {
    fn of(&self, ids: &[u32; CATEGORICAL], centred: &[f64; NUMERICAL]) -> f64 {
        let number = |column: usize| centred[column - 1];
        let id = |field: usize| ids[field - 1] as usize;
        let main: f64 = self.ids.iter().zip(ids).map(|(effects, &id)| effects[id as usize]).sum();
        let linear: f64 = self.linear.iter().map(|&(column, slope)| slope * number(column)).sum();
        let hump: f64 = self.hump.iter().map(|&(column, height)| -height * number(column).powi(2)).sum();
        let product: f64 = self.product.iter().map(|&(a, b, slope)| slope * number(a) * number(b)).sum();
        let slopes: f64 =
            self.slope_by_id.iter().map(|(field, column, slope)| slope[id(*field)] * number(*column)).sum();
        let pairs: f64 = self.pair.iter().map(|(a, b, effect)| effect[id(*a) * self.ids[*b - 1].len() + id(*b)]).sum();
        main + linear + hump + product + slopes + pairs
    }
}

/// Size of the id effects of each field on the click.
const ID_EFFECTS: [f64; CATEGORICAL] =
    [0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.2, 0.15, 0.25, 0.2, 0.2, 0.15, 0.15, 0.15, 0.2, 0.0];

/// What makes people click, and what makes those who clicked buy.
fn effects(sizes: &[usize], conflict: f64, draw: &mut Draw) -> (Effects, Effects) {
    let mut click_ids = Vec::new();
    let mut conversion_ids = Vec::new();
    for (&size, spread) in sizes.iter().zip(ID_EFFECTS) {
        let (for_click, for_conversion): (Vec<f64>, Vec<f64>) = (0..size)
            .map(|_| {
                let (click, own) = draw.normals();
                (spread * click, spread * (conflict * click + (1.0 - conflict * conflict).sqrt() * own))
            })
            .unzip();
        click_ids.push(for_click);
        conversion_ids.push(for_conversion);
    }
    // A country weighs each effect a little differently.
    let mut about = |effect: f64| effect * (1.0 + 0.2 * draw.normals().0.clamp(-2.0, 2.0));
    let click_linear = [(4, 0.2), (22, 0.2), (27, 0.3), (28, 0.2), (30, 0.6), (34, 0.3), (39, 0.15)];
    let conversion_linear = [(4, -0.2), (22, 0.6), (27, -0.3), (28, -0.7), (30, 0.3), (52, 0.7), (56, 0.4)];
    let click = Effects {
        ids: click_ids,
        linear: click_linear.map(|(column, slope)| (column, about(slope))).to_vec(),
        hump: vec![(35, about(0.3))],
        product: vec![(22, 30, about(0.15))],
        slope_by_id: Vec::new(),
        pair: Vec::new(),
    };
    let conversion = Effects {
        ids: conversion_ids,
        linear: conversion_linear.map(|(column, slope)| (column, about(slope))).to_vec(),
        hump: vec![(53, about(0.2))],
        product: vec![(22, 28, about(0.2))],
        slope_by_id: Vec::new(),
        pair: Vec::new(),
    };
    let mut table = |cells: usize, spread: f64| -> Vec<f64> { (0..cells).map(|_| spread * draw.normals().0).collect() };
    let click = Effects {
        slope_by_id: vec![(9, 35, table(sizes[8], 0.3)), (4, 34, table(sizes[3], 0.3))],
        pair: vec![(9, 15, table(sizes[8] * sizes[14], 0.3)), (5, 10, table(sizes[4] * sizes[9], 0.3))],
        ..click
    };
    let conversion = Effects {
        slope_by_id: vec![(5, 28, table(sizes[4], 0.3)), (4, 52, table(sizes[3], 0.3))],
        pair: vec![(9, 15, table(sizes[8] * sizes[14], 0.3))],
        ..conversion
    };
    (click, conversion)
}
