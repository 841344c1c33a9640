//! The figure as a self-contained SVG: a panel for each balancer with the losses as axes, the Pareto front, the starts,
//! the trajectories coloured by time, and `L*`.

use std::fmt::{self, Display, Formatter};

use super::descent::Trajectory;
use super::palette::{SHADES, style};
use super::problem::Problem;
use crate::svg::{Axis, Escaped, shortened};

/// A plot's size, in pixels.
const PLOT: [f64; 2] = [232.0, 214.0];
/// What surrounds a plot: left, top, right, bottom.
const MARGIN: [f64; 4] = [46.0, 44.0, 14.0, 42.0];
/// A row of the legend.
const LEGEND: f64 = 30.0;
/// Points of the front; it is smooth.
const FRONT: usize = 121;
/// Letters of the settings that fit over a plot.
const LETTERS: usize = 46;

/// All that is drawn.
pub(super) struct Figure<'a> {
    pub(super) problem: Problem,
    /// Steps of the longest trajectory: the end of the scale of time.
    pub(super) steps: u64,
    pub(super) panels: Vec<Panel<'a>>,
}

/// One balancer's part.
pub(super) struct Panel<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a str,
    pub(super) ways: &'a [Trajectory],
}

impl Figure<'_> {
    fn axes(&self) -> [Axis; 2] {
        let mut marks = self.problem.front(FRONT);
        for way in self.panels.iter().flat_map(|panel| panel.ways) {
            marks.extend([way.points[0].losses, way.end().losses]);
        }
        [0, 1].map(|k| Axis::around(marks.iter().map(|losses| losses[k]), PLOT[k], k == 1))
    }

    /// Panels in a row.
    fn columns(&self) -> usize {
        match self.panels.len() {
            0 | 1 => 1,
            2 | 4 => 2,
            _ => 3,
        }
    }
}

impl Display for Figure<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let [left, top, right, bottom] = MARGIN;
        let cell = [left + PLOT[0] + right, top + PLOT[1] + bottom];
        let columns = self.columns();
        let legends = if columns == 1 { 2.0 } else { 1.0 };
        let width = columns as f64 * cell[0] + 8.0;
        let height = self.panels.len().div_ceil(columns) as f64 * cell[1] + legends * LEGEND + 8.0;
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="toy" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">"#
        )?;
        writeln!(f, "<title>Trajectories of balancers on the toy problem, from each start to its end</title>")?;
        writeln!(f, "<style>\n{}</style>", style())?;
        writeln!(
            f,
            r#"<clipPath id="toy-plot"><rect width="{}" height="{}"/></clipPath><rect class="paper" width="{width}" height="{height}"/>"#,
            PLOT[0], PLOT[1]
        )?;
        let axes = self.axes();
        for (at, panel) in self.panels.iter().enumerate() {
            let x = (at % columns) as f64 * cell[0] + left;
            let y = (at / columns) as f64 * cell[1] + legends * LEGEND + top;
            writeln!(f, r#"<g transform="translate({x} {y})">"#)?;
            self.panel(f, panel, &axes)?;
            writeln!(f, "</g>")?;
        }
        self.legend(f, columns == 1, left)?;
        writeln!(f, "</svg>")
    }
}

