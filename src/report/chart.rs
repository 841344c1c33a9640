//! Lines over steps or epochs.

use std::fmt::{self, Display, Formatter};

use crate::svg::{Axis, Escaped};

/// The plot's size, in pixels.
const PLOT: [f64; 2] = [336.0, 170.0];
/// What surrounds it: left, top, right, bottom.
const MARGIN: [f64; 4] = [52.0, 8.0, 12.0, 38.0];
/// Lines with more points than this have no dot at each.
const DOTS: usize = 80;
/// Colours before they come again, with dashes.
pub(super) const COLOURS: usize = 8;

/// A chart: what stands over it, its lines, what they mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chart {
    pub title: String,
    pub x: &'static str,
    pub y: String,
    pub lines: Vec<Line>,
    /// A line from top to bottom: where, and what for.
    pub mark: Option<(f64, String)>,
    /// A number that lines are seen against (no effect, the goal).
    pub level: Option<f64>,
    /// Whether both axes show the same quantity, and lines are seen against where they are equal; otherwise steps or
    /// epochs are on the horizontal one, which are whole numbers.
    pub diagonal: bool,
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    pub name: String,
    /// Which of the colours; later ones are dashed.
    pub colour: usize,
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// Whether there is anything to see: one point is no line.
    pub fn is_worth_drawing(&self) -> bool {
        self.lines.iter().any(|line| line.points.iter().filter(|(_, y)| y.is_finite()).count() > 1)
    }
}

impl Line {
    fn class(&self) -> String {
        let dashed = if self.colour >= COLOURS { " dashed" } else { "" };
        format!("c{}{dashed}", self.colour % COLOURS)
    }
}

