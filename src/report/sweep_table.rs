//! The table of a sweep: a row for each variant, a column for each country and task, over seeds.

use std::fmt::Write;

use serde::Serialize;

use super::{Sample, paired_t_test};
use crate::balance::Balancer;
use crate::metric::Metric;
use crate::spec::{Axis, Choice, Grid, Significance, Sweep};

/// The name of the column with the mean over tasks.
const MEAN: &str = "mean";

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepTable {
    /// The metric.
    pub metric: &'static str,
    /// The axes that make the rows.
    pub axes: Vec<String>,
    /// (country or nothing, task) of each column.
    pub columns: Vec<(String, String)>,
    /// The rows, those of one class of balancers together.
    pub rows: Vec<Row>,
    /// The level of the test against the baseline.
    pub level: f64,
}

/// A variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The class of its balancer, if balancers vary.
    pub class: Option<&'static str>,
    /// Its value on each of the axes that make rows.
    pub values: Vec<String>,
    /// What it came to, column by column.
    pub entries: Vec<Option<Entry>>,
    /// The mean relative gain over the single-task row, over all columns but the means, in percent.
    pub delta_m: Option<f64>,
    /// Whether the others are compared with it.
    pub baseline: bool,
}

/// What a variant came to in one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The mean over seeds.
    pub mean: f64,
    /// The standard deviation over seeds, if there are several.
    pub deviation: Option<f64>,
    /// Seeds.
    pub n: usize,
    /// Whether no other row has a better mean.
    pub best: bool,
    /// The p value of the test against the baseline, if there is one to make.
    pub p: Option<f64>,
    /// Whether it is better than the baseline, and the test says that this is no accident.
    pub significant: bool,
}

/// The runs of one row and column, by seed.
type Runs = Vec<Option<f64>>;

