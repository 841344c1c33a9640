//! Steps of Adam that look at the update before they take it: shortened ones (Clippy), and those of single tasks, weighed
//! against each other (PUB).

use super::held::{Walk, held_parts};
use super::pieces::Shared;
use super::reduce::{add_triangle, dot};
use crate::tensor::Cpu;
use crate::tensor::kernels::{AdamStep, Held, StepBounds};

/// Elements whose updates are formed together: few enough that those of all tasks stay in the first-level cache.
const BLOCK: usize = 512;

/// One step, shortened to the bounds. The first pass moves the moments and finds how far the update may go, the second
/// goes there.
pub(super) fn clipped(
    step: &AdamStep,
    bounds: StepBounds,
    held: Held<Cpu>,
    value: &mut [f32],
    moments: (&mut [f32], &mut [f32]),
    gradients: &[(f32, &[f32])],
) {
    let walk = Walk::new(held, value.len());
    let (value, m, v) = (Shared::new(value), Shared::new(moments.0), Shared::new(moments.1));
    let limits = walk.map_pieces(|piece| {
        let mut limit = 1.0f32;
        let mut parts = Vec::with_capacity(gradients.len());
        walk.runs(piece, |at, held| {
            // SAFETY: each piece has its own elements, and takes them one run after the other.
            let (value, m, v) = unsafe { (value.part(at.clone()), m.part(at.clone()), v.part(at)) };
            take(step, held_parts(&mut parts, gradients, held.as_ref()), m, v);
            // rows outside the batch have momentum, but it is not they that the bounds are for
            if held.is_some() {
                limit = limit.min(limit_of(step, bounds, value, m, v));
            }
        });
        limit
    });
    let factor = limits.into_iter().fold(1.0, f32::min);
    walk.for_each_piece(|piece| {
        walk.runs(piece, |at, _| {
            // SAFETY: as above.
            let (value, m, v) = unsafe { (value.part(at.clone()), m.part(at.clone()), v.part(at)) };
            go(step, factor, value, m, v);
        });
    });
}

simd_fn! {
    /// Moves the moments by the gradient `Σ w·g`.
    fn take(step: &AdamStep, gradients: &[(f32, &[f32])], m: &mut [f32], v: &mut [f32]) {
        let moments = m.iter_mut().zip(v);
        match gradients {
            [(w, g)] => moments.zip(*g).for_each(|((m, v), g)| move_moments(step, w * g, m, v)),
            many => moments.enumerate().for_each(|(i, (m, v))| {
                move_moments(step, many.iter().map(|(w, g)| w * g[i]).sum(), m, v);
            }),
        }
    }
}

#[inline(always)]
fn move_moments(step: &AdamStep, g: f32, m: &mut f32, v: &mut f32) {
    *m += (1.0 - step.beta1) * (g - *m);
    *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
}

/// Adam's step with ε added to the uncorrected root.
#[inline(always)]
fn uncorrected(step: &AdamStep, m: f32, v: f32) -> f32 {
    step.step_size * step.root_correction2 * m / (v.sqrt() + step.eps)
}

simd_fn! {
    /// The largest share of the update that keeps every coordinate within the bounds. A coordinate that stays where it is
    /// bounds nothing.
    fn limit_of(step: &AdamStep, bounds: StepBounds, value: &[f32], m: &[f32], v: &[f32]) -> f32 {
        value.iter().zip(m).zip(v).fold(f32::INFINITY, |limit, ((value, m), v)| {
            let bound = bounds.relative * (step.keep * value).abs() + bounds.absolute;
            let far = uncorrected(step, *m, *v).abs();
            let share = if far > 0.0 { bound / far } else { f32::INFINITY };
            if share < limit { share } else { limit }
        })
    }
}

simd_fn! {
    /// Goes this share of the update.
    fn go(step: &AdamStep, share: f32, value: &mut [f32], m: &[f32], v: &[f32]) {
        value.iter_mut().zip(m).zip(v).for_each(|((value, m), v)| {
            *value = step.keep * *value - share * uncorrected(step, *m, *v);
        });
    }
}

