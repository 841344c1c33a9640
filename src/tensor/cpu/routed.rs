//! Sparse experts: samples are gathered by expert, so that each expert is two dense products.
//!
//! Work is cut by the routes alone. A sample's experts are added in ascending order, and what several pieces contribute to
//! one expert's weights is added in the order of the pieces: the same bits on any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::lanes::dot;
use super::pieces::{Shared, for_each_piece};
use super::product::serial;
use super::reduce::{add, add_one};
use super::routes::{Piece, Routes};
use super::scratch::Scratch;
use super::swiglu::{slopes, unit};
use crate::tensor::buffer::CpuSlice;
use crate::tensor::kernels::{RoutedInputs, RoutedShape, RoutedSinks};
use crate::tensor::{Cpu, Matrix, Product};

/// Most samples of a piece of the forward pass.
const FORWARD: usize = 256;
/// Most samples of a piece of the pull-back: each costs a set of weight gradients.
const BACKWARD: usize = 1024;
/// Rows of a piece when samples' experts are added up.
const ROWS: usize = 64;

/// What both passes read, see [`RoutedInputs`].
pub(super) struct Inputs<'a> {
    x: &'a [f32],
    gates: &'a [f32],
    up: &'a [f32],
    down: &'a [f32],
}

impl<'a> Inputs<'a> {
    pub(super) fn of(inputs: &RoutedInputs<'a, Cpu>) -> Self {
        let (x, gates) = (inputs.x.slice(), inputs.gates.slice());
        Self { x, gates, up: inputs.up.slice(), down: inputs.down.slice() }
    }
}

/// Where an expert's matrices lie.
struct Places {
    up: Range<usize>,
    down: Range<usize>,
}

impl Places {
    fn new(shape: &RoutedShape, expert: usize) -> Self {
        let area = shape.width * shape.hidden;
        Self { up: expert * 2 * area..(expert + 1) * 2 * area, down: expert * area..(expert + 1) * area }
    }
}

/// Rows of a matrix of `cols` columns.
fn rows(choices: &Range<usize>, cols: usize) -> Range<usize> {
    choices.start * cols..choices.end * cols
}

/// Multiplications of one product of every choice with an expert's matrices, about.
fn work(shape: &RoutedShape, routes: &Routes) -> usize {
    3 * routes.len() * shape.width * shape.hidden
}

/// `C (+)= A·B` of these extents on the calling thread.
fn multiply((m, k, n): (usize, usize, usize), a: (&[f32], Matrix), b: (&[f32], Matrix), c: &mut [f32], add: bool) {
    let product = Product { batch: 1, m, k, n, a: a.1, b: b.1, c: Matrix::row_major(n), accumulate: add };
    serial(&product, a.0, b.0, c);
}

/// Forward, see [`Kernels::routed`](crate::tensor::Kernels::routed).
pub(super) fn forward(shape: &RoutedShape, routes: &Routes, inputs: &Inputs, projected: &mut [f32], out: &mut [f32]) {
    let &RoutedShape { width, hidden, .. } = shape;
    let mut answers = Scratch::take(routes.len() * width);
    let (shared, projected) = (Shared::new(&mut answers), Shared::new(projected));
    let pieces = routes.pieces(FORWARD);
    for_each_piece(pieces.len(), work(shape, routes), |piece| {
        let Piece { expert, choices, .. } = &pieces[piece];
        let (count, at) = (choices.len(), Places::new(shape, *expert));
        let mut x = Scratch::take(count * width);
        gather(routes, choices, inputs.x, width, &mut x);
        // SAFETY: pieces are disjoint ranges of choices.
        let (projected, answers) =
            unsafe { (projected.part(rows(choices, 2 * hidden)), shared.part(rows(choices, width))) };
        let up = (&inputs.up[at.up], Matrix::row_major(2 * hidden));
        multiply((count, width, 2 * hidden), (&x, Matrix::row_major(width)), up, projected, false);
        let mut weights = Scratch::take(count);
        gather(routes, choices, inputs.gates, 0, &mut weights);
        let mut units = Scratch::take(count * hidden);
        activate(projected, &weights, &mut units);
        let down = (&inputs.down[at.down], Matrix::row_major(width));
        multiply((count, hidden, width), (&units, Matrix::row_major(hidden)), down, answers, false);
    });
    add_up(routes, &answers, width, out, false);
}

