//! Adam's step in one pass over value, moments and gradients.

use std::ops::Range;

use super::held::{CHUNK, Walk, held_parts};
use super::pieces::{Shared, for_each_piece, range};
use crate::tensor::buffer::CpuSlice;
use crate::tensor::kernels::{AdamStep, Held, MissedSteps, WaitingTable};
use crate::tensor::{Cpu, FieldIds};

/// One element: `g` is the gradient before weight decay.
#[inline(always)]
fn update(step: &AdamStep, g: f32, value: &mut f32, m: &mut f32, v: &mut f32) {
    let g = g + step.weight_decay * *value;
    *m += (1.0 - step.beta1) * (g - *m);
    *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
    *value = step.keep * *value - step.step_size * *m / (v.sqrt() / step.root_correction2 + step.eps);
}

simd_fn! {
    /// A run of elements, gradient `Σ w·g` (none: zero).
    fn run(step: &AdamStep, value: &mut [f32], m: &mut [f32], v: &mut [f32], gradients: &[(f32, &[f32])]) {
        let elements = value.iter_mut().zip(m).zip(v);
        match gradients {
            [] => elements.for_each(|((value, m), v)| update(step, 0.0, value, m, v)),
            [(w, g)] => elements.zip(*g).for_each(|(((value, m), v), g)| update(step, w * g, value, m, v)),
            [(w0, g0), (w1, g1)] => elements.zip(g0.iter().zip(*g1)).for_each(|(((value, m), v), (g0, g1))| {
                update(step, w0 * g0 + w1 * g1, value, m, v);
            }),
            many => elements.enumerate().for_each(|(i, ((value, m), v))| {
                update(step, many.iter().map(|(w, g)| w * g[i]).sum(), value, m, v);
            }),
        }
    }
}

/// One step of a parameter. Coordinates that the gradients do not hold move by momentum and weight decay all the same.
pub(super) fn adam(
    step: &AdamStep,
    held: Held<Cpu>,
    value: &mut [f32],
    moments: (&mut [f32], &mut [f32]),
    gradients: &[(f32, &[f32])],
) {
    let walk = Walk::new(held, value.len());
    let (value, m, v) = (Shared::new(value), Shared::new(moments.0), Shared::new(moments.1));
    walk.for_each_piece(|piece| {
        let mut parts = Vec::with_capacity(gradients.len());
        walk.runs(piece, |at, held| {
            // SAFETY: each piece has its own elements, and takes them one run after the other.
            let (value, m, v) = unsafe { (value.part(at.clone()), m.part(at.clone()), v.part(at)) };
            run(step, value, m, v, held_parts(&mut parts, gradients, held.as_ref()));
        });
    });
}

/// A table and its moments, shared out by rows.
struct Table<'a> {
    width: usize,
    parts: [Shared<'a>; 3],
}

impl<'a> Table<'a> {
    fn new(width: usize, value: &'a mut [f32], (m, v): (&'a mut [f32], &'a mut [f32])) -> Self {
        Self { width, parts: [Shared::new(value), Shared::new(m), Shared::new(v)] }
    }

    /// Value and moments of these rows.
    ///
    /// # Safety
    /// Rows in use at the same time must not overlap.
    #[allow(clippy::mut_from_ref)]
    unsafe fn rows(&self, rows: Range<usize>) -> [&mut [f32]; 3] {
        let at = rows.start * self.width..rows.end * self.width;
        // SAFETY: by the caller's promise.
        self.parts.each_ref().map(|part| unsafe { part.part(at.clone()) })
    }
}

/// One step of the batch's rows; the others wait for [`catch_up`].
pub(super) fn batch_rows(step: &AdamStep, ids: &FieldIds, table: WaitingTable<Cpu>, gradients: &[(f32, &[f32])]) {
    let WaitingTable { width, value, m, v, taken } = table;
    let rows_a_piece = (CHUNK / width).max(1);
    let table = Table::new(width, value.slice_mut(), (m.slice_mut(), v.slice_mut()));
    for_each_piece(ids.len().div_ceil(rows_a_piece), ids.len() * width, |piece| {
        let mut parts = Vec::with_capacity(gradients.len());
        for compact in range(piece, rows_a_piece, ids.len()) {
            let row = ids.rows[compact] as usize;
            // SAFETY: compact rows stand for different rows of the table, and each piece has its own.
            let [value, m, v] = unsafe { table.rows(row..row + 1) };
            let held = compact * width..(compact + 1) * width;
            run(step, value, m, v, held_parts(&mut parts, gradients, Some(&held)));
        }
    });
    ids.rows.iter().for_each(|&row| taken[row as usize] = step.index);
}

/// Takes the steps that rows (of the batch, or all) have missed, with gradient zero.
pub(super) fn catch_up(missed: &MissedSteps, ids: Option<&FieldIds>, table: WaitingTable<Cpu>) {
    /// Rows of a piece: few, because some have missed much and some little.
    const ROWS: usize = 16;
    let WaitingTable { width, value, m, v, taken } = table;
    let now = missed.steps.len();
    // a row that was never touched has zero moments and stays where it is
    let late = |row: &usize| taken[*row] > 0 && (taken[*row] as usize) < now;
    let rows: Vec<usize> = match ids {
        Some(ids) => ids.rows.iter().map(|&row| row as usize).filter(late).collect(),
        None => (0..taken.len()).filter(late).collect(),
    };
    let table = Table::new(width, value.slice_mut(), (m.slice_mut(), v.slice_mut()));
    for_each_piece(rows.len().div_ceil(ROWS), rows.len() * width * ROWS, |piece| {
        for &row in &rows[range(piece, ROWS, rows.len())] {
            // SAFETY: rows are listed once, and each piece has its own.
            let [value, m, v] = unsafe { table.rows(row..row + 1) };
            replay(missed, taken[row] as usize, value, m, v);
        }
    });
    rows.iter().for_each(|&row| taken[row] = now as u32);
}

simd_fn! {
    /// The steps from `taken` on of one row; those beyond the window no longer move it and its moments decay at once.
    fn replay(missed: &MissedSteps, taken: usize, value: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let steps = &missed.steps[taken..];
        let (steps, rest) = steps.split_at(steps.len().min(missed.window));
        for step in steps {
            value.iter_mut().zip(&mut *m).zip(&mut *v).for_each(|((value, m), v)| update(step, 0.0, value, m, v));
        }
        if let [step, ..] = rest {
            let left = rest.len() as i32;
            let decay1 = f64::from(step.beta1).powi(left) as f32;
            let decay2 = f64::from(step.beta2).powi(left) as f32;
            m.iter_mut().for_each(|m| *m *= decay1);
            v.iter_mut().for_each(|v| *v *= decay2);
        }
    }
}
