//! A table as people take it away: text, Markdown, CSV. JSON is its serialised form.

use std::fmt::Write;

use super::{Entry, Row, Table};
use crate::metric::Better;

impl Table {
    /// The headings and the rows as text; `emphasis` is put round the best mean of a column.
    fn cells(&self, emphasis: (&str, &str)) -> (Vec<String>, Vec<Vec<String>>) {
        let (classes, gains) = (self.has_classes(), self.has_gains());
        let mut headings: Vec<String> = Vec::new();
        headings.extend(classes.then(|| "class".to_owned()));
        headings.extend(self.axes.iter().cloned());
        headings.extend(self.columns.iter().map(|(data, task)| format!("{data} {task}").trim().to_owned()));
        headings.extend(gains.then(|| "Δm%".to_owned()));
        headings.push("n".to_owned());
        let row = |row: &Row| {
            let mut cells: Vec<String> = Vec::new();
            cells.extend(classes.then(|| row.class.clone().unwrap_or_default()));
            cells.extend(row.values.iter().cloned());
            cells.extend(
                row.entries
                    .iter()
                    .map(|entry| entry.as_ref().map_or_else(|| "-".to_owned(), |entry| entry.text(emphasis))),
            );
            cells.extend(gains.then(|| row.delta_m.map_or_else(|| "-".to_owned(), |gain| format!("{gain:+.2}"))));
            cells.push(row.n().to_string());
            cells
        };
        (headings, self.rows.iter().map(row).collect())
    }

    /// Whether any row belongs to a class.
    pub fn has_classes(&self) -> bool {
        self.rows.iter().any(|row| row.class.is_some())
    }

    /// Whether any row has a Δm%.
    pub fn has_gains(&self) -> bool {
        self.rows.iter().any(|row| row.delta_m.is_some())
    }

    /// What the marks mean.
    pub fn legend(&self) -> String {
        let mut text =
            format!("{}: mean over seeds ± standard deviation, n seeds; best of a column marked", self.metric.name());
        if let Better::Near(best) = self.metric.better() {
            let _ = write!(text, " (nearest to {best})");
        }
        if self.rows.iter().any(|row| row.baseline) {
            let _ = write!(text, "; ‡ better than the baseline, paired t-test over seeds, p < {}", self.level);
        }
        if self.has_gains() {
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
        text.push_str(",data,task,metric,mean,deviation,n,best,difference,low,high,p,significant,delta_m\n");
        for row in &self.rows {
            for ((data, task), entry) in self.columns.iter().zip(&row.entries) {
                let Some(entry) = entry else { continue };
                let mut fields: Vec<String> = vec![quoted(row.class.as_deref().unwrap_or_default())];
                fields.extend(row.values.iter().map(|value| quoted(value)));
                fields.extend([quoted(data), quoted(task), self.metric.name().to_owned(), entry.mean.to_string()]);
                fields.extend([number(entry.deviation), entry.n.to_string(), entry.best.to_string()]);
                let interval = entry.difference.and_then(|difference| difference.interval);
                fields.extend([
                    number(entry.difference.map(|difference| difference.mean)),
                    number(interval.map(|(low, _)| low)),
                    number(interval.map(|(_, high)| high)),
                ]);
                fields.extend([number(entry.p), entry.significant.to_string(), number(row.delta_m)]);
                let _ = writeln!(text, "{}", fields.join(","));
            }
        }
        text
    }
}

impl Row {
    /// The variant in one line.
    pub fn label(&self) -> String {
        self.values.join(" · ")
    }

    /// How many runs the entry with the fewest has; 0 without any.
    pub fn n(&self) -> usize {
        self.entries.iter().flatten().map(|entry| entry.n).min().unwrap_or(0)
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