simd_fn! {
    /// The step that Adam would take with this gradient (none: zero).
    fn update_of(step: &AdamStep, m: &[f32], v: &[f32], gradient: Option<&[f32]>, out: &mut [f32]) {
        let moments = m.iter().zip(v);
        match gradient {
            Some(gradient) => out.iter_mut().zip(moments).zip(gradient).for_each(|((out, (m, v)), g)| {
                *out = one_update(step, *m, *v, *g);
            }),
            None => out.iter_mut().zip(moments).for_each(|(out, (m, v))| *out = one_update(step, *m, *v, 0.0)),
        }
    }
}

#[inline(always)]
fn one_update(step: &AdamStep, m: f32, v: f32, g: f32) -> f32 {
    let (mut m, mut v) = (m, v);
    move_moments(step, g, &mut m, &mut v);
    step.step_size * m / (v.sqrt() / step.root_correction2 + step.eps)
}

/// The inner products of the tasks' updates.
pub(super) fn add_gram(
    step: &AdamStep,
    held: Held<Cpu>,
    (m, v): (&[f32], &[f32]),
    gradients: &[Option<&[f32]>],
    gram: &mut [f64],
) {
    let tasks = gradients.len();
    let walk = Walk::new(held, m.len());
    let partials = walk.map_pieces(|piece| {
        let mut sums = vec![0.0; tasks * (tasks + 1) / 2];
        let mut updates = vec![[0.0f32; BLOCK]; tasks];
        walk.runs(piece, |at, held| {
            for first in (0..at.len()).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(at.len());
                let here = at.start + block.start..at.start + block.end;
                for (updates, gradient) in updates.iter_mut().zip(gradients) {
                    let gradient = held.as_ref().zip(*gradient);
                    let gradient = gradient.map(|(held, g)| &g[held.start + block.start..held.start + block.end]);
                    update_of(step, &m[here.clone()], &v[here.clone()], gradient, &mut updates[..block.len()]);
                }
                let pairs = (0..tasks).flat_map(|i| (i..tasks).map(move |j| (i, j)));
                for ((i, j), sum) in pairs.zip(&mut sums) {
                    *sum += dot(&updates[i][..block.len()], &updates[j][..block.len()]);
                }
            }
        });
        sums
    });
    partials.iter().for_each(|sums| add_triangle(sums, tasks, gram));
}

/// One step by the weighted sum of the tasks' updates.
pub(super) fn by_task(
    step: &AdamStep,
    held: Held<Cpu>,
    value: &mut [f32],
    moments: (&mut [f32], &mut [f32]),
    gradients: &[Option<&[f32]>],
    weights: &[f32],
) {
    let walk = Walk::new(held, value.len());
    let (value, m, v) = (Shared::new(value), Shared::new(moments.0), Shared::new(moments.1));
    walk.for_each_piece(|piece| {
        let mut update = [0.0f32; BLOCK];
        let mut far = [0.0f32; BLOCK];
        let mut sum = [0.0f32; BLOCK];
        walk.runs(piece, |at, held| {
            // SAFETY: each piece has its own elements, and takes them one run after the other.
            let (value, m, v) = unsafe { (value.part(at.clone()), m.part(at.clone()), v.part(at.clone())) };
            for first in (0..at.len()).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(at.len());
                let (far, sum) = (&mut far[..block.len()], &mut sum[..block.len()]);
                far.fill(0.0);
                sum.fill(0.0);
                for (gradient, &weight) in gradients.iter().zip(weights) {
                    let gradient = held.as_ref().zip(*gradient);
                    let gradient = gradient.map(|(held, g)| &g[held.start + block.start..held.start + block.end]);
                    let update = &mut update[..block.len()];
                    update_of(step, &m[block.clone()], &v[block.clone()], gradient, update);
                    add_scaled(weight, update, far);
                    gradient.into_iter().for_each(|gradient| add_scaled(weight, gradient, sum));
                }
                shift(step.keep, far, &mut value[block.clone()]);
                take(step, &[(1.0, sum)], &mut m[block.clone()], &mut v[block]);
            }
        });
    });
}

simd_fn! {
    /// `y += a·x`.
    fn add_scaled(a: f32, x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
    }
}

simd_fn! {
    /// `y = keep·y − x`.
    fn shift(keep: f32, x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = keep * *y - x);
    }
}