impl Display for Chart {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let [left, top, right, bottom] = MARGIN;
        let [width, height] = PLOT;
        let size = [left + width + right, top + height + bottom];
        let points = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let across = points().map(|(x, _)| *x);
        let x = Axis::around(across.clone(), width, false);
        let x = if self.diagonal { x } else { x.whole() };
        let also = across.filter(|_| self.diagonal).chain(self.level);
        let y = Axis::around(points().map(|(_, y)| *y).chain(also), height, true);
        begin(f, "chart", &self.title, size, [left, top])?;
        ticks_below(f, &x, height)?;
        for (at, text) in y.ticks() {
            write!(f, r#"<path class="grid" d="M0 {at:.1}H{width}"/>"#)?;
            writeln!(f, r#"<text class="tick end" x="-6" y="{:.1}">{text}</text>"#, at + 3.5)?;
        }
        if self.diagonal {
            let (low, high) = points().fold((f64::INFINITY, 0.0f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
            let [from, to] = [low, high].map(|value| format!("{:.1} {:.1}", x.at(value), y.at(value)));
            writeln!(f, r#"<path class="level" d="M{from}L{to}"/>"#)?;
        }
        if let Some(level) = self.level {
            writeln!(f, r#"<path class="level" d="M0 {:.1}H{width}"/>"#, y.at(level))?;
        }
        if let Some((at, what)) = &self.mark {
            let at = x.at(*at);
            let side = if at > width / 2.0 { ("end", -4.0) } else { ("", 4.0) };
            writeln!(
                f,
                r#"<path class="mark" d="M{at:.1} 0V{height}"/><text class="tick {}" x="{:.1}" y="10">{}</text>"#,
                side.0,
                at + side.1,
                Escaped(what)
            )?;
        }
        for line in &self.lines {
            let class = line.class();
            let points: Vec<&(f64, f64)> = line.points.iter().filter(|(_, y)| y.is_finite()).collect();
            let way: Vec<String> = points.iter().map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py))).collect();
            writeln!(
                f,
                r#"<polyline class="line {class}" points="{}"><title>{}</title></polyline>"#,
                way.join(" "),
                Escaped(&line.name)
            )?;
            if points.len() <= DOTS {
                for (px, py) in points {
                    write!(
                        f,
                        r#"<circle class="dot {class}" cx="{:.1}" cy="{:.1}" r="2"><title>{}, {} {}: {py:.5}</title></circle>"#,
                        x.at(*px),
                        y.at(*py),
                        Escaped(&line.name),
                        self.x,
                        if self.diagonal { format!("{px:.5}") } else { px.to_string() }
                    )?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f, r#"<rect class="frame" width="{width}" height="{height}"/>"#)?;
        writeln!(f, r#"<text class="axis middle" x="{}" y="{}">{}</text>"#, width / 2.0, height + 31.0, self.x)?;
        writeln!(
            f,
            r#"<text class="axis middle" transform="translate(-41 {}) rotate(-90)">{}</text></g></svg>"#,
            height / 2.0,
            Escaped(&self.y)
        )?;
        if self.lines.len() > 1 {
            write!(f, r#"<ul class="legend">"#)?;
            for line in &self.lines {
                write!(f, r#"<li><i class="{}"></i>{}</li>"#, line.class(), Escaped(&line.name))?;
            }
            writeln!(f, "</ul>")?;
        }
        writeln!(f, "</figure>")
    }
}

/// Begins a figure and its drawing of this size, in which the plot has its origin here.
pub(super) fn begin(f: &mut Formatter, class: &str, title: &str, size: [f64; 2], origin: [f64; 2]) -> fmt::Result {
    let (title, [width, height], [x, y]) = (Escaped(title), size, origin);
    writeln!(f, r#"<figure class="{class}"><figcaption>{title}</figcaption>"#)?;
    writeln!(
        f,
        r#"<svg role="img" aria-label="{title}" viewBox="0 0 {width} {height}"><g transform="translate({x} {y})">"#
    )
}

/// The ticks of a horizontal axis below a plot of this height, and their lines through it; where numbers are long, only every
/// other tick has one.
pub(super) fn ticks_below(f: &mut Formatter, axis: &Axis, height: f64) -> fmt::Result {
    const LONG: usize = 6;
    let ticks = axis.ticks();
    let every = if ticks.iter().any(|(_, text)| text.chars().count() > LONG) { 2 } else { 1 };
    for (number, (at, text)) in ticks.iter().enumerate() {
        writeln!(f, r#"<path class="grid" d="M{at:.1} 0V{height}"/>"#)?;
        if number % every == 0 {
            writeln!(f, r#"<text class="tick middle" x="{at:.1}" y="{}">{text}</text>"#, height + 14.0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_skip_what_has_no_place_and_names_are_safe() {
        let line =
            |name: &str, colour, points: &[(f64, f64)]| Line { name: name.into(), colour, points: points.into() };
        let chart = Chart {
            title: "a & b".into(),
            x: "epoch",
            y: "loss".into(),
            lines: vec![
                line("<click>", 0, &[(1.0, 0.5), (2.0, f64::NAN), (3.0, 0.25)]),
                line("late", COLOURS, &[(1.0, 0.75)]),
            ],
            mark: Some((3.0, "best".into())),
            level: Some(0.0),
            diagonal: false,
        };
        let text = chart.to_string();
        assert!(
            chart.is_worth_drawing() && !Chart { lines: chart.lines[1..].to_vec(), ..chart.clone() }.is_worth_drawing()
        );
        assert_eq!(text.matches("<circle").count(), 3);
        assert!(text.contains("&lt;click&gt;, epoch 3: 0.25000") && text.contains("a &amp; b"), "{text}");
        assert!(text.contains("line c0 dashed") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn equal_numbers_are_on_the_diagonal() {
        let points = vec![(0.1, 0.1), (0.3, 0.25)];
        let lines = vec![Line { name: "click".into(), colour: 0, points }];
        let text = Chart { x: "predicted", lines, diagonal: true, ..Chart::default() }.to_string();
        let path = |class: &str| text.split(class).nth(1).unwrap().split('"').nth(1).unwrap().to_owned();
        let diagonal = path("class=\"level\"");
        let line = path("class=\"line c0\"");
        let first = line.split(' ').next().unwrap().replace(',', " ");
        assert!(diagonal.starts_with(&format!("M{first}L")), "{diagonal} {line}");
        assert!(text.contains("click, predicted 0.30000: 0.25000"), "{text}");
    }
}
