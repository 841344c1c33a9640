//! Krum and Multi-Krum.

use serde::{Deserialize, Serialize};

use super::Gram;
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// The mean of the gradients that lie closest to their neighbours; meant to leave out a few outliers among many tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Krum {
    /// `f`, how many tasks may be outliers; needs at least `f + 3` tasks.
    pub byzantine: usize,
    /// `m`, how many gradients are averaged; 1 is Krum, more is Multi-Krum.
    pub selected: usize,
    /// What a task's score sums over its nearest neighbours.
    pub distance: Distance,
}

/// What Krum's scores sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Distance {
    /// Squared distances, as in the paper.
    #[default]
    Squared,
    /// Distances, as in TorchJD.
    Plain,
}

impl Default for Krum {
    fn default() -> Self {
        Self { byzantine: 1, selected: 1, distance: Distance::Squared }
    }
}

impl Describe for Krum {
    const SUMMARY: &'static str = "the mean of the gradients closest to their neighbours (4 tasks or more)";
    const SOURCE: &'static str = "Blanchard, El Mhamdi, Guerraoui & Stainer, NeurIPS 2017";
}

impl Build for Krum {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        if tasks < self.byzantine.saturating_add(3) {
            return Err(format!(
                "needs at least `byzantine` + 3 tasks, found {tasks} with `byzantine` {}",
                self.byzantine
            ));
        }
        if !(1..=tasks).contains(&self.selected) {
            return Err(format!("`selected` must lie between 1 and the {tasks} tasks, found {}", self.selected));
        }
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

impl Krum {
    /// The sum of each task's distances to its K − f − 2 nearest neighbours.
    fn scores(&self, gram: &Gram) -> Vec<f64> {
        let n = gram.tasks();
        let score = |i: usize| {
            let mut distances: Vec<f64> = (0..n)
                .filter(|&j| j != i)
                .map(|j| (gram[(i, i)] + gram[(j, j)] - 2.0 * gram[(i, j)]).max(0.0))
                .map(|squared| if self.distance == Distance::Squared { squared } else { squared.sqrt() })
                .collect();
            distances.sort_by(f64::total_cmp);
            distances[..n - self.byzantine - 2].iter().sum()
        };
        (0..n).map(score).collect()
    }
}

impl Memory for Krum {}

impl GramBalancer for Krum {
    fn coefficients(&mut self, _: &Step, gram: &Gram) -> Coefficients {
        let scores = self.scores(gram);
        let mut ranked: Vec<usize> = (0..gram.tasks()).collect();
        ranked.sort_by(|&i, &j| scores[i].total_cmp(&scores[j]));
        let mut w = vec![0.0; gram.tasks()];
        for &k in &ranked[..self.selected] {
            w[k] = 1.0 / self.selected as f64;
        }
        Coefficients::tasks_alone(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::assert_close;

    #[test]
    fn the_standard_example() {
        let gradients = [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [75.0, -666.0, 23.0], [1.0, 2.0, 3.0], [2.0, 0.0, 1.0]];
        let gram = Gram::from_gradients(&gradients).unwrap();
        let step = Step { index: 0, epoch: 0, seed: 0, losses: &[1.0; 5] };
        assert_close(&Krum::default().scores(&gram), &[3.0, 2.0, 898_885.0, 13.0, 3.0], 1e-6);
        let plain = Krum { distance: Distance::Plain, ..Krum::default() };
        assert_close(&plain.scores(&gram), &[2.414_214, 2.0, 1340.809, 5.064_495, 2.414_214], 1e-3);
        assert_eq!(Krum::default().coefficients(&step, &gram).shared, [0.0, 1.0, 0.0, 0.0, 0.0]);
        let mut four = Krum { selected: 4, ..Krum::default() };
        assert_eq!(four.coefficients(&step, &gram).shared, [0.25, 0.25, 0.0, 0.25, 0.25]);
        assert_eq!(four.coefficients(&step, &gram).task, [1.0; 5]);
    }

    #[test]
    fn too_few_tasks_are_refused() {
        let problem = Krum::default().build(3).err().unwrap();
        assert_eq!(problem, "needs at least `byzantine` + 3 tasks, found 3 with `byzantine` 1");
        assert!(Krum { selected: 5, ..Krum::default() }.build(4).is_err());
    }
}
