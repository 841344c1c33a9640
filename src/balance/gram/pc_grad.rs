//! Gradient surgery.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Gram, dot};
use crate::balance::{Build, Coefficients, GramBalancer, Memory, Method, Step, draw, hyper};
use crate::registry::Describe;

/// Each task gradient is projected off every other it conflicts with, in random order; the projected ones are summed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PcGrad {
    /// Clips the combined gradient.
    pub max_norm: Option<f64>,
}

impl Describe for PcGrad {
    const SUMMARY: &'static str = "gradient surgery: conflicting gradients are projected off each other";
    const SOURCE: &'static str = "Yu et al., NeurIPS 2020";
}

impl Build for PcGrad {
    fn build(&self, _: usize) -> Result<Method, String> {
        hyper::max_norm(self.max_norm)?;
        Ok(Method::Gram(Box::new(self.clone())))
    }
}

/// The coefficients of `g_i` after it has been projected off the others in this order.
fn projected(gram: &Gram, i: usize, others: &[usize]) -> Vec<f64> {
    let mut c = vec![0.0; gram.tasks()];
    c[i] = 1.0;
    for &j in others {
        let product = dot(gram.row(j), &c);
        if product < 0.0 {
            c[j] -= product / gram[(j, j)];
        }
    }
    c
}

impl Memory for PcGrad {}

impl GramBalancer for PcGrad {
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        let mut generator = draw::generator(step);
        let present = gram.present();
        let mut w = vec![0.0; gram.tasks()];
        for i in 0..gram.tasks() {
            let mut others: Vec<usize> = present.iter().copied().filter(|&j| j != i).collect();
            others.shuffle(&mut generator);
            w.iter_mut().zip(projected(gram, i, &others)).for_each(|(w, c)| *w += c);
        }
        Coefficients::tasks_alone(w).clipped_at(self.max_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b, ex_t};

    #[test]
    fn two_tasks_leave_no_choice_of_order() {
        let coefficients = ex_a().coefficients(&PcGrad::default());
        assert_close(&coefficients.shared, &[1.5, 1.4], 1e-12);
        assert_close(&ex_a().combined(&coefficients), &[1.6, 2.8], 1e-12);
        assert_eq!(coefficients.task, [1.0, 1.0]);
        let coefficients = ex_t().coefficients(&PcGrad::default());
        assert_close(&coefficients.shared, &[2.222_222, 1.578_947], 1e-6);
        assert_close(&ex_t().combined(&coefficients), &[0.5848, 3.8012, 3.8012], 1e-4);
        let clipped = ex_t().coefficients(&PcGrad { max_norm: Some(1.0) });
        let combined = ex_t().combined(&clipped);
        assert!((dot(&combined, &combined) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn three_tasks_in_both_orders() {
        let example = ex_b();
        let sum = |orders: [[usize; 2]; 3]| {
            let mut w = vec![0.0; 3];
            for (i, order) in orders.iter().enumerate() {
                w.iter_mut().zip(projected(&example.gram, i, order)).for_each(|(w, c)| *w += c);
            }
            w
        };
        let (ascending, descending) = (sum([[1, 2], [0, 2], [0, 1]]), sum([[2, 1], [2, 0], [1, 0]]));
        assert_close(&ascending, &[1.4, 2.5, 1.3], 1e-12);
        assert_close(&example.combine(&ascending), &[0.3, 1.2, 2.7], 1e-12);
        assert_close(&descending, &[1.3, 2.5, 1.5], 1e-12);
        assert_close(&example.combine(&descending), &[0.1, 1.0, 2.8], 1e-12);
    }

    #[test]
    fn the_order_changes_from_step_to_step() {
        let example = ex_b();
        let Ok(Method::Gram(mut method)) = PcGrad::default().build(3) else { panic!("a Gram balancer") };
        let mut at = |index| method.coefficients(&example.step(index), &example.gram).shared;
        let first = at(0);
        assert_eq!(first, at(0));
        assert!((1..50).any(|index| at(index) != first));
    }

    #[test]
    fn gradients_that_agree_are_summed() {
        let gram = Gram::from_rows(&[[1.0, 0.5], [0.5, 2.0]]).unwrap();
        let step = Step { index: 0, epoch: 0, seed: 0, losses: &[1.0, 1.0] };
        assert_eq!(PcGrad::default().coefficients(&step, &gram).shared, [1.0, 1.0]);
    }
}
