//! Routers: which experts each sample takes, and how much of each.

use std::ops::Range;

use rayon::prelude::*;

use super::loss::sigmoid;
use crate::tensor::kernels::{GATE_EPS, RouteRule};

/// Rows of a piece.
const ROWS: usize = 64;

/// The experts of each sample of a batch, and their samples: a choice is a pair of both. Choices stand in two orders, by
/// sample (its k choices by ascending expert) and by expert (its choices by ascending sample).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    top_k: usize,
    /// The expert of each choice, by sample.
    chosen: Vec<u32>,
    /// Where each choice by sample stands by expert.
    by_expert: Vec<u32>,
    /// Where each choice by expert stands by sample.
    by_sample: Vec<u32>,
    /// Where each expert's choices begin, and where the last one's end.
    starts: Vec<usize>,
}

/// Some choices of one expert.
pub(super) struct Piece {
    pub(super) expert: usize,
    /// In the order by expert.
    pub(super) choices: Range<usize>,
    /// Which piece of its expert this is.
    pub(super) index: usize,
}

impl Routes {
    /// Orders choices that are given by sample.
    pub(in crate::tensor) fn new(experts: usize, top_k: usize, chosen: Vec<u32>) -> Self {
        let mut starts = vec![0; experts + 1];
        for expert in &chosen {
            starts[*expert as usize + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        let mut next = starts.clone();
        let mut by_sample = vec![0; chosen.len()];
        let mut by_expert = Vec::with_capacity(chosen.len());
        for (choice, expert) in chosen.iter().enumerate() {
            let at = &mut next[*expert as usize];
            by_sample[*at] = choice as u32;
            by_expert.push(*at as u32);
            *at += 1;
        }
        Self { top_k, chosen, by_expert, by_sample, starts }
    }

    /// How many choices there are, B·k.
    pub(super) fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Experts of a sample, k.
    pub(super) fn top_k(&self) -> usize {
        self.top_k
    }

    /// By sample, where a choice by expert stands.
    pub(super) fn choice(&self, by_expert: usize) -> usize {
        self.by_sample[by_expert] as usize
    }

    /// By expert, where the choices of a sample stand.
    pub(super) fn of_sample(&self, sample: usize) -> impl Iterator<Item = usize> {
        self.by_expert[sample * self.top_k..(sample + 1) * self.top_k].iter().map(|at| *at as usize)
    }

    /// How many samples an expert has got.
    pub(in crate::tensor) fn load(&self, expert: usize) -> usize {
        self.starts[expert + 1] - self.starts[expert]
    }

    /// Where each expert's choices begin, and where the last one's end.
    #[cfg(any(test, feature = "cuda"))]
    pub(in crate::tensor) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Where each choice by expert stands by sample.
    #[cfg(any(test, feature = "cuda"))]
    pub(in crate::tensor) fn by_sample(&self) -> &[u32] {
        &self.by_sample
    }

    /// The slot of each choice by sample, when every expert has this many.
    #[cfg(any(test, feature = "cuda"))]
    pub(in crate::tensor) fn slots(&self, most: usize) -> impl Iterator<Item = u32> {
        let slot = move |(expert, at): (&u32, &u32)| {
            (*expert as usize * most + *at as usize - self.starts[*expert as usize]) as u32
        };
        self.chosen.iter().zip(&self.by_expert).map(slot)
    }

    /// Cuts each expert's choices into nearly equal pieces of at most `most`; an expert without any has an empty one.
    pub(super) fn pieces(&self, most: usize) -> Vec<Piece> {
        let of_expert = |expert: usize| {
            let (start, load) = (self.starts[expert], self.load(expert));
            let pieces = load.div_ceil(most).max(1);
            (0..pieces).map(move |index| {
                let choices = start + load * index / pieces..start + load * (index + 1) / pieces;
                Piece { expert, choices, index }
            })
        };
        (0..self.starts.len() - 1).flat_map(of_expert).collect()
    }
}

/// Chooses the experts of each row of `logits`: the choices, their gate values and the experts' loads.
pub(super) fn choose(
    rule: &RouteRule,
    (logits, bias): (&[f32], &[f32]),
    gates: &mut [f32],
    loads: &mut [f32],
) -> Routes {
    let k = rule.top_k;
    let mut chosen = vec![0; gates.len()];
    let pieces = logits.par_chunks(rule.experts * ROWS).zip(chosen.par_chunks_mut(k * ROWS));
    pieces.zip(gates.par_chunks_mut(k * ROWS)).for_each(|((logits, chosen), gates)| {
        let mut chooser = Chooser::new(rule);
        let rows = logits.chunks_exact(rule.experts).zip(chosen.chunks_exact_mut(k));
        for ((logits, chosen), gates) in rows.zip(gates.chunks_exact_mut(k)) {
            chooser.choose(logits, bias, chosen);
            chooser.gates(chosen, gates);
        }
    });
    let routes = Routes::new(rule.experts, k, chosen);
    for (expert, load) in loads.iter_mut().enumerate() {
        *load = routes.load(expert) as f32;
    }
    routes
}

/// Chooses for one sample after another.
struct Chooser<'a> {
    rule: &'a RouteRule,
    /// s, the sigmoid of the logits: what gate values are made of.
    scores: Vec<f32>,
    /// s + b, by which experts are chosen; −∞ where one is out of the question.
    biased: Vec<f32>,
    /// The groups' scores; −∞ once chosen.
    groups: Vec<f32>,
}

impl<'a> Chooser<'a> {
    fn new(rule: &'a RouteRule) -> Self {
        let (experts, groups) = (rule.experts, rule.groups);
        Self { rule, scores: vec![0.0; experts], biased: vec![0.0; experts], groups: vec![0.0; groups] }
    }