/// What belongs to each of these choices: the row of its sample among rows of `cols`, or with no columns its own value.
fn gather(routes: &Routes, choices: &Range<usize>, from: &[f32], cols: usize, out: &mut [f32]) {
    if cols == 0 {
        for (out, choice) in out.iter_mut().zip(choices.clone()) {
            *out = from[routes.choice(choice)];
        }
    } else {
        for (out, choice) in out.chunks_exact_mut(cols).zip(choices.clone()) {
            let sample = routes.choice(choice) / routes.top_k();
            out.copy_from_slice(&from[sample * cols..(sample + 1) * cols]);
        }
    }
}

/// `out[b] (+)= Σ_j from[j]`, over the choices j of sample b.
fn add_up(routes: &Routes, from: &[f32], cols: usize, out: &mut [f32], accumulate: bool) {
    out.par_chunks_mut(cols * ROWS).enumerate().for_each(|(piece, out)| {
        if !accumulate {
            out.fill(0.0);
        }
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            for choice in routes.of_sample(piece * ROWS + row) {
                add_one(&from[choice * cols..(choice + 1) * cols], out);
            }
        }
    });
}

simd_fn! {
    /// Hidden units, each row times its gate value: the second product then weights the expert.
    fn activate(projected: &[f32], weights: &[f32], units: &mut [f32]) {
        if weights.is_empty() {
            return;
        }
        let hidden = units.len() / weights.len();
        let rows = projected.chunks_exact(2 * hidden).zip(units.chunks_exact_mut(hidden));
        for ((projected, units), weight) in rows.zip(weights) {
            unit(projected, *weight, units);
        }
    }
}

/// Pull-back, see [`Kernels::routed_back`](crate::tensor::Kernels::routed_back).
pub(super) fn backward(
    shape: &RoutedShape,
    routes: &Routes,
    inputs: &Inputs,
    (projected, cotangent): (&[f32], &[f32]),
    sinks: RoutedSinks<Cpu>,
) {
    let width = shape.width;
    let mut d_x = Scratch::take(routes.len() * width);
    let pieces = routes.pieces(BACKWARD);
    let (up, down) = (sinks.up.buffer.slice_mut(), sinks.down.buffer.slice_mut());
    // a piece that is not its expert's first writes its weight gradients aside
    let aside: Vec<usize> = (0..pieces.len()).filter(|&piece| pieces[piece].index > 0).collect();
    let area = shape.width * shape.hidden;
    let mut shares = Scratch::take(aside.len() * 3 * area);
    {
        let gates = (Shared::new(sinks.gates.buffer.slice_mut()), sinks.gates.accumulate);
        let (d_x, shares) = (Shared::new(&mut d_x), Shared::new(&mut shares));
        let (up, down) = (Shared::new(up), Shared::new(down));
        for_each_piece(pieces.len(), 2 * work(shape, routes), |index| {
            let piece = &pieces[index];
            // SAFETY: pieces are disjoint ranges of choices, an expert's first piece has its matrices for itself, and any
            // other its share.
            let (d_x, (d_up, add_up), (d_down, add_down)) = unsafe {
                let d_x = d_x.part(rows(&piece.choices, width));
                match aside.binary_search(&index) {
                    Ok(share) => {
                        let (d_up, d_down) =
                            shares.part(share * 3 * area..(share + 1) * 3 * area).split_at_mut(2 * area);
                        (d_x, (d_up, false), (d_down, false))
                    }
                    Err(_) => {
                        let at = Places::new(shape, piece.expert);
                        (d_x, (up.part(at.up), sinks.up.accumulate), (down.part(at.down), sinks.down.accumulate))
                    }
                }
            };
            let mut pull = PieceBack::new(shape, routes, inputs, piece, cotangent);
            pull.units(projected, &gates);
            pull.matrices((d_up, add_up), (d_down, add_down));
            pull.samples(d_x);
        });
    }
    for (share, piece) in shares.chunks_exact((3 * area).max(1)).zip(aside) {
        let at = Places::new(shape, pieces[piece].expert);
        add(&share[..2 * area], &mut up[at.up]);
        add(&share[2 * area..], &mut down[at.down]);
    }
    add_up(routes, &d_x, width, sinks.x.buffer.slice_mut(), sinks.x.accumulate);
}

/// The pull-back of some choices of one expert.
struct PieceBack<'a> {
    shape: &'a RoutedShape,
    routes: &'a Routes,
    piece: &'a Piece,
    up: &'a [f32],
    gates: &'a [f32],
    /// Samples.
    x: Scratch,
    /// Cotangents of the samples' outputs.
    c: Scratch,
    /// Weighted hidden units.
    units: Scratch,
    /// Cotangents of the hidden units, unweighted.
    d_units: Scratch,
    /// Cotangents of g and u.
    d_projected: Scratch,
}

