//! Adam's step in one pass over value, moments and gradients.

use super::pieces::{Shared, for_each_piece, range};
use crate::tensor::kernels::AdamStep;

/// Elements of a piece.
const CHUNK: usize = 1 << 14;

/// One element: `g` is the gradient before weight decay.
#[inline(always)]
fn update(step: &AdamStep, g: f32, value: &mut f32, m: &mut f32, v: &mut f32) {
    let g = g + step.weight_decay * *value;
    *m += (1.0 - step.beta1) * (g - *m);
    *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
    *value -= step.step_size * *m / (v.sqrt() / step.root_correction2 + step.eps);
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

/// One step of a dense parameter.
pub(super) fn dense(
    step: &AdamStep,
    value: &mut [f32],
    moments: (&mut [f32], &mut [f32]),
    gradients: &[(f32, &[f32])],
) {
    let len = value.len();
    let (value, m, v) = (Shared::new(value), Shared::new(moments.0), Shared::new(moments.1));
    for_each_piece(len.div_ceil(CHUNK), len, |piece| {
        let at = range(piece, CHUNK, len);
        let parts: Vec<_> = gradients.iter().map(|(w, g)| (*w, &g[at.clone()])).collect();
        // SAFETY: each piece has its own elements.
        let (value, m, v) = unsafe { (value.part(at.clone()), m.part(at.clone()), v.part(at)) };
        run(step, value, m, v, &parts);
    });
}

/// One step of a table whose gradients hold these rows (ascending) only; the other rows' gradient is zero, and they move by
/// momentum and weight decay all the same, as dense Adam moves them.
pub(super) fn rows(
    step: &AdamStep,
    width: usize,
    touched: &[u32],
    value: &mut [f32],
    moments: (&mut [f32], &mut [f32]),
    gradients: &[(f32, &[f32])],
) {
    let count = value.len() / width;
    let rows_a_piece = (CHUNK / width).max(1);
    let (value, m, v) = (Shared::new(value), Shared::new(moments.0), Shared::new(moments.1));
    for_each_piece(count.div_ceil(rows_a_piece), count * width, |piece| {
        let rows = range(piece, rows_a_piece, count);
        let mut next = touched.partition_point(|&row| (row as usize) < rows.start);
        for row in rows {
            let at = row * width..(row + 1) * width;
            // SAFETY: each piece has its own rows.
            let (value, m, v) = unsafe { (value.part(at.clone()), m.part(at.clone()), v.part(at)) };
            if touched.get(next).is_some_and(|&touched| touched as usize == row) {
                let parts: Vec<_> = gradients.iter().map(|(w, g)| (*w, &g[next * width..(next + 1) * width])).collect();
                run(step, value, m, v, &parts);
                next += 1;
            } else {
                run(step, value, m, v, &[]);
            }
        }
    });
}
