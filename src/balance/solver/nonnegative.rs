//! The quadratic programme to which the simplex and the dual cone reduce.

use super::cholesky;
use crate::balance::gram::{Gram, dot};

/// Up to this many tasks every support is tried; beyond, an active-set method walks to the right one.
const ENUMERATED: usize = 6;

/// Added to the unit diagonal: makes the solution unique where gradients are opposite or identical.
const RIDGE: f64 = 1e-12;

/// `argmin_{x ≥ 0} ½ xᵀ G x − bᵀ x` for a positive semidefinite `G` with positive diagonal.
///
/// Exact by enumeration of the supports for K ≤ 6, by the active-set method of Lawson and Hanson beyond. Should rounding
/// stop the latter early, its last iterate is returned, which is feasible.
pub(super) fn nonnegative_minimum(gram: &Gram, b: &[f64]) -> Vec<f64> {
    let scale: Vec<f64> = gram.norms().iter().map(|norm| 1.0 / norm).collect();
    let cosines = Gram::from_fn(gram.tasks(), |i, j| if i == j { 1.0 + RIDGE } else { gram.cos(i, j) });
    let b: Vec<f64> = b.iter().zip(&scale).map(|(b, s)| b * s).collect();
    let y = if gram.tasks() <= ENUMERATED { enumerate(&cosines, &b) } else { active_set(&cosines, &b) };
    y.iter().zip(&scale).map(|(y, s)| y * s).collect()
}

/// Tries all supports and keeps the feasible candidate that violates the optimality conditions least.
fn enumerate(a: &Gram, b: &[f64]) -> Vec<f64> {
    let n = a.tasks();
    let mut best = vec![0.0; n];
    let mut least = violation(a, b, &best);
    for bits in 1u32..1 << n {
        let support: Vec<usize> = (0..n).filter(|i| bits >> i & 1 == 1).collect();
        let Some(solution) = cholesky::solve(a, b, &support) else { continue };
        if solution.iter().any(|&entry| entry < 0.0) {
            continue;
        }
        let candidate = spread(n, &support, &solution);
        let violated = violation(a, b, &candidate);
        if violated < least {
            (best, least) = (candidate, violated);
        }
    }
    best
}

/// How far a feasible `x` is from optimal: the gradient `A x − b` must vanish where `x > 0` and be non-negative elsewhere.
fn violation(a: &Gram, b: &[f64], x: &[f64]) -> f64 {
    let slack = a.mul(x).into_iter().zip(b).map(|(ax, b)| ax - b);
    slack.zip(x).map(|(slack, &x)| if x > 0.0 { slack.abs() } else { -slack }).fold(0.0, f64::max)
}

/// Lawson & Hanson, "Solving Least Squares Problems", 1974, in the Gram form of Bro & De Jong, 1997.
fn active_set(a: &Gram, b: &[f64]) -> Vec<f64> {
    let n = a.tasks();
    let tolerance = 1e-13 * b.iter().fold(0.0, |most: f64, b| most.max(b.abs()));
    let mut x = vec![0.0; n];
    let mut passive: Vec<usize> = Vec::new();
    // Indices that rounding sent straight back out since the last progress: asking them again would loop for ever.
    let mut refused = vec![false; n];
    for _ in 0..20 * n {
        let entering = (0..n)
            .filter(|i| !passive.contains(i) && !refused[*i])
            .map(|i| (i, b[i] - dot(a.row(i), &x)))
            .filter(|&(_, descent)| descent > tolerance)
            .max_by(|(_, p), (_, q)| p.total_cmp(q));
        let Some((entering, _)) = entering else { break };
        passive.push(entering);
        loop {
            let Some(target) = cholesky::solve(a, b, &passive) else {
                passive.retain(|&i| i != entering);
                break;
            };
            // Walk towards the target until the first entry reaches zero.
            let blocking = passive.iter().zip(&target).filter(|(_, t)| **t <= 0.0);
            let walk = blocking.map(|(&i, t)| x[i] / (x[i] - t)).fold(1.0, f64::min);
            let blocked = target.iter().any(|&t| t <= 0.0);
            for (&i, t) in passive.iter().zip(&target) {
                x[i] += walk * (t - x[i]);
            }
            if !blocked {
                break;
            }
            let floor = 1e-15 * passive.iter().map(|&i| x[i]).fold(0.0, f64::max);
            let leaving = |i: usize| x[i] <= floor;
            passive.retain(|&i| !leaving(i));
            for (i, x) in x.iter_mut().enumerate() {
                if !passive.contains(&i) {
                    *x = 0.0;
                }
            }
        }
        if passive.contains(&entering) {
            refused.fill(false);
        } else {
            refused[entering] = true;
        }
    }
    x
}

fn spread(n: usize, support: &[usize], values: &[f64]) -> Vec<f64> {
    let mut x = vec![0.0; n];
    for (&i, &value) in support.iter().zip(values) {
        x[i] = value;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::super::random_grams::random_grams;
    use super::*;

    #[test]
    fn the_active_set_method_agrees_with_enumeration() {
        for (seed, gram) in random_grams(2..=6, 2000) {
            let cosines = Gram::from_fn(gram.tasks(), |i, j| if i == j { 1.0 + RIDGE } else { gram.cos(i, j) });
            let b: Vec<f64> = (0..gram.tasks()).map(|i| ((seed as usize * 7 + i * 3) % 11) as f64 - 4.0).collect();
            let (exact, walked) = (enumerate(&cosines, &b), active_set(&cosines, &b));
            let size = 1.0 + exact.iter().fold(0.0, |most: f64, x| most.max(*x));
            let (left, right) = (violation(&cosines, &b, &exact), violation(&cosines, &b, &walked));
            assert!(left <= 1e-11 * size, "{seed}: enumeration violates by {left}");
            assert!(right <= 1e-11 * size, "{seed}: the active set violates by {right}: {walked:?} against {exact:?}");
        }
    }
}
