//! The Nash bargaining point and its α-fair relatives.

use super::cholesky;
use crate::balance::gram::{Gram, dot};

const ITERATIONS: usize = 100;
const RESIDUAL: f64 = 1e-9;
const RIDGE: f64 = 1e-8;

/// The unique `x > 0` with `G x = x^(−1/α)` elementwise; α = 1 is the Nash bargaining point, larger α is fairer to the
/// task that gains least.
///
/// It minimises the strictly convex `½ xᵀ G x − Σ U(x_i)` with `U' = x^(−1/α)`; found by damped Newton steps with a
/// diagonally scaled Hessian. Tasks without a gradient get 0. Near a Pareto-stationary point, where the solution runs to
/// infinity, the squared norms are lengthened by 1e-8 of themselves, which for α = 1 keeps it within some 10⁴ times that of
/// orthogonal gradients (the closed form for two tasks with `1 + cos` held above 1e-8).
pub fn fair_point(gram: &Gram, alpha: f64) -> Vec<f64> {
    let present = gram.present();
    let reduced = gram.of_tasks(&present);
    let mut point = newton(&reduced, alpha);
    let limit = RIDGE.powf(-alpha / (1.0 + alpha));
    if point.iter().zip(orthogonal_point(&reduced, alpha)).any(|(x, unit)| *x > limit * unit) {
        let lengthened = Gram::from_fn(present.len(), |i, j| reduced[(i, j)] * if i == j { 1.0 + RIDGE } else { 1.0 });
        point = newton(&lengthened, alpha);
    }
    let mut x = vec![0.0; gram.tasks()];
    for (&k, value) in present.iter().zip(point) {
        x[k] = value;
    }
    x
}

/// The solution if all gradients were orthogonal, `x_i = G_ii^(−α/(1+α))`: the natural unit of each entry.
fn orthogonal_point(gram: &Gram, alpha: f64) -> Vec<f64> {
    gram.diagonal().iter().map(|squared| squared.powf(-alpha / (1.0 + alpha))).collect()
}

/// The largest relative error of the equation.
fn residual(gram: &Gram, x: &[f64], alpha: f64) -> f64 {
    gram.mul(x).iter().zip(x).map(|(product, x)| (product * x.powf(1.0 / alpha) - 1.0).abs()).fold(0.0, f64::max)
}

fn newton(gram: &Gram, alpha: f64) -> Vec<f64> {
    let n = gram.tasks();
    let all: Vec<usize> = (0..n).collect();
    let spread = (n as f64).powf(-alpha / (1.0 + alpha));
    let mut x: Vec<f64> = orthogonal_point(gram, alpha).iter().map(|unit| unit * spread).collect();
    for _ in 0..ITERATIONS {
        let error = residual(gram, &x, alpha);
        if error < RESIDUAL {
            break;
        }
        let marginal: Vec<f64> = x.iter().map(|x| x.powf(-1.0 / alpha)).collect();
        let gradient: Vec<f64> = gram.mul(&x).iter().zip(&marginal).map(|(p, m)| p - m).collect();
        let curvature = |i: usize| gram[(i, i)] + marginal[i] / (alpha * x[i]);
        let scale: Vec<f64> = (0..n).map(|i| 1.0 / curvature(i).sqrt()).collect();
        let hessian = Gram::from_fn(n, |i, j| if i == j { 1.0 } else { scale[i] * gram[(i, j)] * scale[j] });
        let downhill: Vec<f64> = gradient.iter().zip(&scale).map(|(g, s)| -g * s).collect();
        let Some(scaled) = cholesky::solve(&hessian, &downhill, &all) else { break };
        let step: Vec<f64> = scaled.iter().zip(&scale).map(|(d, s)| d * s).collect();
        let slope = dot(&gradient, &step);
        let here = objective(gram, &x, alpha);
        let trial = |t: f64| -> Vec<f64> { x.iter().zip(&step).map(|(x, d)| x + t * d).collect() };
        let accepted = (0..60).map(|halvings| 0.5f64.powi(halvings)).find_map(|t| {
            let there = trial(t);
            let descends = || objective(gram, &there, alpha) <= here + 1e-4 * t * slope;
            // Close by, differences of the objective drown in rounding before the equation is met.
            let improves = || error < 0.1 && residual(gram, &there, alpha) < error;
            (there.iter().all(|x| *x > 0.0) && (descends() || improves())).then_some(there)
        });
        match accepted {
            Some(there) if there != x => x = there,
            // The line search stalls at the precision of f64.
            _ => break,
        }
    }
    x
}

