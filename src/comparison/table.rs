//! The table: a row for each variant, a column for each data set and task, over runs that differ by their seeds.

use serde::{Deserialize, Serialize};

use super::{Difference, Sample, paired_t_test};
use crate::metric::{Better, Compared, MEAN, Metric, delta_m};

/// One variant in one column, run by run; `None` for a run that has come to nothing yet. In every row the runs stand in
/// the same order, because they are compared in pairs.
pub type Runs = Vec<Option<f64>>;

/// What the runs of a variant came to, before anything is made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Rows of one class stand together.
    pub class: Option<String>,
    /// Its value on each of the axes that make rows.
    pub values: Vec<String>,
    /// Its runs, column by column.
    pub columns: Vec<Runs>,
    /// Which variant it is compared with, by its place.
    pub baseline: Option<usize>,
    /// Which variant its Δm% is measured from, by its place.
    pub single_task: Option<usize>,
}

/// The table of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The metric.
    pub metric: Metric,
    /// The axes that make the rows.
    pub axes: Vec<String>,
    /// (data set or nothing, task) of each column.
    pub columns: Vec<(String, String)>,
    /// The rows, those of one class together.
    pub rows: Vec<Row>,
    /// The level of the test against the baseline.
    pub level: f64,
}

/// A variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Rows of one class stand together.
    pub class: Option<String>,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The mean over runs.
    pub mean: f64,
    /// The standard deviation over runs, if there are several.
    pub deviation: Option<f64>,
    /// Runs.
    pub n: usize,
    /// Whether no other row has a better mean.
    pub best: bool,
    /// How it differs from the baseline, and between which bounds by the level of the test. Of a metric that is best near to
    /// some number, how much further from that it is.
    pub difference: Option<Difference>,
    /// The p value of the test against the baseline, if there is one to make.
    pub p: Option<f64>,
    /// Whether it is better than the baseline, and the test says that this is no accident.
    pub significant: bool,
}

impl Table {
    /// The table of some variants; `level` is that of the test.
    pub fn new(
        metric: Metric,
        axes: Vec<String>,
        columns: Vec<(String, String)>,
        variants: &[Variant],
        level: f64,
    ) -> Self {
        let better = metric.better();
        let entry = |at: usize, column: usize| {
            let Variant { columns, baseline, .. } = &variants[at];
            let Sample { mean, deviation, n } = Sample::of(&present(&columns[column]))?;
            let pairs = baseline.filter(|baseline| *baseline != at).map(|baseline| {
                let pairs = columns[column].iter().zip(&variants[baseline].columns[column]);
                let tested = |value: &Option<f64>| value.map(|value| tested(better, value));
                pairs.filter_map(|(own, other)| Some((tested(own)?, tested(other)?))).collect::<Vec<_>>()
            });
            let p = pairs.as_ref().and_then(|pairs| paired_t_test(pairs));
            let difference = pairs.and_then(|pairs| Difference::of(&pairs, level));
            let is_gain = |difference: Difference| match better {
                Better::Higher => difference.mean > 0.0,
                Better::Lower | Better::Near(_) => difference.mean < 0.0,
            };
            let significant = difference.is_some_and(is_gain) && p.is_some_and(|p| p < level);
            Some(Entry { mean, deviation, n, best: false, difference, p, significant })
        };
        let mean_of = |row: usize, column: usize| Sample::of(&present(&variants[row].columns[column])).map(|s| s.mean);
        let gain = |at: usize| {
            let single = variants[at].single_task?;
            let of_tasks = (0..columns.len()).filter(|&column| columns[column].1 != MEAN);
            let pair =
                |column| Some(Compared { better, own: mean_of(at, column)?, reference: mean_of(single, column)? });
            // no gain has no sign
            delta_m(of_tasks.map(pair).collect::<Option<Vec<Compared>>>()?).map(|gain| gain + 0.0)
        };
        let row = |(at, variant): (usize, &Variant)| Row {
            class: variant.class.clone(),
            values: variant.values.clone(),
            entries: (0..columns.len()).map(|column| entry(at, column)).collect(),
            delta_m: gain(at),
            baseline: variants.iter().any(|other| other.baseline == Some(at)),
        };
        let mut rows: Vec<Row> = variants.iter().enumerate().map(row).collect();
        mark_best(&mut rows, better);
        // classes in the order in which they first come
        let mut classes: Vec<Option<String>> = Vec::new();
        for row in &rows {
            if !classes.contains(&row.class) {
                classes.push(row.class.clone());
            }
        }
        rows.sort_by_key(|row| classes.iter().position(|class| *class == row.class));
        Self { metric, axes, columns, rows, level }
    }

    /// Whether no run has come to anything yet.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.entries.iter().all(Option::is_none))
    }
}

fn present(runs: &Runs) -> Vec<f64> {
    runs.iter().flatten().copied().collect()
}

/// What the test is made on: the number itself or, where one near to a best one is better, its distance from that.
fn tested(better: Better, value: f64) -> f64 {
    match better {
        Better::Higher | Better::Lower => value,
        Better::Near(best) => (value - best).abs(),
    }
}

fn mark_best(rows: &mut [Row], better: Better) {
    let columns = rows.first().map_or(0, |row| row.entries.len());
    for column in 0..columns {
        let means = rows.iter().filter_map(|row| Some(better.merit(row.entries[column].as_ref()?.mean)));
        let best = means.fold(f64::NEG_INFINITY, f64::max);
        for entry in rows.iter_mut().filter_map(|row| row.entries[column].as_mut()) {
            entry.best = better.merit(entry.mean) == best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_is_better_where_the_metric_says_so() {
        let variant = |name: &str, runs: &[f64]| Variant {
            class: None,
            values: vec![name.to_owned()],
            columns: vec![runs.iter().copied().map(Some).collect()],
            baseline: Some(0),
            single_task: Some(0),
        };
        let variants = [variant("a", &[0.5, 0.6, 0.7]), variant("b", &[0.4, 0.51, 0.59])];
        let table =
            Table::new(Metric::LogLoss, vec!["row".into()], vec![(String::new(), "click".into())], &variants, 0.05);
        let [a, b] = [0, 1].map(|row: usize| table.rows[row].entries[0].clone().unwrap());
        assert!(table.rows[0].baseline && !a.best && a.difference.is_none());
        assert!(b.best && b.significant && b.p.unwrap() < 0.01);
        let Difference { mean, interval: Some((low, high)) } = b.difference.unwrap() else { panic!("three pairs") };
        assert!((mean + 0.1).abs() < 1e-12 && low < mean && mean < high && high < 0.0);
        assert!((table.rows[1].delta_m.unwrap() - 100.0 / 6.0).abs() < 1e-9);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&json).unwrap(), table);
    }
}
