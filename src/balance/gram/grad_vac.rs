//! Gradient vaccine.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Gram, dot};
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, draw, hyper, memory};
use crate::registry::Describe;

/// Gradients are turned towards each other until their cosine reaches its own moving average: gradient surgery with an
/// adaptive goal instead of 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradVac {
    /// Weight of the newest cosine in the moving averages.
    pub beta: f64,
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Default for GradVac {
    fn default() -> Self {
        Self { beta: 0.5, max_norm: None }
    }
}

impl Describe for GradVac {
    const SUMMARY: &'static str =
        "gradient vaccine: gradients are turned until their cosine reaches its moving average";
    const SOURCE: &'static str = "Wang, Tsvetkov, Firat & Cao, ICLR 2021";
}

impl Build for GradVac {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        hyper::share("beta", self.beta)?;
        hyper::max_norm(self.max_norm)?;
        let goals = vec![vec![0.0; tasks]; tasks];
        Ok(Method::Gram(Box::new(Vaccine { hyper: self.clone(), goals })))
    }
}

struct Vaccine {
    hyper: GradVac,
    /// φ, the moving average of the cosine of each ordered pair.
    goals: Vec<Vec<f64>>,
}

impl Memory for Vaccine {
    fn save(&self) -> Value {
        memory::save(&self.goals)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let tasks = self.goals.len();
        memory::restore(&mut self.goals, saved, |goals| {
            goals.len() == tasks && goals.iter().all(|row| row.len() == tasks)
        })
    }
}

/// The sine that belongs to a cosine, rounding allowed for.
fn sine(cos: f64) -> f64 {
    (1.0 - cos * cos).max(0.0).sqrt()
}

impl Vaccine {
    /// Turns the combination `c` towards `g_j` if their cosine is below its goal, and moves the goal.
    fn turn(&mut self, gram: &Gram, i: usize, j: usize, c: &mut [f64]) {
        let (norm, norm_j) = (gram.quadratic(c).sqrt(), gram[(j, j)].sqrt());
        if norm == 0.0 {
            return;
        }
        let cos = (dot(gram.row(j), c) / (norm * norm_j)).clamp(-1.0, 1.0);
        let goal = self.goals[i][j];
        if cos < goal {
            // A goal of 1 is out of reach: the floor keeps the turn finite.
            let reach = sine(goal).max(1e-8);
            c[j] += norm * (goal * sine(cos) - cos * reach) / (norm_j * reach);
        }
        self.goals[i][j] = (1.0 - self.hyper.beta) * goal + self.hyper.beta * cos;
    }
}

impl GramBalancer for Vaccine {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let mut generator = draw::generator(step);
        let present = gram.present();
        let mut w = vec![0.0; gram.tasks()];
        for i in 0..gram.tasks() {
            let mut others: Vec<usize> = present.iter().copied().filter(|&j| j != i).collect();
            others.shuffle(&mut generator);
            let mut c = vec![0.0; gram.tasks()];
            c[i] = 1.0;
            for j in others {
                self.turn(gram, i, j, &mut c);
            }
            w.iter_mut().zip(c).for_each(|(w, c)| *w += c);
        }
        Coefficients::tasks_alone(w).clipped_at(self.hyper.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_t};

    #[test]
    fn the_standard_example() {
        let example = ex_a();
        let Ok(Method::Gram(mut method)) = GradVac::default().build(2) else { panic!("a Gram balancer") };
        for (index, (w, goal)) in
            [([1.5, 1.4], -0.223_607), ([1.270_584, 1.216_467], -0.335_410), ([1.143_966, 1.115_172], -0.391_312)]
                .into_iter()
                .enumerate()
        {
            let coefficients = method.coefficients(&example.step(index as u64), &example.gram);
            assert_close(&coefficients.shared, &w, 1e-6);
            assert_eq!(coefficients.task, [1.0, 1.0]);
            let goals: Vec<Vec<f64>> = serde_json::from_value(method.save()).unwrap();
            assert_close(&[goals[0][1], goals[1][0]], &[goal; 2], 1e-6);
        }
    }

    #[test]
    fn the_first_step_is_gradient_surgery() {
        let combined = ex_t().combined(&ex_t().coefficients(&GradVac::default()));
        assert_close(&combined, &[0.5848, 3.8012, 3.8012], 1e-4);
    }

    #[test]
    fn a_goal_of_one_stays_finite() {
        let same = Gram::from_fn(2, |_, _| 1.0);
        let step = Step { index: 0, epoch: 0, seed: 0, losses: &[1.0, 1.0] };
        let Ok(Method::Gram(mut method)) = GradVac { beta: 1.0, max_norm: None }.build(2) else {
            panic!("a Gram balancer")
        };
        method.coefficients(&step, &same);
        let w = method.coefficients(&step, &ex_a().gram).shared;
        assert!(w.iter().all(|w| w.is_finite()), "{w:?}");
    }
}