    fn choose(&mut self, logits: &[f32], bias: &[f32], chosen: &mut [u32]) {
        for j in 0..logits.len() {
            self.scores[j] = sigmoid(logits[j]);
            self.biased[j] = self.scores[j] + bias[j];
        }
        if self.rule.groups > 1 {
            self.keep_best_groups();
        }
        for chosen in &mut *chosen {
            let best = first_largest(&self.biased);
            self.biased[best] = f32::NEG_INFINITY;
            *chosen = best as u32;
        }
        chosen.sort_unstable();
    }

    /// Puts the experts of all groups but the best ones out of the question.
    fn keep_best_groups(&mut self) {
        let size = self.rule.experts / self.rule.groups;
        for (score, experts) in self.groups.iter_mut().zip(self.biased.chunks_exact(size)) {
            *score = two_largest(experts);
        }
        for _ in 0..self.rule.groups_kept {
            let best = first_largest(&self.groups);
            self.groups[best] = f32::NEG_INFINITY;
        }
        for (score, experts) in self.groups.iter().zip(self.biased.chunks_exact_mut(size)) {
            if *score != f32::NEG_INFINITY {
                experts.fill(f32::NEG_INFINITY);
            }
        }
    }

    fn gates(&self, chosen: &[u32], gates: &mut [f32]) {
        for (gate, expert) in gates.iter_mut().zip(chosen) {
            *gate = self.scores[*expert as usize];
        }
        let factor = self.rule.scaling / divisor(self.rule, gates);
        gates.iter_mut().for_each(|gate| *gate *= factor);
    }
}

/// What the scores of a sample's experts are divided by.
fn divisor(rule: &RouteRule, scores: &[f32]) -> f32 {
    if rule.normalise && rule.top_k > 1 { scores.iter().sum::<f32>() + GATE_EPS } else { 1.0 }
}

/// The index of the largest value, the lowest of equals.
fn first_largest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, j| if values[j] > values[best] { j } else { best })
}

/// Sum of the two largest of at least two values.
fn two_largest(values: &[f32]) -> f32 {
    let (first, second) = values.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), &x| {
        if x > first { (x, first) } else { (first, second.max(x)) }
    });
    first + second
}

/// The gradient of the logits for a cotangent of the gate values: nothing flows to experts that were not chosen.
pub(super) fn backward(
    rule: &RouteRule,
    routes: &Routes,
    logits: &[f32],
    cotangent: &[f32],
    (sink, accumulate): (&mut [f32], bool),
) {
    let (experts, k) = (rule.experts, rule.top_k);
    sink.par_chunks_mut(experts * ROWS).enumerate().for_each(|(piece, sink)| {
        let mut scores = vec![0.0; k];
        for (row, sink) in sink.chunks_exact_mut(experts).enumerate() {
            let sample = piece * ROWS + row;
            if !accumulate {
                sink.fill(0.0);
            }
            let choices = sample * k..(sample + 1) * k;
            let logits = &logits[sample * experts..(sample + 1) * experts];
            pull_row(rule, logits, &routes.chosen[choices.clone()], &cotangent[choices], &mut scores, sink);
        }
    });
}

/// With S the divisor and q = s/S: `ds_j = scaling/S·(c_j − Σ c·q)`, the sum being there only if S depends on s.
fn pull_row(rule: &RouteRule, logits: &[f32], chosen: &[u32], c: &[f32], scores: &mut [f32], sink: &mut [f32]) {
    for (score, expert) in scores.iter_mut().zip(chosen) {
        *score = sigmoid(logits[*expert as usize]);
    }
    let divisor = divisor(rule, scores);
    let normalised = rule.normalise && rule.top_k > 1;
    let inner = if normalised { scores.iter().zip(c).map(|(s, c)| s * c).sum::<f32>() / divisor } else { 0.0 };
    for ((s, c), expert) in scores.iter().zip(c).zip(chosen) {
        sink[*expert as usize] += rule.scaling / divisor * (c - inner) * s * (1.0 - s);
    }
}

/// `b_j += rate·sign(mean load − load_j)`.
pub(super) fn balance(rate: f32, loads: &[f32], bias: &mut [f32]) {
    // counts are whole numbers: compared as R·load with their sum, equality is exact
    let total: f64 = loads.iter().map(|load| f64::from(*load)).sum();
    for (bias, load) in bias.iter_mut().zip(loads) {
        let excess = f64::from(*load) * loads.len() as f64 - total;
        if excess != 0.0 {
            *bias -= rate * excess.signum() as f32;
        }
    }
}
