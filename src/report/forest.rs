//! Forest plots: every row's difference from the baseline with its confidence interval.

use std::fmt::{self, Display, Formatter};

use super::chart::{begin, ticks_below};
use crate::comparison::{Difference, Table};
use crate::metric::Better;
use crate::svg::{Axis, Escaped, shortened};

/// A row's height.
const ROW: f64 = 22.0;
/// Where the plot begins: names stand before it.
const LEFT: f64 = 250.0;
const WIDTH: f64 = 320.0;
/// What the numbers behind it take.
const NUMBERS: f64 = 186.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 38.0;
/// Letters of a name that fit.
const LETTERS: usize = 36;

/// One column of a table against its baseline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forest {
    /// What is compared, on which data.
    pub title: String,
    /// What the horizontal axis shows.
    pub x: String,
    pub rows: Vec<Plotted>,
}

/// One row's difference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plotted {
    pub name: String,
    pub difference: Difference,
    pub p: Option<f64>,
    pub verdict: Verdict,
}

/// What the test says of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    Undecided,
}

impl Forest {
    /// The plot of one column; `None` if nothing in it is compared with a baseline.
    pub fn of(table: &Table, column: usize) -> Option<Self> {
        let rows: Vec<Plotted> = table
            .rows
            .iter()
            .filter_map(|row| {
                let entry = row.entries[column].as_ref()?;
                let counts = entry.p.is_some_and(|p| p < table.level);
                let verdict = match counts {
                    true if entry.significant => Verdict::Better,
                    true => Verdict::Worse,
                    false => Verdict::Undecided,
                };
                Some(Plotted { name: row.label(), difference: entry.difference?, p: entry.p, verdict })
            })
            .collect();
        let (data, task) = &table.columns[column];
        let metric = table.metric.name();
        let title = format!("{metric}, {data} {task}").replace(",  ", ", ");
        let confidence = 100.0 * (1.0 - table.level);
        let what = match table.metric.better() {
            Better::Higher | Better::Lower => metric.to_owned(),
            Better::Near(best) => format!("distance of {metric} from {best}"),
        };
        let x = format!("{what} minus the baseline's, {confidence:.0} % confidence interval");
        (!rows.is_empty()).then_some(Self { title, x, rows })
    }
}

/// A name that fits: without its settings, if need be.
fn fitting(name: &str) -> String {
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    let mut depth = 0;
    let mut short = String::new();
    for letter in name.chars() {
        match letter {
            '(' if depth == 0 => short.push_str("(…)"),
            _ if depth == 0 && letter != ')' => short.push(letter),
            _ => {}
        }
        depth += i32::from(letter == '(') - i32::from(letter == ')');
    }
    shortened(&short, LETTERS)
}

impl Display for Forest {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let height = self.rows.len() as f64 * ROW;
        let size = [LEFT + WIDTH + NUMBERS, TOP + height + BOTTOM];
        let ends = self.rows.iter().flat_map(|row| {
            let Difference { mean, interval } = row.difference;
            let (low, high) = interval.unwrap_or((mean, mean));
            [low, high]
        });
        let x = Axis::around(ends.chain([0.0]), WIDTH, false);
        begin(f, "forest", &self.title, size, [LEFT, TOP])?;
        ticks_below(f, &x, height)?;
        writeln!(f, r#"<path class="level" d="M{:.1} 0V{height}"/>"#, x.at(0.0))?;
        for (at, Plotted { name, difference, p, verdict }) in self.rows.iter().enumerate() {
            let y = (at as f64 + 0.5) * ROW;
            let class = match verdict {
                Verdict::Better => "better",
                Verdict::Worse => "worse",
                Verdict::Undecided => "undecided",
            };
            let Difference { mean, interval } = difference;
            let numbers = match interval {
                Some((low, high)) => format!("{mean:+.4} [{low:+.4}, {high:+.4}]"),
                None => format!("{mean:+.4} (one run)"),
            };
            let hint = p.map_or_else(|| "one run: no test".to_owned(), |p| format!("p = {p:.4}"));
            writeln!(f, r#"<g class="{class}"><title>{}: {numbers}, {hint}</title>"#, Escaped(name))?;
            writeln!(f, r#"<text class="label end" x="-10" y="{:.1}">{}</text>"#, y + 4.0, Escaped(&fitting(name)))?;
            if let Some((low, high)) = interval {
                let [low, high] = [x.at(*low), x.at(*high)];
                write!(
                    f,
                    r#"<path class="bar" d="M{low:.1} {y}H{high:.1}M{low:.1} {:.1}v6M{high:.1} {:.1}v6"/>"#,
                    y - 3.0,
                    y - 3.0
                )?;
            }
            writeln!(f, r#"<circle class="point" cx="{:.1}" cy="{y}" r="3.6"/>"#, x.at(*mean))?;
            writeln!(f, r#"<text class="tick" x="{}" y="{:.1}">{numbers}</text></g>"#, WIDTH + 10.0, y + 4.0)?;
        }
        writeln!(
            f,
            r#"<text class="axis middle" x="{}" y="{}">{}</text>"#,
            WIDTH / 2.0,
            height + 31.0,
            Escaped(&self.x)
        )?;
        writeln!(f, "</g></svg></figure>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Variant;
    use crate::metric::Metric;

    #[test]
    fn long_names_lose_their_settings_first() {
        assert_eq!(fitting("Mmoe(experts: 4) · Famo"), "Mmoe(experts: 4) · Famo");
        let long = "Ple(shared_experts: 2, task_experts: 2) · Pub(scale: Paper, steps: (1, 2))";
        assert_eq!(fitting(long), "Ple(…) · Pub(…)");
        assert_eq!(fitting(&"long ".repeat(9)).chars().count(), LETTERS);
    }

    #[test]
    fn every_row_but_the_baseline_is_plotted() {
        let variant = |name: &str, runs: [f64; 3]| Variant {
            class: None,
            values: vec![name.to_owned()],
            columns: vec![runs.map(Some).to_vec()],
            baseline: Some(0),
            single_task: None,
        };
        let variants = [
            variant("sum", [0.5, 0.6, 0.7]),
            variant("gains", [0.51, 0.611, 0.709]),
            variant("<loses>", [0.4, 0.51, 0.59]),
            variant("either", [0.4, 0.7, 0.71]),
        ];
        let columns = vec![("ES".to_owned(), "mean".to_owned())];
        let table = Table::new(Metric::Auc, vec!["balancer".into()], columns, &variants, 0.05);
        let forest = Forest::of(&table, 0).unwrap();
        let verdicts: Vec<Verdict> = forest.rows.iter().map(|row| row.verdict).collect();
        assert_eq!(verdicts, [Verdict::Better, Verdict::Worse, Verdict::Undecided]);
        let text = forest.to_string();
        assert!(text.contains("Auc, ES mean") && text.contains("95 % confidence interval"), "{text}");
        assert!(text.contains("&lt;loses&gt;") && text.contains("+0.0100 [+0.0075, +0.0125]"), "{text}");
        let alone = Table::new(Metric::Auc, Vec::new(), table.columns, &variants[..1], 0.05);
        assert_eq!(Forest::of(&alone, 0), None);
    }
}
