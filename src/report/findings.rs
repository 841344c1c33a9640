//! What a table says, in sentences: what is best, by how much, and whether the runs are enough to say so.

use crate::comparison::{Row, Table};
use crate::metric::MEAN;
use crate::readable;
use crate::run::{GoldenComparison, Line};

/// What can be read off some tables of the same rows, one for each metric, most important first; nothing of empty ones.
pub(super) fn of_tables(tables: &[Table]) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    let mut counts: Vec<(Counts, Vec<&str>)> = Vec::new();
    for table in tables {
        let of_means: Vec<usize> = (0..table.columns.len()).filter(|&column| table.columns[column].1 == MEAN).collect();
        sentences.extend(of_means.iter().filter_map(|&column| best(table, column)));
        let own = Counts::of(table);
        match counts.iter_mut().find(|(known, _)| *known == own) {
            _ if own.tested == 0 => {}
            Some((_, metrics)) => metrics.push(table.metric.name()),
            None => counts.push((own, vec![table.metric.name()])),
        }
    }
    sentences.extend(counts.iter().map(|(counts, metrics)| {
        let of = if tables.len() == 1 { String::new() } else { format!("{}: ", metrics.join(", ")) };
        counts.sentence(&of)
    }));
    sentences.extend(by_accident(&counts));
    sentences
}

/// Whether the blessed metrics hold, and which do not; `current` says whether all the numbers are what the file asks for.
pub(super) fn of_golden(file: &str, comparison: &GoldenComparison, current: bool) -> String {
    const SHOWN: usize = 4;
    let failing: Vec<&Line> = comparison.lines.iter().filter(|line| line.fails).collect();
    let all = comparison.lines.len();
    let stale = if current { "" } else { "; out of date" };
    if failing.is_empty() {
        return format!("All {all} metrics of {file} hold{stale}.");
    }
    let shown = failing.iter().take(SHOWN).map(|line| {
        let [expected, got] = [line.expected, line.got].map(|value| readable::number(value, 4));
        format!("{} {} {}: {got} where {expected} is expected", line.stage, line.metric, line.task)
    });
    let shown: Vec<String> = shown.collect();
    let more = failing.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{} of {all} metrics of {file} do not hold: {}{more}{stale}.", failing.len(), shown.join("; "))
}

/// Who is best in a column, and whether it is better than the baseline.
fn best(table: &Table, column: usize) -> Option<String> {
    let row = table.rows.iter().find(|row| row.entries[column].as_ref().is_some_and(|entry| entry.best))?;
    let entry = row.entries[column].as_ref()?;
    let (data, _) = &table.columns[column];
    let on = if data.is_empty() { "".to_owned() } else { format!("{data}: ") };
    let metric = table.metric.name();
    let spread = entry.deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.4}"));
    let runs = if entry.n == 1 { "one run".to_owned() } else { format!("{} runs", entry.n) };
    let mut text = format!("{on}{} has the best mean {metric}: {:.4}{spread} over {runs}", name(row), entry.mean);
    let Some(difference) = entry.difference else {
        if row.baseline {
            text.push_str("; it is itself a baseline, and no row is ahead of it");
        }
        return Some(text + ".");
    };
    text.push_str(&format!(", {:+.4} from its baseline", difference.mean));
    match (difference.interval, entry.p) {
        (Some((low, high)), Some(p)) => {
            let confidence = 100.0 * (1.0 - table.level);
            text.push_str(&format!(" ({confidence:.0} % interval {low:+.4} to {high:+.4}, p = {p:.3})"));
            text.push_str(if entry.significant {
                ": the runs tell the two apart."
            } else {
                ": the runs do not tell the two apart."
            });
        }
        _ => text.push_str("; one run cannot say whether that is more than chance."),
    }
    Some(text)
}

/// What the tests of a table come to.
#[derive(Debug, PartialEq)]
struct Counts {
    /// Means over tasks that are tested against a baseline's.
    tested: usize,
    better: usize,
    worse: usize,
    /// Single tasks that the table marks as better: they are not among the means.
    marked: usize,
    level: f64,
}