impl SweepTable {
    /// The table of one metric. `measured` gives what a cell came to: a number for each task and their mean, or nothing.
    pub fn new(
        sweep: &Sweep,
        grid: &Grid,
        metric: Metric,
        measured: impl Fn(usize) -> Option<Vec<(String, Option<f64>)>>,
    ) -> Self {
        let role = |wanted: fn(&Axis) -> bool| sweep.over.iter().position(wanted);
        let country = role(|axis| matches!(axis, Axis::Country(_)));
        let seed = role(|axis| matches!(axis, Axis::Seed(_)));
        // an axis of one value tells nothing apart
        let varies = |axis: &usize| Some(*axis) != country && Some(*axis) != seed && sweep.over[*axis].len() > 1;
        let row_axes: Vec<usize> = (0..sweep.over.len()).filter(varies).collect();
        let labels: Vec<Vec<String>> = sweep.over.iter().map(Axis::labels).collect();
        let size = |axis: Option<usize>| axis.map_or(1, |axis| sweep.over[axis].len());
        let at = |values: &[usize], axis: Option<usize>| axis.map_or(0, |axis| values[axis]);

        let measured: Vec<_> = (0..grid.cells.len()).map(measured).collect();
        let mut tasks: Vec<String> = Vec::new();
        for (task, _) in measured.iter().flatten().flatten() {
            if !tasks.contains(task) {
                tasks.push(task.clone());
            }
        }
        // the rows in the order of the grid
        let mut keys: Vec<Vec<usize>> = Vec::new();
        let mut runs: Vec<Vec<Runs>> = Vec::new();
        for (cell, measured) in grid.cells.iter().zip(&measured) {
            let key: Vec<usize> = row_axes.iter().map(|&axis| cell.values[axis]).collect();
            let row = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                keys.push(key);
                runs.push(vec![vec![None; size(seed)]; size(country) * tasks.len()]);
                keys.len() - 1
            });
            for (task, value) in measured.iter().flatten() {
                let task = tasks.iter().position(|known| known == task).unwrap_or(0);
                let column = at(&cell.values, country) * tasks.len() + task;
                runs[row][column][at(&cell.values, seed)] = *value;
            }
        }
        let columns = (0..size(country)).flat_map(|c| {
            let name = country.map_or_else(String::new, |axis| labels[axis][c].clone());
            tasks.iter().map(move |task| (name.clone(), task.clone()))
        });
        let columns: Vec<(String, String)> = columns.collect();

        let with = |key: &[usize], choices: &[Choice]| -> Option<usize> {
            if choices.is_empty() {
                return None;
            }
            let mut key = key.to_vec();
            for (value, &axis) in key.iter_mut().zip(&row_axes) {
                if let Some(chosen) = choices.iter().find_map(|choice| sweep.over[axis].position(choice)) {
                    *value = chosen;
                }
            }
            keys.iter().position(|known| *known == key)
        };
        let Significance::PairedT(level) = sweep.test;
        let sign = if metric.higher_is_better() { 1.0 } else { -1.0 };
        let mut rows: Vec<Row> = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            let (baseline, single) = (with(key, &sweep.baseline), with(key, &sweep.single_task));
            let entries = (0..columns.len()).map(|column| {
                let numbers: Vec<f64> = runs[at][column].iter().flatten().copied().collect();
                let Sample { mean, deviation, n } = Sample::of(&numbers)?;
                let pairs = baseline.filter(|baseline| *baseline != at).map(|baseline| {
                    let pairs = runs[at][column].iter().zip(&runs[baseline][column]);
                    pairs.filter_map(|(own, other)| Some(((*own)?, (*other)?))).collect::<Vec<_>>()
                });
                let p = pairs.as_ref().and_then(|pairs| paired_t_test(pairs));
                let gain = pairs.map_or(0.0, |pairs| pairs.iter().map(|(own, other)| sign * (own - other)).sum());
                let significant = gain > 0.0 && p.is_some_and(|p| p < level);
                Some(Entry { mean, deviation, n, best: false, p, significant })
            });
            let mean_of = |row: usize, column: usize| {
                let numbers: Vec<f64> = runs[row][column].iter().flatten().copied().collect();
                Sample::of(&numbers).map(|sample| sample.mean)
            };
            let gains: Option<Vec<f64>> = single.and_then(|single| {
                let of_tasks = (0..columns.len()).filter(|&column| columns[column].1 != MEAN);
                let gain = |column| {
                    let (own, other) = (mean_of(at, column)?, mean_of(single, column)?);
                    Some(100.0 * sign * (own - other) / other)
                };
                of_tasks.map(gain).collect()
            });
            rows.push(Row {
                class: class(sweep, &row_axes, key),
                values: row_axes.iter().zip(key).map(|(&axis, &value)| labels[axis][value].clone()).collect(),
                entries: entries.collect(),
                delta_m: gains.and_then(|gains| Sample::of(&gains)).map(|sample| sample.mean),
                baseline: baseline == Some(at),
            });
        }
        mark_best(&mut rows, sign);
        // classes in the order in which they first come
        let mut classes: Vec<Option<&str>> = Vec::new();
        rows.iter().for_each(|row| {
            if !classes.contains(&row.class) {
                classes.push(row.class)
            }
        });
        rows.sort_by_key(|row| classes.iter().position(|class| *class == row.class));
        let axes = row_axes.iter().map(|&axis| sweep.over[axis].name().to_owned()).collect();
        Self { metric: metric.name(), axes, columns, rows, level }
    }

    /// The headings and the rows as text; `emphasis` is put round the best mean of a column.
    fn cells(&self, emphasis: (&str, &str)) -> (Vec<String>, Vec<Vec<String>>) {
        let classes = self.rows.iter().any(|row| row.class.is_some());
        let gains = self.rows.iter().any(|row| row.delta_m.is_some());
        let mut headings: Vec<String> = Vec::new();
        headings.extend(classes.then(|| "class".to_owned()));
        headings.extend(self.axes.iter().cloned());
        headings.extend(self.columns.iter().map(|(country, task)| format!("{country} {task}").trim().to_owned()));
        headings.extend(gains.then(|| "Δm%".to_owned()));
        headings.push("n".to_owned());
        let row = |row: &Row| {
            let mut cells: Vec<String> = Vec::new();
            cells.extend(classes.then(|| row.class.unwrap_or_default().to_owned()));
            cells.extend(row.values.iter().cloned());
            cells.extend(
                row.entries
                    .iter()
                    .map(|entry| entry.as_ref().map_or_else(|| "-".to_owned(), |entry| entry.text(emphasis))),
            );
            cells.extend(gains.then(|| row.delta_m.map_or_else(|| "-".to_owned(), |gain| format!("{gain:+.2}"))));
            let n = row.entries.iter().flatten().map(|entry| entry.n).min().unwrap_or(0);
            cells.push(n.to_string());
            cells
        };
        (headings, self.rows.iter().map(row).collect())
    }

    /// What the marks mean.
    pub fn legend(&self) -> String {
        let mut text =
            format!("{}: mean over seeds ± standard deviation, n seeds; best of a column marked", self.metric);
        if self.rows.iter().any(|row| row.baseline) {
            let _ = write!(text, "; ‡ better than the baseline, paired t-test over seeds, p < {}", self.level);
        }
        if self.rows.iter().any(|row| row.delta_m.is_some()) {
            text.push_str("; Δm% mean relative gain over single-task");
        }
        text
    }

    /// The headings and rows, the best means with a star.
    pub fn text(&self) -> (Vec<String>, Vec<Vec<String>>) {
        self.cells(("", "*"))
    }

    /// A table in Markdown, the best means bold.
    pub fn markdown(&self) -> String {
        let (headings, rows) = self.cells(("**", "**"));
        let line = |cells: &[String]| {
            let escaped: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", escaped.join(" | "))
        };
        let mut text = line(&headings) + &format!("|{}\n", "---|".repeat(headings.len()));
        rows.iter().for_each(|row| text.push_str(&line(row)));
        let _ = writeln!(text, "\n{}", self.legend());
        text
    }

    /// A line for each row and column, with every number in full.
    pub fn csv(&self) -> String {
        let quoted = |text: &str| {
            let plain = !text.contains([',', '"', '\n']);
            if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
        };
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let mut text = String::from("class");
        self.axes.iter().for_each(|axis| {
            let _ = write!(text, ",{}", quoted(axis));
        });
        text.push_str(",country,task,metric,mean,deviation,n,best,p,significant,delta_m\n");
        for row in &self.rows {
            for ((country, task), entry) in self.columns.iter().zip(&row.entries) {
                let Some(entry) = entry else { continue };
                let mut fields: Vec<String> = vec![row.class.unwrap_or_default().to_owned()];
                fields.extend(row.values.iter().map(|value| quoted(value)));
                fields.extend([quoted(country), quoted(task), self.metric.to_owned(), entry.mean.to_string()]);
                fields.extend([number(entry.deviation), entry.n.to_string(), entry.best.to_string()]);
                fields.extend([number(entry.p), entry.significant.to_string(), number(row.delta_m)]);
                let _ = writeln!(text, "{}", fields.join(","));
            }
        }
        text
    }
}

