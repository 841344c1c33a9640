//! Which way a metric is better.

/// Which of two values of a metric is the better one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
    /// The one nearer to this value, on either side.
    Near(f64),
}

impl Better {
    /// A number that is higher for the better value: the value, or its negative, or its negative distance from the
    /// best.
    pub fn merit(self, value: f64) -> f64 {
        match self {
            Better::Higher => value,
            Better::Lower => -value,
            Better::Near(best) => -(value - best).abs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_value_has_more_merit() {
        for (better, worst_to_best) in [
            (Better::Higher, [-1.0, 0.0, 0.5, 2.0]),
            (Better::Lower, [2.0, 0.5, 0.0, -1.0]),
            (Better::Near(1.0), [3.0, 0.0, 1.25, 1.0]),
        ] {
            assert!(worst_to_best.map(|value| better.merit(value)).is_sorted_by(|a, b| a < b), "{better:?}");
        }
        assert_eq!(Better::Near(1.0).merit(0.75), Better::Near(1.0).merit(1.25));
    }
}
