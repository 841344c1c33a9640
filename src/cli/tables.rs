//! Tables in plain aligned columns: readable without colour, and by `awk`.

use std::fmt::Write;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use crate::comparison;
use crate::readable::{duration, from_here, number};
use crate::run::{How, Report, Results, StageEvaluation, StagePredictions, StageTables, StageToy};

/// A column's heading and whether it holds numbers.
pub(super) type Column<'a> = (&'a str, bool);

/// A table with these columns, numbers to the right.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    // Never wrapped or padded to a terminal's width: the text is the same wherever it goes.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    table.add_rows(rows);
    for (at, (_, number)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2)).set_constraint(ColumnConstraint::ContentWidth);
            column.set_cell_alignment(if *number { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The stages of a run and what came of them.
pub(super) fn stages(report: &Report) -> String {
    let columns = [("stage", false), ("kind", false), ("result", false), ("time", true), ("artifact", false)];
    let rows = report.stages.iter().map(|stage| {
        let made = stage.made();
        let time = match made.map(|made| &made.how) {
            Some(How::Ran { took, .. }) => duration(*took),
            _ => String::new(),
        };
        let artifact = made.map_or_else(String::new, |made| {
            let manifest = made.artifact.manifest();
            let mark = if manifest.simulated { "simulated: " } else { "" };
            format!("{mark}{}", manifest.summary)
        });
        vec![stage.name.clone(), stage.kind.to_owned(), stage.result.to_string(), time, artifact]
    });
    table(&columns, rows)
}

/// All numbers that stages came to, one table each.
pub(super) fn results(results: &Results) -> String {
    let comparisons = results.comparisons.iter().map(compared);
    let predictions = results.predictions.iter().map(predicted);
    let tables = [metrics(&results.evaluations)].into_iter().chain(predictions).chain(comparisons);
    tables.chain(results.toys.iter().map(toy)).filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What a `Predict` stage expects, which ids it did not know, and where its file lies.
fn predicted(StagePredictions { stage, predictions, simulated, counts, .. }: &StagePredictions) -> String {
    let mark = if *simulated { ", by a model of simulated data" } else { "" };
    let mut text = format!("{stage}: {} rows of {}{mark}\n", counts.rows, counts.file);
    let means = counts.tasks.iter().map(|task| vec![task.task.clone(), number(Some(task.mean), 4)]);
    text += &table(&[("task", false), ("mean probability", true)], means);
    let unseen = counts.with_unseen();
    if !unseen.is_empty() {
        let row = |rows: u64| [rows.to_string(), counts.percentage(rows)];
        let rows = unseen.iter().map(|of| std::iter::once(of.field.clone()).chain(row(of.rows)).collect());
        let columns = [("field", false), ("rows with an id unseen in training", true), ("share", true)];
        text += &format!("\n{}", table(&columns, rows));
    }
    let _ = writeln!(text, "predictions: {}", from_here(predictions).display());
    text
}

/// The tables of a `Compare` stage.
fn compared(StageTables { stage, simulated, tables, .. }: &StageTables) -> String {
    let mark = if *simulated { ", simulated" } else { "" };
    let text = |table| format!("{stage}{mark}\n{}", comparison(table));
    tables.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// A table of variants, and what its marks mean.
pub(super) fn comparison(comparison: &comparison::Table) -> String {
    let (headings, rows) = comparison.text();
    let columns: Vec<Column> = headings.iter().map(|heading| (heading.as_str(), false)).collect();
    format!("{}\n{}\n", table(&columns, rows), comparison.legend())
}

/// Where each start of a toy problem ended, and where its figure lies.
fn toy(StageToy { stage, figure, result, .. }: &StageToy) -> String {
    let loss = |loss: f64| number(Some(loss), 3);
    let [l1, l2] = result.optimum.losses.map(loss);
    let mut text =
        format!("{stage}: losses (l1, l2) after {} steps, scale {}; L* is ({l1}, {l2})\n", result.steps, result.scale);
    let columns =
        [("balancer", false), ("start (x1, x2)", false), ("l1", true), ("l2", true), ("distance to L*", true)];
    let rows = result.ends.iter().map(|end| {
        let [x1, x2] = end.start.x;
        let distance = match end.broke_off {
            Some(step) => format!("not finite from step {step} on"),
            None => loss(end.distance),
        };
        let [l1, l2] = end.end.losses.map(loss);
        vec![end.balancer.clone(), format!("({x1}, {x2})"), l1, l2, distance]
    });
    text.push_str(&table(&columns, rows));
    let _ = writeln!(text, "figure: {}", from_here(figure).display());
    text
}

/// The metrics of evaluations, with the notice that simulated ones need.
fn metrics(evaluations: &[StageEvaluation]) -> String {
    let mut text = String::new();
    if evaluations.iter().any(|found| found.evaluation.simulated) {
        text.push_str(
            "SIMULATED DATA: the numbers below come from a simulated log and say nothing about the real one\n\n",
        );
    }
    for (at, StageEvaluation { stage, evaluation, .. }) in evaluations.iter().enumerate() {
        let mark = if evaluation.simulated { ", simulated" } else { "" };
        let gap = if at == 0 { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{stage}: {} {} rows{mark}", evaluation.rows, evaluation.on.to_lowercase());
        let attainable = evaluation.values.iter().any(|value| value.attainable.is_some());
        let groups = evaluation.values.iter().any(|value| value.groups.is_some());
        let mut columns = vec![("metric", false), ("task", false), ("value", true)];
        columns.extend(attainable.then_some(("best attainable", true)));
        columns.extend(groups.then_some(("groups", true)));
        let rows = evaluation.values.iter().map(|value| {
            let task = match value.over {
                Some(tasks) => format!("{} of {tasks}", value.task),
                None => value.task.clone(),
            };
            let mut row = vec![value.metric.clone(), task, number(value.value, 4)];
            if attainable {
                row.push(value.attainable.map_or_else(String::new, |best| number(Some(best), 4)));
            }
            if groups {
                row.push(value.groups.map_or_else(String::new, |groups| groups.to_string()));
            }
            row
        });
        text.push_str(&table(&columns, rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Evaluation, MetricValue};
    use crate::stage::toy::{End, Place, ToyResult};

    #[test]
    fn metrics_carry_the_simulated_notice_and_what_is_attainable() {
        let value = |task: &str, value, attainable, over| MetricValue {
            metric: "Auc".into(),
            task: task.into(),
            value,
            attainable,
            over,
            groups: None,
        };
        let gauc =
            MetricValue { metric: "Gauc".into(), groups: Some(812), ..value("click", Some(0.6), Some(0.65), None) };
        let evaluation = Evaluation {
            on: "Test".into(),
            rows: 7500,
            simulated: true,
            values: vec![
                value("click", Some(0.71234), Some(0.73), None),
                value("conversion", None, None, None),
                value("mean", Some(0.71234), None, Some(1)),
                gauc,
            ],
            reliability: Vec::new(),
        };
        let evaluations = [StageEvaluation { stage: "evaluate".into(), evaluation, reached: true }];
        insta::assert_snapshot!(metrics(&evaluations), @r"
        SIMULATED DATA: the numbers below come from a simulated log and say nothing about the real one

        evaluate: 7500 test rows, simulated
        metric  task            value  best attainable  groups
        Auc     click          0.7123           0.7300
        Auc     conversion  undefined
        Auc     mean of 1      0.7123
        Gauc    click          0.6000           0.6500     812
        ");
    }

    #[test]
    fn toys_say_where_each_start_ended_and_where_the_figure_is() {
        let place = |x, losses| Place { x, losses };
        let optimum = place([0.0, -8.355], [-15.091_638, -15.091_638]);
        let end = |balancer: &str, start, losses, distance, broke_off| End {
            balancer: balancer.into(),
            start: place(start, [1.0, 1.0]),
            end: place([0.0, 0.0], losses),
            distance,
            after_1000_steps: None,
            broke_off,
        };
        let ends = vec![
            end("Ls", [-8.5, 7.5], [0.931, 6.484], 26.88, None),
            end("CaGrad(c: 0.5)", [0.0, 0.0], [-15.09, -15.093], 0.0003, None),
            end("ImtlL", [9.0, -1.0], [-0.0001, 2.0], 22.0, Some(77)),
        ];
        let result = ToyResult { steps: 50_000, scale: 1.0, optimum, ends };
        let toy = StageToy { stage: "toy".into(), figure: "/store/figure.svg".into(), result, reached: true };
        insta::assert_snapshot!(results(&Results { toys: vec![toy], ..Results::default() }), @r"
        toy: losses (l1, l2) after 50000 steps, scale 1; L* is (-15.092, -15.092)
        balancer        start (x1, x2)       l1       l2              distance to L*
        Ls              (-8.5, 7.5)       0.931    6.484                      26.880
        CaGrad(c: 0.5)  (0, 0)          -15.090  -15.093                       0.000
        ImtlL           (9, -1)           0.000    2.000  not finite from step 77 on
        figure: /store/figure.svg
        ");
    }
}
