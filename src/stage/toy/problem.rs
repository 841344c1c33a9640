//! The two losses of two parameters, their gradients, and where their Pareto front lies.

/// `|a|` is raised to this before its logarithm is taken.
const LOW: f64 = 5e-6;

/// The parameters that minimise the sum of the losses at a scale of 1, where both losses are equal.
pub const OPTIMUM: [f64; 2] = [0.0, -8.355_110];

/// Where the front is drawn: for each `x1` the best `x2` lies within 0.35 of this one, and the losses hardly differ.
const FRONT_X2: f64 = -8.3552;

/// The toy problem of Liu et al. (CAGrad, NeurIPS 2021) with the changes that Navon et al. (Nash-MTL, ICML 2022) and
/// Liu et al. (FAMO, NeurIPS 2023) made to it. For `x2 > 0` the losses are logarithms with a narrow curved ravine each,
/// for `x2 < 0` two bowls side by side:
///
/// ```text
/// l1 = scale · (u1 c₊ + q1 c₋)                 l2 = u2 c₊ + q2 c₋
/// u1 = ln max(|½(−x1 − 7) + tanh x2|, 5e-6) + 6    u2 = ln max(|½(−x1 + 3) − tanh x2 + 2|, 5e-6) + 6
/// q1 = ((7 − x1)² + 0.1 (x2 + 8)²)/10 − 20     q2 = ((x1 + 7)² + 0.1 (x2 + 8)²)/10 − 20
/// c₊ = max(tanh ½x2, 0)                        c₋ = max(−tanh ½x2, 0)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Problem {
    /// Multiplies the first loss.
    pub scale: f64,
}

/// What both losses are made of at a point.
struct Terms {
    a: [f64; 2],
    u: [f64; 2],
    q: [f64; 2],
    /// `c₊` and `c₋`.
    c: [f64; 2],
}

impl Terms {
    fn at([x1, x2]: [f64; 2]) -> Self {
        let (t, side) = (x2.tanh(), (0.5 * x2).tanh());
        let a = [0.5 * (-x1 - 7.0) + t, 0.5 * (-x1 + 3.0) - t + 2.0];
        let bowl = |d: f64| (d * d + 0.1 * (x2 + 8.0).powi(2)) / 10.0 - 20.0;
        Self {
            a,
            u: a.map(|a| a.abs().max(LOW).ln() + 6.0),
            q: [bowl(7.0 - x1), bowl(x1 + 7.0)],
            c: [side.max(0.0), (-side).max(0.0)],
        }
    }
}

impl Problem {
    /// The two losses.
    pub fn losses(&self, x: [f64; 2]) -> [f64; 2] {
        let Terms { u, q, c: [plus, minus], .. } = Terms::at(x);
        [self.scale * (u[0] * plus + q[0] * minus), u[1] * plus + q[1] * minus]
    }

    /// The gradients of the two losses.
    ///
    /// At the kink `x2 = 0`, where one of the published starts lies, `c₊` and `c₋` both have the slope of their other
    /// side, as clamps of older PyTorch versions have. With a slope of zero the origin would be a stationary point.
    pub fn gradients(&self, x: [f64; 2]) -> [[f64; 2]; 2] {
        let Terms { a, u, q, c: [plus, minus] } = Terms::at(x);
        let [x1, x2] = x;
        let slope_t = 1.0 - x2.tanh().powi(2);
        let slope = 0.5 * (1.0 - (0.5 * x2).tanh().powi(2));
        let (slope_plus, slope_minus) = (if x2 >= 0.0 { slope } else { 0.0 }, if x2 <= 0.0 { -slope } else { 0.0 });
        let inverse = a.map(|a| if a.abs() < LOW { 0.0 } else { 1.0 / a });
        let gradient = |k: usize, sign: f64, bowl: f64| {
            [
                -0.5 * inverse[k] * plus + bowl / 5.0 * minus,
                sign * slope_t * inverse[k] * plus + u[k] * slope_plus + 0.02 * (x2 + 8.0) * minus + q[k] * slope_minus,
            ]
        };
        [gradient(0, 1.0, x1 - 7.0).map(|g| self.scale * g), gradient(1, -1.0, x1 + 7.0)]
    }

    /// Points of the Pareto front in the space of losses, from the best `l2` to the best `l1`: the curve that the
    /// published figures draw, `x1` from −7 to 7.
    pub fn front(&self, points: usize) -> Vec<[f64; 2]> {
        let x1 = |i: usize| -7.0 + 14.0 * i as f64 / points.saturating_sub(1).max(1) as f64;
        (0..points).map(|i| self.losses([x1(i), FRONT_X2])).collect()
    }

