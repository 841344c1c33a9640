//! Pareto multi-task learning.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Gram, dot};
use crate::balance::solver::min_norm_simplex;
use crate::balance::span::Moment;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Span, Step, hyper, memory};
use crate::registry::Describe;

/// Preference vectors cut the space of losses into sectors, and the losses are kept in the sector of the chosen one:
/// first they are brought there, then multiple-gradient descent goes on with the constraints that are about to be
/// violated as further tasks. Weights may be negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParetoMtl {
    /// The preference vectors, one entry a task each; empty for five of evenly spaced angles (two tasks only).
    pub preferences: Vec<Vec<f64>>,
    /// The preference to train for, from 0.
    pub chosen: usize,
    /// How long the losses may at most be brought to the sector.
    pub search: Span,
}

impl Default for ParetoMtl {
    fn default() -> Self {
        Self { preferences: Vec::new(), chosen: 2, search: Span::Epochs(2) }
    }
}

impl Describe for ParetoMtl {
    const SUMMARY: &'static str = "multiple-gradient descent within the sector of a preference vector";
    const SOURCE: &'static str = "Lin, Zhen, Li, Zhang & Kwong, NeurIPS 2019";
}

impl Build for ParetoMtl {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let vectors = self.unit_vectors(tasks)?;
        let Some(chosen) = vectors.get(self.chosen) else {
            let last = vectors.len() - 1;
            return Err(format!("`chosen` is {}, expected at most {last} (of {} preferences)", self.chosen, last + 1));
        };
        let others = vectors.iter().enumerate().filter(|(j, _)| *j != self.chosen);
        let towards = others.map(|(_, v)| v.iter().zip(chosen).map(|(v, c)| v - c).collect()).collect();
        Ok(Method::Gram(Box::new(Sector { search: self.search, towards, searching: true })))
    }
}

impl ParetoMtl {
    fn unit_vectors(&self, tasks: usize) -> Result<Vec<Vec<f64>>, String> {
        if self.preferences.is_empty() {
            if tasks != 2 {
                return Err(format!("`preferences` must be given, as there are {tasks} tasks and not 2"));
            }
            let angle = |i: u32| f64::from(i) * std::f64::consts::FRAC_PI_8;
            return Ok((0..5).map(|i| vec![angle(i).cos(), angle(i).sin()]).collect());
        }
        let unit = |vector: &Vec<f64>| {
            let vector = hyper::weight_per_task("preferences", vector, tasks, 1.0)?;
            let length = dot(&vector, &vector).sqrt();
            Ok(vector.iter().map(|x| x / length).collect())
        };
        self.preferences.iter().map(unit).collect()
    }
}

struct Sector {
    search: Span,
    /// Row j points from the chosen preference to another: losses with a positive product are on the wrong side.
    towards: Vec<Vec<f64>>,
    /// Whether the losses have yet to reach the sector.
    searching: bool,
}

impl Memory for Sector {
    fn save(&self) -> Value {
        memory::save(&self.searching)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        memory::restore(&mut self.searching, saved, |_| true)
    }
}

/// `Mᵀ s` for the minimum-norm weights `s` of the combinations of gradients that the rows of `M` name.
fn shortest_of(gram: &Gram, rows: &[Vec<f64>]) -> Vec<f64> {
    let s = min_norm_simplex(&gram.of_combinations(rows));
    (0..gram.tasks()).map(|k| rows.iter().zip(&s).map(|(row, s)| s * row[k]).sum()).collect()
}

impl Sector {
    /// The constraints that these losses violate.
    fn violated(&self, losses: &[f64]) -> Vec<Vec<f64>> {
        let length = dot(losses, losses).sqrt();
        self.towards.iter().filter(|row| dot(row, losses) > 1e-12 * length).cloned().collect()
    }
}

impl GramBalancer for Sector {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let violated = self.violated(step.losses);
        self.searching &= !violated.is_empty() && !self.search.is_over(Moment::START, step);
        if self.searching {
            return Coefficients::tasks_weighted(shortest_of(gram, &violated), gram);
        }
        let tasks = gram.tasks();
        let unit = |k: usize| (0..tasks).map(|i| f64::from(u8::from(i == k))).collect::<Vec<f64>>();
        let rows: Vec<Vec<f64>> = (0..tasks).map(unit).chain(violated).collect();
        let w = shortest_of(gram, &rows);
        let size: f64 = w.iter().map(|w| w.abs()).sum();
        let w = if size > 0.0 { w.iter().map(|w| w * tasks as f64 / size).collect() } else { vec![1.0; tasks] };
        Coefficients::tasks_weighted(w, gram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a};

    fn pareto(chosen: usize, search: u64) -> ParetoMtl {
        ParetoMtl { chosen, search: Span::Epochs(search), ..ParetoMtl::default() }
    }

    #[test]
    fn the_standard_example() {
        for (chosen, w) in [
            (0, [0.890_078, 1.109_922]),
            (1, [1.076_923, 0.923_077]),
            (2, [1.334_833, 0.665_167]),
            (3, [1.286_839, 0.713_161]),
            (4, [1.250_586, 0.749_414]),
        ] {
            let coefficients = ex_a().coefficients(&pareto(chosen, 0));
            assert_close(&coefficients.shared, &w, 1e-6);
            assert_eq!(coefficients.task, coefficients.shared);
        }
    }

    #[test]
    fn the_search_for_the_sector() {
        assert_close(&ex_a().coefficients(&pareto(0, 2)).shared, &[-0.076_120, 0.382_683], 1e-6);
        assert_close(&ex_a().coefficients(&pareto(2, 2)).shared, &[0.216_773, -0.324_423], 1e-6);
        // In the sector already.
        assert_close(&ex_a().coefficients(&pareto(1, 2)).shared, &[1.076_923, 0.923_077], 1e-6);
    }

    #[test]
    fn the_search_does_not_start_again() {
        let example = ex_a();
        let Ok(Method::Gram(mut method)) = pareto(0, 2).build(2) else { panic!("a Gram balancer") };
        method.coefficients(&Step { index: 0, epoch: 0, seed: 0, losses: &[1.0, 0.0] }, &example.gram);
        let coefficients = method.coefficients(&example.step(1), &example.gram);
        assert_close(&coefficients.shared, &[0.890_078, 1.109_922], 1e-6);
    }

    #[test]
    fn preferences_are_checked() {
        assert!(ParetoMtl::default().build(3).is_err());
        assert!(pareto(5, 2).build(2).is_err());
        let negative = ParetoMtl { preferences: vec![vec![1.0, -1.0]], chosen: 0, ..ParetoMtl::default() };
        assert!(negative.build(2).is_err());
    }
}