impl Figure<'_> {
    fn panel(&self, f: &mut Formatter, panel: &Panel, axes: &[Axis; 2]) -> fmt::Result {
        let [x, y] = axes;
        let [width, height] = PLOT;
        writeln!(f, "<title>{} {}</title>", Escaped(panel.name), Escaped(panel.settings))?;
        let head = if panel.settings.is_empty() { -10.0 } else { -22.0 };
        writeln!(f, r#"<text class="name" y="{head}">{}</text>"#, Escaped(panel.name))?;
        if !panel.settings.is_empty() {
            let settings = shortened(panel.settings, LETTERS);
            writeln!(f, r#"<text class="small" y="-8">{}</text>"#, Escaped(&settings))?;
        }
        for (at, text) in x.ticks() {
            write!(f, r#"<path class="grid" d="M{at:.1} 0V{height}"/>"#)?;
            writeln!(f, r#"<text class="small" text-anchor="middle" x="{at:.1}" y="{}">{text}</text>"#, height + 14.0)?;
        }
        for (at, text) in y.ticks() {
            write!(f, r#"<path class="grid" d="M0 {at:.1}H{width}"/>"#)?;
            writeln!(f, r#"<text class="small" text-anchor="end" x="-6" y="{:.1}">{text}</text>"#, at + 3.5)?;
        }
        writeln!(f, r#"<text class="axis" text-anchor="middle" x="{}" y="{}">L₁</text>"#, width / 2.0, height + 30.0)?;
        writeln!(
            f,
            r#"<text class="axis" text-anchor="middle" transform="translate(-32 {}) rotate(-90)">L₂</text>"#,
            height / 2.0
        )?;
        writeln!(f, r#"<rect class="frame" width="{width}" height="{height}"/><g clip-path="url(#toy-plot)">"#)?;
        let front: Vec<String> =
            self.problem.front(FRONT).iter().map(|l| format!("{:.1},{:.1}", x.at(l[0]), y.at(l[1]))).collect();
        writeln!(f, r#"<polyline class="front" points="{}"/>"#, front.join(" "))?;
        for way in panel.ways {
            self.way(f, way, axes)?;
        }
        for way in panel.ways {
            let [l1, l2] = way.points[0].losses;
            write!(f, r#"<circle class="dot" cx="{:.1}" cy="{:.1}" r="3.6"/>"#, x.at(l1), y.at(l2))?;
        }
        let [l1, l2] = self.problem.optimum();
        writeln!(f, r#"<path class="star" transform="translate({:.1} {:.1})" d="{STAR}"/>"#, x.at(l1), y.at(l2))?;
        for way in panel.ways {
            let ([l1, l2], shade) = (way.end().losses, self.shade(way.end().step));
            writeln!(f, r#"<circle class="end s{shade}" cx="{:.1}" cy="{:.1}" r="2.7"/>"#, x.at(l1), y.at(l2))?;
        }
        writeln!(f, "</g>")
    }

    /// The colour of the time up to this step.
    fn shade(&self, step: u64) -> usize {
        let share = when(step.saturating_sub(1) as f64 / self.steps.max(1) as f64);
        ((share * SHADES as f64) as usize).min(SHADES - 1)
    }

    /// A line for each colour; points that fall together on paper are drawn once.
    fn way(&self, f: &mut Formatter, way: &Trajectory, [x, y]: &[Axis; 2]) -> fmt::Result {
        let place = |[l1, l2]: [f64; 2]| format!("{:.1},{:.1}", x.at(l1), y.at(l2));
        let mut last = place(way.points[0].losses);
        for stretch in way.points[1..].chunk_by(|a, b| self.shade(a.step) == self.shade(b.step)) {
            let mut line = last.clone();
            for point in stretch {
                let next = place(point.losses);
                if next != last {
                    line.push(' ');
                    line.push_str(&next);
                    last = next;
                }
            }
            if line != last {
                writeln!(f, r#"<polyline class="way s{}" points="{line}"/>"#, self.shade(stretch[0].step))?;
            }
        }
        Ok(())
    }

    /// The marks, and the scale of time beside them or below.
    fn legend(&self, f: &mut Formatter, narrow: bool, left: f64) -> fmt::Result {
        writeln!(f, r#"<g transform="translate({left} 20)">"#)?;
        writeln!(f, r#"<circle class="dot" cx="4" r="3.6"/><text x="13" y="4">start</text>"#)?;
        let last = SHADES - 1;
        writeln!(f, r#"<circle class="end s{last}" cx="58" r="2.7"/><text x="66" y="4">end</text>"#)?;
        writeln!(f, r#"<path class="front" d="M104 0H122"/><text x="131" y="4">Pareto front</text>"#)?;
        writeln!(
            f,
            r#"<path class="star" transform="translate(218 0)" d="{STAR}"/><text x="229" y="4">L*</text></g>"#
        )?;
        let (x, y) = if narrow { (left, 20.0 + LEGEND) } else { (left + 292.0, 20.0) };
        writeln!(f, r#"<g transform="translate({x} {y})"><text y="-1">step</text>"#)?;
        let (bar, length) = (36.0, 9.0 * SHADES as f64);
        for shade in 0..SHADES {
            write!(f, r#"<rect class="f{shade}" x="{}" y="-10" width="9.2" height="9"/>"#, bar + 9.0 * shade as f64)?;
        }
        for share in [0.0, 0.02, 0.1, 0.3, 1.0] {
            let (x, step) = (bar + length * when(share), (share * self.steps as f64).round());
            write!(f, r#"<text class="small" text-anchor="middle" x="{x:.1}" y="11">{step}</text>"#)?;
        }
        writeln!(f, "</g>")
    }
}

/// Where a share of all steps stands on the scale of time: logarithmic but for the first half per cent, because nearly
/// all happens early.
fn when(share: f64) -> f64 {
    (200.0 * share).ln_1p() / 200f64.ln_1p()
}

/// A five-pointed star round the origin.
const STAR: &str = "M0-10L2.4-3.3 9.5-3.1 3.9 1.2 5.9 8.1 0 4-5.9 8.1-3.9 1.2-9.5-3.1-2.4-3.3Z";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::toy::descent::Point;

    #[test]
    fn lines_change_colour_with_time_and_stay_joined() {
        let point = |step, l| Point { step, x: [0.0; 2], losses: [l, l] };
        let points = vec![point(0, 8.0), point(10, 4.0), point(20, 0.0), point(30, 0.0)];
        let ways = [Trajectory { points, after_1000: None, broke_off: Some(31) }];
        let panels = vec![Panel { name: "Ls", settings: "a < \"b\" & c", ways: &ways }];
        let text = Figure { problem: Problem { scale: 1.0 }, steps: 48, panels }.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("\"way ")).collect();
        assert_eq!(lines.len(), 2, "standing still draws nothing: {lines:?}");
        assert!(lines[0].contains("way s16\"") && lines[1].contains("way s19\""), "{lines:?}");
        let ends = |line: &str| -> Vec<String> {
            let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            points.split(' ').map(str::to_owned).collect()
        };
        assert_eq!(ends(lines[0])[1], ends(lines[1])[0]);
        assert!(text.contains("a &lt; &quot;b&quot; &amp; c"), "{text}");
    }
}
