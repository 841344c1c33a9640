//! `Compare`: one table of several evaluations.

use std::fs;

use super::{Context, Execute, Inputs, METRICS, Outcome, StageError};
use crate::comparison::{Runs, Table, Variant};
use crate::metric::{Evaluation, MEAN, Metric};
use crate::spec::Compare;
use crate::store::Draft;

/// Where the tables lie in an artifact: a list of [`Table`], one for each metric.
pub const TABLES: &str = "tables.json";
/// The same for people.
const MARKDOWN: &str = "tables.md";

impl Execute for Compare {
    const REVISION: u32 = 1;

    fn run(&self, _cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        // by row and run
        let mut found: Vec<Vec<Evaluation>> = Vec::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter().enumerate() {
            let read = |run| {
                let path = inputs.get(&Self::field(at, run)).file(METRICS)?;
                let cannot_read = |source| StageError::Io { action: "cannot read", path: path.clone(), source };
                let bytes = fs::read(&path).map_err(cannot_read)?;
                serde_json::from_slice(&bytes)
                    .map_err(|error| StageError::failed(format!("cannot understand `{}`: {error}", path.display())))
            };
            found.push((0..row.runs.len()).map(read).collect::<Result<_, StageError>>()?);
        }
        let tables: Vec<Table> = self.metrics.iter().map(|&metric| table(self, metric, &found)).collect();
        let json = serde_json::to_vec_pretty(&tables)
            .map_err(|error| StageError::failed(format!("cannot write the tables: {error}")))?;
        out.write(TABLES, &json)?;
        let markdown: Vec<String> = tables.iter().map(Table::markdown).collect();
        out.write(MARKDOWN, markdown.join("\n").as_bytes())?;
        Ok(Outcome { simulated: false, summary: summary(&tables) })
    }
}

/// The table of one metric; `found` holds the evaluations by row and run.
fn table(stage: &Compare, metric: Metric, found: &[Vec<Evaluation>]) -> Table {
    let mut columns: Vec<(String, String)> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (row, runs) in stage.rows.iter().zip(found) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
        for value in runs.iter().flat_map(|run| &run.values).filter(|value| value.metric == metric.name()) {
            let column = (row.data.clone(), value.task.clone());
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
    }
    // those of one data set together
    let mut data: Vec<&str> = stage.rows.iter().map(|row| row.data.as_str()).collect();
    let mut seen = std::collections::HashSet::new();
    data.retain(|name| seen.insert(*name));
    columns.sort_by_key(|(name, _)| data.iter().position(|known| known == name));

    let place = |name: &Option<String>| names.iter().position(|known| Some(*known) == name.as_deref());
    let (baseline, single_task) = (place(&stage.baseline), place(&stage.single_task));
    let variant = |name: &&str| {
        let rows = || stage.rows.iter().zip(found).filter(|(row, _)| row.name == **name);
        let runs_in = |(data, task): &(String, String)| -> Runs {
            let runs = rows().filter(|(row, _)| row.data == *data).flat_map(|(_, runs)| runs);
            let of = |run: &Evaluation| {
                run.values.iter().find(|value| value.metric == metric.name() && value.task == *task)?.value
            };
            runs.map(of).collect()
        };
        Variant {
            class: rows().find_map(|(row, _)| row.class.clone()),
            values: vec![(*name).to_owned()],
            columns: columns.iter().map(runs_in).collect(),
            baseline,
            single_task,
        }
    };
    let variants: Vec<Variant> = names.iter().map(variant).collect();
    Table::new(metric, vec!["row".to_owned()], columns.clone(), &variants, stage.test.level())
}

/// `3 rows over 5 runs, best mean Auc 0.7712 (Famo)`.
fn summary(tables: &[Table]) -> String {
    let Some(table) = tables.first() else { return String::new() };
    let runs = table.rows.iter().map(crate::comparison::Row::n).max().unwrap_or(0);
    let best = |(column, name): (usize, &(String, String))| {
        let row = table.rows.iter().find(|row| row.entries[column].as_ref().is_some_and(|entry| entry.best))?;
        let (data, task) = name;
        let mean = row.entries[column].as_ref()?.mean;
        Some(format!(
            ", best {} {} {mean:.4} ({})",
            format!("{data} {task}").trim(),
            table.metric.name(),
            row.values[0]
        ))
    };
    let of_means = table.columns.iter().enumerate().filter(|(_, (_, task))| task == MEAN);
    let best: Vec<String> = of_means.filter_map(best).collect();
    format!("{} rows, {runs} runs each{}", table.rows.len(), best.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricValue;
    use crate::spec::{CompareRow, Significance};

    fn evaluation(click: f64, mean: f64) -> Evaluation {
        let value = |task: &str, value| MetricValue {
            metric: "Auc".into(),
            task: task.into(),
            value: Some(value),
            attainable: None,
            over: None,
            groups: None,
        };
        Evaluation {
            on: "Test".into(),
            rows: 10,
            simulated: false,
            values: vec![value("click", click), value("mean", mean)],
            reliability: Vec::new(),
        }
    }

    #[test]
    fn rows_of_one_name_are_one_row_and_data_sets_are_columns() {
        let row = |name: &str, data: &str, runs: usize| CompareRow {
            name: name.into(),
            class: None,
            data: data.into(),
            runs: vec![String::new(); runs],
        };
        let stage = Compare {
            rows: vec![row("Ls", "US", 2), row("Ls", "ES", 2), row("Famo", "ES", 2)],
            metrics: vec![Metric::Auc],
            baseline: Some("Ls".into()),
            single_task: Some("Ls".into()),
            test: Significance::default(),
            resources: Default::default(),
        };
        let found = [
            vec![evaluation(0.5, 0.6), evaluation(0.7, 0.6)],
            vec![evaluation(0.8, 0.8), evaluation(0.8, 0.8)],
            vec![evaluation(0.9, 0.8), evaluation(0.9, 0.8)],
        ];
        let table = table(&stage, Metric::Auc, &found);
        insta::assert_snapshot!(table.markdown(), @r"
        | row | US click | US mean | ES click | ES mean | Δm% | n |
        |---|---|---|---|---|---|---|
        | Ls | **0.6000** ±0.1414 | **0.6000** ±0.0000 | 0.8000 ±0.0000 | **0.8000** ±0.0000 | +0.00 | 2 |
        | Famo | - | - | **0.9000**‡ ±0.0000 | **0.8000** ±0.0000 | - | 2 |

        Auc: mean over seeds ± standard deviation, n seeds; best of a column marked; ‡ better than the baseline, paired t-test over seeds, p < 0.05; Δm% mean relative gain over single-task
        ");
        assert_eq!(
            summary(&[table]),
            "2 rows, 2 runs each, best US mean Auc 0.6000 (Ls), best ES mean Auc 0.8000 (Ls)"
        );
    }
}
