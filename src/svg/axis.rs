//! A range of numbers on a stretch of paper.

/// Pixels between two ticks, about.
const APART: f64 = 32.0;

/// A range of numbers on a stretch of paper.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    /// Distance of two ticks.
    step: f64,
    /// Length on paper.
    length: f64,
    /// Whether larger numbers are further up, against the direction of SVG.
    upwards: bool,
}

impl Axis {
    /// An axis with room for these numbers and a little more, `length` pixels long; numbers that are not finite have no
    /// place on it.
    pub fn around(values: impl Iterator<Item = f64>, length: f64, upwards: bool) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let pad = 0.06 * (high - low).max(1e-9);
        Self::between(low - pad, high + pad, length, upwards)
    }

    /// An axis from one number to another.
    pub fn between(low: f64, high: f64, length: f64, upwards: bool) -> Self {
        let rough = (high - low) / (length / APART).round().max(2.0);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough);
        Self { low, high, step: step.unwrap_or(10.0 * power), length, upwards }
    }

    /// The same with ticks at whole numbers only.
    pub fn whole(self) -> Self {
        Self { step: self.step.max(1.0), ..self }
    }

    /// Where a number stands on paper.
    pub fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        // far outside is outside
        self.length * (if self.upwards { 1.0 - share } else { share }).clamp(-4.0, 5.0)
    }

    /// Whether a number lies on it.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The ticks: where they are, and what is written beside them.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let (first, last) = ((self.low / self.step).ceil() as i64, (self.high / self.step).floor() as i64);
        let tick = |at: i64| {
            let value = at as f64 * self.step;
            (self.at(value), format!("{value:.decimals$}").replace('-', "−"))
        };
        (first..=last).map(tick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let words = |axis: &Axis| -> Vec<String> { axis.ticks().into_iter().map(|(_, text)| text).collect() };
        let axis = Axis::around([-20.0, 8.0].into_iter(), 214.0, true);
        assert_eq!(words(&axis), ["−20", "−15", "−10", "−5", "0", "5"]);
        assert!(axis.at(8.0) < axis.at(-20.0) && axis.holds(-20.0) && !axis.holds(12.0));
        let small = Axis::around([-0.2, 0.31].into_iter(), 214.0, false);
        assert_eq!(small.ticks()[0].1, "−0.2");
        assert_eq!(Axis::around([3.0, 3.0].into_iter(), 100.0, false).at(3.0), 50.0);
        assert_eq!(words(&Axis::between(1.0, 3.0, 320.0, false).whole()), ["1", "2", "3"]);
        assert_eq!(words(&Axis::between(0.0, 1.0, 160.0, true)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn nothing_to_show_is_an_axis_too() {
        let axis = Axis::around([f64::NAN, f64::INFINITY].into_iter(), 100.0, false);
        assert!(axis.holds(0.5) && axis.at(0.5) == 50.0);
    }
}
