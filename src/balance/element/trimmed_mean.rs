//! The coordinate-wise trimmed mean.

use serde::{Deserialize, Serialize};

use crate::balance::{Build, ElementBalancer, Memory, Method, Step};
use crate::registry::Describe;

/// The mean of the gradients at each coordinate, without the `trim` largest and the `trim` smallest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrimmedMean {
    /// How many tasks are left out at either end; at least `2·trim + 1` tasks are needed.
    pub trim: usize,
}

impl Describe for TrimmedMean {
    const SUMMARY: &'static str = "the mean at each coordinate, without the largest and smallest entries";
    const SOURCE: &'static str = "Yin et al., ICML 2018";
}

impl Build for TrimmedMean {
    fn build(&self, tasks: usize) -> Result<Method, String> {
        let least = self.trim.saturating_mul(2).saturating_add(1);
        if tasks < least {
            return Err(format!("needs at least 2·`trim` + 1 tasks, found {tasks} with `trim` {}", self.trim));
        }
        Ok(Method::Element(Box::new(self.clone())))
    }
}

impl Memory for TrimmedMean {}

impl ElementBalancer for TrimmedMean {
    fn combine(&self, _: &Step, _: u64, columns: &[&[f32]], out: &mut [f32]) {
        let kept = self.trim..columns.len() - self.trim;
        let mut entries = vec![0.0f32; columns.len()];
        for (p, out) in out.iter_mut().enumerate() {
            entries.iter_mut().zip(columns).for_each(|(entry, column)| *entry = column[p]);
            if self.trim > 0 {
                entries.sort_unstable_by(f32::total_cmp);
            }
            *out = entries[kept.clone()].iter().sum::<f32>() / kept.len() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, ex_a, ex_b};

    #[test]
    fn the_standard_examples() {
        let rows: [&[f32]; 4] = [&[1.0, 10.0], &[2.0, -5.0], &[7.0, 0.0], &[3.0, 4.0]];
        let Ok(Method::Element(method)) = (TrimmedMean { trim: 1 }).build(4) else {
            panic!("an element-wise balancer")
        };
        let mut out = [0.0; 2];
        method.combine(&Step { index: 0, epoch: 0, seed: 1, losses: &[] }, 0, &rows, &mut out);
        assert_eq!(out, [2.5, 2.0]);
        let combined = |example: crate::balance::examples::Example, trim| {
            example.driver(&TrimmedMean { trim }).step(&example.losses, &example.gradients).combined
        };
        assert_close(&combined(ex_b(), 1), &[0.0, 0.0, 1.0], 0.0);
        assert_close(&combined(ex_a(), 0), &[0.5, 1.0], 0.0);
    }
}
