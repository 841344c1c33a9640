//! One balancer's way down from one start.

use super::problem::Problem;
use crate::balance::Method;
use crate::balance::driver::{Driver, Rates};
use crate::stage::StageError;

/// Points of a trajectory that are kept, beside the first and the last.
const KEPT: u64 = 400;

/// Steps between two looks at whether the user wants to stop.
const LOOK: u64 = 1000;

/// A point of a trajectory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Steps taken before it.
    pub step: u64,
    /// The parameters.
    pub x: [f64; 2],
    /// The losses there.
    pub losses: [f64; 2],
}

/// The way down from one start.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// Evenly spaced points from the start to the end, both included.
    pub points: Vec<Point>,
    /// The point after 1000 steps, if it came to that many: early enough to compare implementations, which rounding
    /// drives apart later on.
    pub after_1000: Option<Point>,
    /// The steps after which the numbers were no longer finite, if that happened; the last point is the one before.
    pub broke_off: Option<u64>,
}

impl Trajectory {
    /// Where it ended.
    pub fn end(&self) -> Point {
        self.points[self.points.len() - 1]
    }
}

/// Takes `steps` steps from `start`. Every step sees all there is to see, so it counts as an epoch too.
///
/// # Errors
/// What `proceed`, asked every thousand steps, returns.
pub fn descend(
    problem: Problem,
    method: Method,
    rates: Rates,
    seed: u64,
    start: [f64; 2],
    steps: u64,
    proceed: impl Fn() -> Result<(), StageError>,
) -> Result<Trajectory, StageError> {
    let mut driver = Driver::new(method, rates, start.to_vec(), seed);
    let stride = steps.div_ceil(KEPT).max(1);
    let mut now = Point { step: 0, x: start, losses: problem.losses(start) };
    let mut way = Trajectory { points: vec![now], after_1000: None, broke_off: None };
    let mut batch = [vec![vec![0.0; 2]; 2]];
    for step in 1..=steps {
        if step.is_multiple_of(LOOK) {
            proceed()?;
        }
        for (row, gradient) in batch[0].iter_mut().zip(problem.gradients(now.x)) {
            row.copy_from_slice(&gradient);
        }
        driver.step(step - 1, &now.losses, &batch);
        let x = [driver.theta()[0], driver.theta()[1]];
        let losses = problem.losses(x);
        if !x.iter().chain(&losses).all(|number| number.is_finite()) {
            way.broke_off = Some(step);
            break;
        }
        driver.after_step(&losses);
        now = Point { step, x, losses };
        if step.is_multiple_of(stride) {
            way.points.push(now);
        }
        if step == 1000 {
            way.after_1000 = Some(now);
        }
    }
    if way.end().step != now.step {
        way.points.push(now);
    }
    Ok(way)
}