impl<'a> PieceBack<'a> {
    fn new(
        shape: &'a RoutedShape,
        routes: &'a Routes,
        inputs: &Inputs<'a>,
        piece: &'a Piece,
        cotangent: &[f32],
    ) -> Self {
        let &RoutedShape { width, hidden, .. } = shape;
        let (count, at) = (piece.choices.len(), Places::new(shape, piece.expert));
        let mut x = Scratch::take(count * width);
        gather(routes, &piece.choices, inputs.x, width, &mut x);
        let mut c = Scratch::take(count * width);
        gather(routes, &piece.choices, cotangent, width, &mut c);
        let mut d_units = Scratch::take(count * hidden);
        let down = (&inputs.down[at.down], Matrix::row_major(width).transposed());
        multiply((count, width, hidden), (&c, Matrix::row_major(width)), down, &mut d_units, false);
        let (units, d_projected) = (Scratch::take(count * hidden), Scratch::take(count * 2 * hidden));
        Self { shape, routes, piece, up: &inputs.up[at.up], gates: inputs.gates, x, c, units, d_units, d_projected }
    }

    /// Everything at the hidden units: the gradients of the gate values too.
    fn units(&mut self, projected: &[f32], (gates, accumulate): &(Shared, bool)) {
        let hidden = self.shape.hidden;
        for (row, choice) in self.piece.choices.clone().enumerate() {
            let by_sample = self.routes.choice(choice);
            let inner = pull_units(
                self.gates[by_sample],
                &projected[choice * 2 * hidden..(choice + 1) * 2 * hidden],
                &self.d_units[row * hidden..(row + 1) * hidden],
                &mut self.units[row * hidden..(row + 1) * hidden],
                &mut self.d_projected[row * 2 * hidden..(row + 1) * 2 * hidden],
            );
            // SAFETY: each choice is in one piece.
            let gate = unsafe { gates.part(by_sample..by_sample + 1) };
            gate[0] = if *accumulate { gate[0] + inner } else { inner };
        }
    }

    /// The gradients of the expert's matrices.
    fn matrices(&self, (d_up, add_up): (&mut [f32], bool), (d_down, add_down): (&mut [f32], bool)) {
        let &RoutedShape { width, hidden, .. } = self.shape;
        let count = self.piece.choices.len();
        if count == 0 {
            // no sample chose this expert: its gradient is 0
            if !add_up {
                d_up.fill(0.0);
            }
            if !add_down {
                d_down.fill(0.0);
            }
            return;
        }
        let x = (&*self.x, Matrix::row_major(width).transposed());
        multiply((width, count, 2 * hidden), x, (&self.d_projected, Matrix::row_major(2 * hidden)), d_up, add_up);
        let units = (&*self.units, Matrix::row_major(hidden).transposed());
        multiply((hidden, count, width), units, (&self.c, Matrix::row_major(width)), d_down, add_down);
    }

    /// The gradients of the samples.
    fn samples(&self, d_x: &mut [f32]) {
        let &RoutedShape { width, hidden, .. } = self.shape;
        let d_projected = (&*self.d_projected, Matrix::row_major(2 * hidden));
        let up = (self.up, Matrix::row_major(2 * hidden).transposed());
        multiply((self.piece.choices.len(), 2 * hidden, width), d_projected, up, d_x, false);
    }
}

simd_fn! {
    /// One choice's hidden units: weighted, for the gradient of `down`; the cotangents of g and u; and, returned, that of
    /// the gate value: the expert's output times the sample's cotangent, which is the units times theirs.
    fn pull_units(weight: f32, projected: &[f32], d_units: &[f32], units: &mut [f32], d_projected: &mut [f32]) -> f32 {
        let hidden = d_units.len();
        let ((g, u), (dg, du)) = (projected.split_at(hidden), d_projected.split_at_mut(hidden));
        let (u, units, du) = (&u[..hidden], &mut units[..hidden], &mut du[..hidden]);
        for j in 0..hidden {
            let (silu, slope) = slopes(g[j], u[j]);
            units[j] = silu * u[j];
            dg[j] = weight * d_units[j] * slope;
            du[j] = weight * d_units[j] * silu;
        }
        let inner = dot(units, d_units);
        units.iter_mut().for_each(|unit| *unit *= weight);
        inner
    }
}