impl Counts {
    fn of(table: &Table) -> Self {
        let mut counts = Self { tested: 0, better: 0, worse: 0, marked: 0, level: table.level };
        for (column, (_, task)) in table.columns.iter().enumerate() {
            for entry in table.rows.iter().filter_map(|row| row.entries[column].as_ref()) {
                let Some(p) = entry.p else { continue };
                if task != MEAN {
                    counts.marked += usize::from(entry.significant);
                    continue;
                }
                counts.tested += 1;
                counts.better += usize::from(entry.significant);
                counts.worse += usize::from(p < table.level && !entry.significant);
            }
        }
        counts
    }

    /// How many means the test calls better and worse; `of` says by which metrics.
    fn sentence(&self, of: &str) -> String {
        let Self { tested, better, worse, marked, level } = self;
        let are = |count: &usize| match count {
            0 => "none is".to_owned(),
            1 => "1 is".to_owned(),
            _ => format!("{count} are"),
        };
        let found = match (tested, better, worse) {
            (1, 1, _) => "the one mean over tasks that has a baseline is better than it".to_owned(),
            (1, _, 1) => "the one mean over tasks that has a baseline is worse than it".to_owned(),
            (1, ..) => "the one mean over tasks that has a baseline is neither better nor worse than it".to_owned(),
            (_, 0, 0) => format!("of {tested} means over tasks that have a baseline, none is better or worse than it"),
            _ => format!(
                "of {tested} means over tasks that have a baseline, {} better than it and {} worse",
                are(better),
                are(worse)
            ),
        };
        let found = if of.is_empty() { format!("{}{}", found[..1].to_uppercase(), &found[1..]) } else { found };
        let marked = match marked {
            0 => String::new(),
            1 => "; the table marks 1 single task as better, which is not counted here".to_owned(),
            _ => format!("; the table marks {marked} single tasks as better, which are not counted here"),
        };
        format!("{of}{found} at the level of {level}{marked}.")
    }
}

/// How many means the tests would call better by accident; nothing where no metric has more than one to test.
fn by_accident(counts: &[(Counts, Vec<&str>)]) -> Option<String> {
    counts.iter().any(|(counts, _)| counts.tested > 1).then(|| {
        let tested: usize = counts.iter().map(|(counts, metrics)| counts.tested * metrics.len()).sum();
        let of = |(counts, metrics): &(Counts, Vec<&str>)| (counts.tested * metrics.len()) as f64 * counts.level / 2.0;
        let better: f64 = counts.iter().map(of).sum();
        let better = if better < 0.1 { "fewer than 0.1".to_owned() } else { format!("about {better:.1}") };
        format!(
            "The tests are not corrected for their number: where nothing differs, {better} of the {tested} would be called \
             better all the same."
        )
    })
}