impl Entry {
    fn text(&self, (before, after): (&str, &str)) -> String {
        let spread = self.deviation.map_or_else(String::new, |deviation| format!(" ±{deviation:.4}"));
        let mark = if self.significant { "‡" } else { "" };
        let (before, after) = if self.best { (before, after) } else { ("", "") };
        format!("{before}{:.4}{after}{mark}{spread}", self.mean)
    }
}

/// The class of a row's balancer.
fn class(sweep: &Sweep, row_axes: &[usize], key: &[usize]) -> Option<&'static str> {
    let of_axis = |(&axis, &value): (&usize, &usize)| match &sweep.over[axis] {
        Axis::Balancer(values) => Some(values[value].clone()),
        _ => None,
    };
    let balancer: Balancer = row_axes.iter().zip(key).find_map(of_axis)?;
    (1..8).find_map(|tasks| balancer.build(tasks).ok()).map(|method| method.class())
}

fn mark_best(rows: &mut [Row], sign: f64) {
    let columns = rows.first().map_or(0, |row| row.entries.len());
    for column in 0..columns {
        let means = rows.iter().filter_map(|row| Some(sign * row.entries[column].as_ref()?.mean));
        let best = means.fold(f64::NEG_INFINITY, f64::max);
        for entry in rows.iter_mut().filter_map(|row| row.entries[column].as_mut()) {
            entry.best = sign * entry.mean == best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::loss::{Famo, Ls};
    use crate::data::Country;
    use crate::spec::{Cell, Pipeline};

    /// Two countries, two balancers, three seeds.
    fn table(value: impl Fn(&[usize], usize) -> Option<f64>) -> SweepTable {
        let sweep = Sweep {
            pipeline: String::new(),
            over: vec![
                Axis::Country(vec![Country::ES, Country::US]),
                Axis::Balancer(vec![Ls::default().into(), Famo::default().into()]),
                Axis::Seed(vec![1, 2, 3]),
            ],
            baseline: vec![Choice::Balancer(Ls::default().into())],
            single_task: vec![Choice::Balancer(Ls::default().into())],
            only: Vec::new(),
            test: Significance::PairedT(0.05),
        };
        let cells: Vec<Cell> =
            (0..12).map(|at| Cell { values: vec![at / 6, at / 3 % 2, at % 3], stages: Default::default() }).collect();
        let pipeline = Pipeline { name: "p".into(), stages: Default::default(), golden: None };
        let grid = Grid { cells, pipeline };
        SweepTable::new(&sweep, &grid, Metric::Auc, |cell| {
            let values = &grid.cells[cell].values;
            Some(vec![("click".to_owned(), value(values, 0)), (MEAN.to_owned(), value(values, 1))])
        })
    }

    #[test]
    fn rows_are_compared_over_seeds() {
        // FAMO gains 0.01 for every seed on ES, and something else for each on US
        let table = table(|values, _| {
            let gain = if values[1] == 0 { 0.0 } else { [0.01, [0.03, -0.02, 0.001][values[2]]][values[0]] };
            Some(0.5 + 0.1 * values[2] as f64 + gain)
        });
        assert_eq!(table.columns.len(), 4);
        let [ls, famo] = &table.rows[..] else { panic!("two rows") };
        assert!(ls.baseline && !famo.baseline && ls.class == Some("loss"));
        let entry = |row: &Row, column: usize| row.entries[column].clone().unwrap();
        assert!((entry(ls, 0).mean - 0.6).abs() < 1e-12 && (entry(ls, 0).deviation.unwrap() - 0.1).abs() < 1e-12);
        assert!(entry(famo, 0).significant && entry(famo, 0).best && !entry(ls, 0).best);
        assert!(!entry(famo, 2).significant && entry(famo, 2).p.unwrap() > 0.5);
        let gain = 100.0 * (0.01 + 0.011 / 3.0) / 0.6 / 2.0;
        assert!((famo.delta_m.unwrap() - gain).abs() < 1e-9 && ls.delta_m == Some(0.0));
        insta::assert_snapshot!(table.markdown(), @r"
        | class | balancer | ES click | ES mean | US click | US mean | Δm% | n |
        |---|---|---|---|---|---|---|---|
        | loss | Ls | 0.6000 ±0.1000 | 0.6000 ±0.1000 | 0.6000 ±0.1000 | 0.6000 ±0.1000 | +0.00 | 3 |
        | loss | Famo | **0.6100**‡ ±0.1000 | **0.6100**‡ ±0.1000 | **0.6037** ±0.0879 | **0.6037** ±0.0879 | +1.14 | 3 |

        Auc: mean over seeds ± standard deviation, n seeds; best of a column marked; ‡ better than the baseline, paired t-test over seeds, p < 0.05; Δm% mean relative gain over single-task
        ");
    }

    #[test]
    fn missing_cells_leave_gaps() {
        let table = table(|values, task| (values[0] == 0 && values[2] < 2 && task == 0).then_some(0.5));
        let entries = &table.rows[0].entries;
        assert_eq!(entries[0].as_ref().map(|entry| entry.n), Some(2));
        assert!(entries[1..].iter().all(Option::is_none));
        assert!(table.csv().lines().count() == 3, "{}", table.csv());
    }
}