    /// `L*`: the losses at [`OPTIMUM`], the middle of the front.
    pub fn optimum(&self) -> [f64; 2] {
        self.losses(OPTIMUM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Toy;

    const PROBLEM: Problem = Problem { scale: 1.0 };

    fn assert_close(found: [f64; 2], expected: [f64; 2], tolerance: f64) {
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
        assert!(near, "{found:?} should be {expected:?}");
    }

    /// Values of the reference implementation (PyTorch) at its start points.
    #[test]
    fn losses_and_gradients_at_the_starts() {
        let expected = [
            ([6.552_363, 7.900_798], [-0.285_399, 0.007_249], [-0.073_992, 0.008_739]),
            ([0.0, 0.0], [0.0, 10.856_381], [0.0, 10.856_381]),
            ([7.943_949, 6.691_495], [0.071_411, 0.001_961], [0.249_938, 0.001_652]),
            ([0.388_808, -4.754_484], [-0.710_264, -0.709_399], [-0.024_492, 9.160_757]),
            ([-8.831_059, 2.814_293], [0.184_847, 7.579_204], [1.478_775, -2.330_037]),
        ];
        for ((x1, x2), (losses, first, second)) in Toy::STARTS.into_iter().zip(expected) {
            let start = [x1, x2];
            assert_close(PROBLEM.losses(start), losses, 1e-6);
            let [g1, g2] = PROBLEM.gradients(start);
            assert_close(g1, first, 1e-6);
            assert_close(g2, second, 1e-6);

            let tenth = Problem { scale: 0.1 };
            assert_close(tenth.losses(start), [0.1 * losses[0], losses[1]], 1e-6);
            assert_close(tenth.gradients(start)[0], first.map(|g| 0.1 * g), 1e-6);
            assert_eq!(tenth.gradients(start)[1], g2);
        }
    }

    #[test]
    fn gradients_are_differences_of_losses() {
        let problem = Problem { scale: 0.7 };
        let h = 1e-6;
        for i in 0..40 {
            for j in 0..40 {
                // never on the kink, nor within `h` of a ravine's floor
                let x = [-10.0 + 0.513 * f64::from(i), -10.03 + 0.497 * f64::from(j)];
                let gradients = problem.gradients(x);
                for axis in 0..2 {
                    let (mut up, mut down) = (x, x);
                    up[axis] += h;
                    down[axis] -= h;
                    let (up, down) = (problem.losses(up), problem.losses(down));
                    for k in 0..2 {
                        let (found, slope) = (gradients[k][axis], (up[k] - down[k]) / (2.0 * h));
                        let near = (found - slope).abs() <= 1e-6 * (1.0 + slope.abs());
                        assert!(near, "loss {k}, axis {axis} at {x:?}: {found}, differences say {slope}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_ravines_floor_is_flat() {
        // l1's ravine at x2 = 20, where tanh is 1: a1 = 0 at x1 = −5
        let [[slope, _], _] = PROBLEM.gradients([-5.0, 20.0]);
        assert_eq!(slope, 0.0);
        assert!((PROBLEM.losses([-5.0, 20.0])[0] - (LOW.ln() + 6.0)).abs() < 1e-6);
    }

    #[test]
    fn the_front_and_its_middle() {
        let front = PROBLEM.front(1000);
        assert_eq!(front.len(), 1000);
        assert_close(front[0], [-0.398_551, -19.989_334], 1e-6);
        assert_close(front[999], [-19.989_334, -0.398_551], 1e-6);
        assert_close(PROBLEM.optimum(), [-15.091_638, -15.091_638], 1e-6);
        assert_close(Problem { scale: 0.1 }.optimum(), [-1.509_164, -15.091_638], 1e-6);
    }

    #[test]
    fn the_optimum_is_where_the_sum_is_least() {
        let [[a, b], [c, d]] = PROBLEM.gradients(OPTIMUM);
        assert_close([a + c, b + d], [0.0, 0.0], 1e-6);
        let sum = |x| PROBLEM.losses(x).iter().sum::<f64>();
        let least = sum(OPTIMUM);
        for i in 0..60 {
            for j in 0..60 {
                let x = [-12.0 + 0.4 * f64::from(i), -12.0 + 0.4 * f64::from(j)];
                assert!(sum(x) >= least, "{x:?}");
                let losses = PROBLEM.losses(x);
                assert!(losses.iter().all(|loss| *loss > Toy::LOWEST), "{x:?}");
            }
        }
    }
}