fn name(row: &Row) -> String {
    if row.values.is_empty() { "The only variant".to_owned() } else { row.label() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Variant;
    use crate::metric::Metric;

    fn variant(name: &str, runs: &[f64], baseline: Option<usize>) -> Variant {
        let columns = vec![runs.iter().copied().map(Some).collect()];
        Variant { class: None, values: vec![name.to_owned()], columns, baseline, single_task: None }
    }

    fn sentences(variants: &[Variant], data: &str) -> String {
        let columns = vec![(data.to_owned(), MEAN.to_owned())];
        of_tables(&[Table::new(Metric::Auc, vec!["balancer".into()], columns, variants, 0.05)]).join("\n")
    }

    #[test]
    fn sentences_say_what_is_best_and_whether_that_counts() {
        let ls = variant("Ls", &[0.5, 0.6, 0.7], Some(0));
        let gains = variant("Famo", &[0.51, 0.611, 0.709], Some(0));
        insta::assert_snapshot!(sentences(&[ls.clone(), gains], "ES"), @r"
        ES: Famo has the best mean Auc: 0.6100 ± 0.0995 over 3 runs, +0.0100 from its baseline (95 % interval +0.0075 to +0.0125, p = 0.003): the runs tell the two apart.
        The one mean over tasks that has a baseline is better than it at the level of 0.05.
        ");
        let either = variant("Pub", &[0.4, 0.75, 0.71], Some(0));
        let neither = sentences(&[ls.clone(), either], "");
        assert!(neither.contains("the runs do not tell the two apart"), "{neither}");
        assert!(neither.contains("has a baseline is neither better nor worse than it at the level"), "{neither}");
        let worse = variant("Uw", &[0.4, 0.51, 0.59], Some(0));
        let text = sentences(&[ls, worse], "");
        assert!(
            text.contains("it is itself a baseline, and no row is ahead")
                && text.contains("has a baseline is worse than it")
        );
        let once = [variant("Ls", &[0.5], Some(0)), variant("Famo", &[0.6], Some(0))];
        assert_eq!(
            sentences(&once, ""),
            "Famo has the best mean Auc: 0.6000 over one run, +0.1000 from its baseline; one run cannot say whether that is more than chance."
        );
        assert_eq!(sentences(&[variant("Ls", &[], None)], ""), "");
    }

    /// Runs of a row in the columns `click` and mean over tasks.
    fn two_columns(name: &str, click: [f64; 3], mean: [f64; 3]) -> Variant {
        let columns = [click, mean].map(|runs| runs.map(Some).to_vec()).to_vec();
        Variant { columns, ..variant(name, &[], Some(0)) }
    }

    fn table(metric: Metric, variants: &[Variant]) -> Table {
        let columns = ["click", MEAN].map(|task| (String::new(), task.to_owned())).to_vec();
        Table::new(metric, vec!["balancer".into()], columns, variants, 0.05)
    }

    /// What is said of the tests, after what is best.
    fn of_tests(tables: &[Table]) -> String {
        let mut all = of_tables(tables);
        all.retain(|sentence| !sentence.contains("has the best mean"));
        all.join("\n")
    }

    #[test]
    fn tests_are_counted_once_over_all_metrics() {
        let ls = two_columns("Ls", [0.5, 0.6, 0.7], [0.5, 0.6, 0.7]);
        let ahead = two_columns("Famo", [0.51, 0.611, 0.709], [0.51, 0.611, 0.709]);
        let at_click = two_columns("Pub", [0.51, 0.611, 0.709], [0.4, 0.75, 0.71]);
        let behind = two_columns("Uw", [0.4, 0.51, 0.59], [0.4, 0.51, 0.59]);
        let one = [ls.clone(), at_click.clone()];
        assert_eq!(
            of_tests(&[table(Metric::Auc, &one)]),
            "The one mean over tasks that has a baseline is neither better nor worse than it at the level of 0.05; \
             the table marks 1 single task as better, which is not counted here."
        );
        let one = [ls.clone(), two_columns("Pub", [0.4, 0.75, 0.71], [0.4, 0.75, 0.71])];
        assert_eq!(
            of_tests(&[table(Metric::Auc, &one), table(Metric::LogLoss, &one)]),
            "Auc, LogLoss: the one mean over tasks that has a baseline is neither better nor worse than it at the level of 0.05."
        );
        let three = [ls.clone(), ahead, at_click, behind];
        insta::assert_snapshot!(of_tests(&[table(Metric::Auc, &three), table(Metric::LogLoss, &three)]), @r"
        Auc: of 3 means over tasks that have a baseline, 1 is better than it and 1 is worse at the level of 0.05; the table marks 2 single tasks as better, which are not counted here.
        LogLoss: of 3 means over tasks that have a baseline, 1 is better than it and 1 is worse at the level of 0.05; the table marks 1 single task as better, which is not counted here.
        The tests are not corrected for their number: where nothing differs, about 0.2 of the 6 would be called better all the same.
        ");
        let many: Vec<Variant> = std::iter::once(ls.clone()).chain((0..4).map(|_| one[1].clone())).collect();
        insta::assert_snapshot!(of_tests(&[table(Metric::Auc, &many)]), @r"
        Of 4 means over tasks that have a baseline, none is better or worse than it at the level of 0.05.
        The tests are not corrected for their number: where nothing differs, about 0.1 of the 4 would be called better all the same.
        ");
        assert_eq!(of_tests(&[table(Metric::Auc, &[ls])]), "");
    }
}
