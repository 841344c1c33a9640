//! `Toy`: balancers on a problem of two parameters and two losses, where one can see what they do. The problem, the way
//! down it, the figure (as published: losses, Pareto front, trajectories coloured by time) and where every start ended.

mod descent;
mod figure;
mod palette;
mod problem;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Context, Execute, Inputs, Outcome, StageError};
use crate::balance::driver::Rates;
use crate::optim::Optimizer;
use crate::registry::{in_full, labels};
use crate::spec::Toy;
use crate::store::Draft;
use descent::{Point, Trajectory, descend};
use figure::{Figure, Panel};
pub use problem::{OPTIMUM, Problem};

/// Where the end points lie in an artifact: a [`ToyResult`].
pub const RESULT: &str = "toy.json";
/// Where the figure lies in an artifact.
pub const FIGURE: &str = "figure.svg";
/// Where the trajectories lie in an artifact: some 400 points of each, with a heading.
pub const TRAJECTORIES: &str = "trajectories.csv";

/// What a `Toy` stage found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToyResult {
    /// Steps that every balancer took from every start.
    pub steps: u64,
    /// What multiplies the first loss.
    pub scale: f64,
    /// `L*`, the middle of the Pareto front: where the sum of the losses is least at a scale of 1.
    pub optimum: Place,
    /// One for each balancer and start.
    pub ends: Vec<End>,
}

/// Where a balancer came from a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The balancer, with the settings that differ from its defaults.
    pub balancer: String,
    /// Where it started.
    pub start: Place,
    /// Where it ended.
    pub end: Place,
    /// Distance of the losses there from `L*`.
    pub distance: f64,
    /// Where it was after 1000 steps, if it took as many.
    pub after_1000_steps: Option<Place>,
    /// The steps after which the numbers were no longer finite, if that happened; `end` is then the last point before.
    pub broke_off: Option<u64>,
}

/// A point of the problem.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The parameters.
    pub x: [f64; 2],
    /// The losses there.
    pub losses: [f64; 2],
}

impl From<Point> for Place {
    fn from(point: Point) -> Self {
        Self { x: point.x, losses: point.losses }
    }
}

impl Execute for Toy {
    const REVISION: u32 = 2;

    fn run(&self, cx: &Context, _: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        let labels = labels(&self.balancers);
        let ways = trajectories(self, cx)?;
        let result = result(self, &labels, &ways);
        let json = serde_json::to_vec_pretty(&result)
            .map_err(|e| StageError::failed(format!("cannot write where the starts ended: {e}")))?;
        out.write(RESULT, &json)?;
        out.write(TRAJECTORIES, csv(&labels, &ways).as_bytes())?;
        let panels = labels.iter().zip(ways.chunks(self.starts.len().max(1)));
        let panels = panels.map(|((name, settings), ways)| Panel { name, settings, ways }).collect();
        let figure = Figure { problem: Problem { scale: self.scale }, steps: self.steps, panels };
        out.write(FIGURE, figure.to_string().as_bytes())?;
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (balancers, starts) = (count(labels.len(), "balancer"), count(self.starts.len(), "start"));
        Ok(Outcome { simulated: false, summary: format!("{balancers} from {starts}, {} steps each", self.steps) })
    }
}

/// Every balancer's ways down from every start, balancer by balancer. They are independent of each other, so the number
/// of threads makes no difference to them.
fn trajectories(toy: &Toy, cx: &Context) -> Result<Vec<Trajectory>, StageError> {
    let Optimizer::Adam(adam) = toy.optimizer;
    let rates = Rates { lr: adam.lr, betas: adam.betas, eps: adam.eps, weight_decay: adam.weight_decay };
    let pairs: Vec<_> =
        toy.balancers.iter().flat_map(|balancer| toy.starts.iter().map(move |start| (balancer, *start))).collect();
    let done = AtomicU64::new(0);
    cx.progress.begin(pairs.len() as u64, "trajectories");
    let way = |&(balancer, (x1, x2)): &_| {
        let method = crate::balance::Balancer::build(balancer, 2).map_err(|problem| StageError::Field {
            field: "balancers",
            message: format!("balancer {problem}"),
            hint: "the toy problem has two tasks".to_owned(),
        })?;
        let problem = Problem { scale: toy.scale };
        let way = descend(problem, method, rates, toy.seed, [x1, x2], toy.steps, || cx.check_interrupt())?;
        cx.progress.at(done.fetch_add(1, Ordering::Relaxed) + 1, balancer.name());
        Ok(way)
    };
    // one by one, because some balancers take a hundred times as long as others
    pairs.par_iter().with_max_len(1).map(way).collect()
}

fn result(toy: &Toy, labels: &[(&str, String)], ways: &[Trajectory]) -> ToyResult {
    let optimum = Place { x: OPTIMUM, losses: Problem { scale: toy.scale }.optimum() };
    let end = |(at, way): (usize, &Trajectory)| {
        let (name, settings) = &labels[at / toy.starts.len()];
        let end = Place::from(way.end());
        let [d1, d2] = [0, 1].map(|k| end.losses[k] - optimum.losses[k]);
        End {
            balancer: in_full(name, settings),
            start: way.points[0].into(),
            end,
            distance: d1.hypot(d2),
            after_1000_steps: way.after_1000.map(Place::from),
            broke_off: way.broke_off,
        }
    };
    let ends = ways.iter().enumerate().map(end).collect();
    ToyResult { steps: toy.steps, scale: toy.scale, optimum, ends }
}

/// The trajectories as CSV (RFC 4180), for other people's plots: balancers by name, starts numbered from 1.
fn csv(labels: &[(&str, String)], ways: &[Trajectory]) -> String {
    let mut text = "balancer,start,step,x1,x2,l1,l2\n".to_owned();
    let starts = ways.len() / labels.len().max(1);
    for (at, way) in ways.iter().enumerate() {
        let (name, settings) = &labels[at / starts];
        let balancer = in_full(name, settings).replace('"', "\"\"");
        for Point { step, x: [x1, x2], losses: [l1, l2] } in &way.points {
            let _ = writeln!(text, "\"{balancer}\",{},{step},{x1},{x2},{l1},{l2}", at % starts + 1);
        }
    }
    text
}
