//! Tables in plain aligned columns: readable without colour, and by `awk`.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use crate::run::{How, Report, StageEvaluation};

/// A column's heading and whether it holds numbers.
pub(super) type Column = (&'static str, bool);

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

/// The metrics of evaluations, with the notice that simulated ones need.
pub(super) fn metrics(evaluations: &[StageEvaluation]) -> String {
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
        let mut columns = vec![("metric", false), ("task", false), ("value", true)];
        if attainable {
            columns.push(("best attainable", true));
        }
        let rows = evaluation.values.iter().map(|value| {
            let task = match value.over {
                Some(tasks) => format!("{} of {tasks}", value.task),
                None => value.task.clone(),
            };
            let mut row = vec![value.metric.clone(), task, number(value.value, 4)];
            if attainable {
                row.push(value.attainable.map_or_else(String::new, |best| number(Some(best), 4)));
            }
            row
        });
        text.push_str(&table(&columns, rows));
    }
    text
}

/// A metric with this many decimals; an undefined one says so.
pub(super) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.decimals$}"))
}

/// `0.4 s`, `3 min 12 s`, `2 h 5 min`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `512 B`, `3.4 MB`: powers of a thousand, as disks are sold.
pub(super) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if size < 1000 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Evaluation, MetricValue};

    #[test]
    fn metrics_carry_the_simulated_notice_and_what_is_attainable() {
        let value = |task: &str, value, attainable, over| MetricValue {
            metric: "Auc".into(),
            task: task.into(),
            value,
            attainable,
            over,
        };
        let evaluation = Evaluation {
            on: "Test".into(),
            rows: 7500,
            simulated: true,
            values: vec![
                value("click", Some(0.71234), Some(0.73), None),
                value("conversion", None, None, None),
                value("mean", Some(0.71234), None, Some(1)),
            ],
        };
        let evaluations = [StageEvaluation { stage: "evaluate".into(), evaluation, reached: true }];
        insta::assert_snapshot!(metrics(&evaluations), @r"
        SIMULATED DATA: the numbers below come from a simulated log and say nothing about the real one

        evaluate: 7500 test rows, simulated
        metric  task            value  best attainable
        Auc     click          0.7123           0.7300
        Auc     conversion  undefined
        Auc     mean of 1      0.7123
        ");
    }

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_millis(430)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(192)), "3 min 12 s");
        assert_eq!(duration(Duration::from_secs(7500)), "2 h 5 min");
        assert_eq!(
            ["999 B", "1.0 kB", "1.0 MB", "3.4 MB"],
            [999, 1000, 999_990, 3_400_000].map(bytes).each_ref().map(|s| s.as_str())
        );
    }
}