fn objective(gram: &Gram, x: &[f64], alpha: f64) -> f64 {
    let utility: f64 = if alpha == 1.0 {
        x.iter().map(|x| x.ln()).sum()
    } else {
        let power = 1.0 - 1.0 / alpha;
        x.iter().map(|x| x.powf(power) / power).sum()
    };
    0.5 * gram.quadratic(x) - utility
}

#[cfg(test)]
mod tests {
    use super::super::random_grams::random_grams;
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn the_standard_examples() {
        for (alpha, expected) in [
            (0.5, [0.772_716, 0.708_037]),
            (1.0, [0.672_499, 0.601_501]),
            (2.0, [0.583_622, 0.512_752]),
            (5.0, [0.505_601, 0.438_130]),
            (10.0, [0.473_479, 0.408_142]),
        ] {
            assert_close(&fair_point(&ex_a().gram, alpha), &expected, 1e-6);
        }
        assert_close(&fair_point(&ex_b().gram, 1.0), &[0.699_059, 1.499_967, 0.935_136], 1e-6);
        assert_close(&fair_point(&ex_t().gram, 1.0), &[0.591_461, 0.407_071], 1e-6);
    }

    #[test]
    fn opposite_gradients_stay_bounded() {
        let opposite = Gram::from_rows(&[[1.0, -3.0], [-3.0, 9.0]]).unwrap();
        for alpha in [0.5, 1.0, 2.0, 5.0, 50.0] {
            let x = fair_point(&opposite, alpha);
            let limit = 1e8f64.powf(alpha / (1.0 + alpha));
            assert!(x.iter().all(|x| x.is_finite() && *x > 0.0 && *x < 2.0 * limit), "{alpha}: {x:?}");
        }
        // The closed form for two tasks with 1 + cos held at 1e-8.
        assert_close(&fair_point(&opposite, 1.0), &[1e4, 1e4 / 3.0], 1.0);
    }

    #[test]
    fn thousands_of_random_grams_meet_the_equation() {
        let mut solved = 0;
        for (seed, gram) in random_grams(1..=8, 3000) {
            for (alpha, accepted) in [(0.5, 1e-7), (1.0, 1e-8), (2.0, 1e-8), (5.0, 1e-8)] {
                let x = fair_point(&gram, alpha);
                assert!(x.iter().all(|x| x.is_finite() && *x >= 0.0), "{seed} {alpha}: {x:?}");
                let present = gram.present();
                assert_eq!(present.len(), x.iter().filter(|x| **x > 0.0).count());
                // Rank-deficient and opposing matrices may lie at a stationary point, without a solution.
                if matches!(seed % 6, 0 | 3 | 4 | 5) {
                    let products = gram.mul(&x);
                    let norms = gram.norms();
                    let longest = x.iter().zip(&norms).map(|(x, n)| x * n).fold(0.0, f64::max);
                    for &k in &present {
                        // A task that others serve far beyond its share gets next to nothing itself: below rounding.
                        let negligible = x[k] * norms[k] < 1e-12 * longest;
                        let residual = (products[k] * x[k].powf(1.0 / alpha) - 1.0).abs();
                        assert!(negligible || residual < accepted, "{seed} {alpha}: residual {residual}");
                    }
                    solved += 1;
                }
            }
        }
        assert!(solved > 4000);
    }
}
