//! What a table says, in sentences: what is best, by how much, and whether the runs are enough to say so.

use crate::comparison::{Row, Table};
use crate::metric::MEAN;
use crate::readable;
use crate::run::{GoldenComparison, Line};

/// What can be read off a table, most important first; nothing of an empty one.
pub(super) fn of_table(table: &Table) -> Vec<String> {
    let of_means: Vec<usize> = (0..table.columns.len()).filter(|&column| table.columns[column].1 == MEAN).collect();
    let mut sentences: Vec<String> = of_means.iter().filter_map(|&column| best(table, column)).collect();
    sentences.extend(tests(table, &of_means));
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

/// How many rows the test calls better and worse, and how many it would by accident.
fn tests(table: &Table, of_means: &[usize]) -> Option<String> {
    let entries =
        || of_means.iter().flat_map(|&column| table.rows.iter().filter_map(move |row| row.entries[column].as_ref()));
    let tested: Vec<_> = entries().filter(|entry| entry.p.is_some()).collect();
    if tested.is_empty() {
        return None;
    }
    let counts = |better: bool| {
        tested.iter().filter(|entry| entry.p.is_some_and(|p| p < table.level) && entry.significant == better).count()
    };
    let (better, worse) = (counts(true), counts(false));
    Some(format!(
        "Of {} comparisons of means with a baseline, {better} are better and {worse} worse at the level of {}. The tests are \
         not corrected for their number: where nothing differs, about {:.1} would be called better all the same.",
        tested.len(),
        table.level,
        tested.len() as f64 * table.level / 2.0
    ))
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
        of_table(&Table::new(Metric::Auc, vec!["balancer".into()], columns, variants, 0.05)).join("\n")
    }

    #[test]
    fn sentences_say_what_is_best_and_whether_that_counts() {
        let ls = variant("Ls", &[0.5, 0.6, 0.7], Some(0));
        let gains = variant("Famo", &[0.51, 0.611, 0.709], Some(0));
        insta::assert_snapshot!(sentences(&[ls.clone(), gains], "ES"), @r"
        ES: Famo has the best mean Auc: 0.6100 ± 0.0995 over 3 runs, +0.0100 from its baseline (95 % interval +0.0075 to +0.0125, p = 0.003): the runs tell the two apart.
        Of 1 comparisons of means with a baseline, 1 are better and 0 worse at the level of 0.05. The tests are not corrected for their number: where nothing differs, about 0.0 would be called better all the same.
        ");
        let either = variant("Pub", &[0.4, 0.75, 0.71], Some(0));
        assert!(sentences(&[ls.clone(), either], "").contains("the runs do not tell the two apart"));
        let worse = variant("Uw", &[0.4, 0.51, 0.59], Some(0));
        let text = sentences(&[ls, worse], "");
        assert!(
            text.contains("it is itself a baseline, and no row is ahead") && text.contains("0 are better and 1 worse")
        );
        let once = [variant("Ls", &[0.5], Some(0)), variant("Famo", &[0.6], Some(0))];
        assert_eq!(
            sentences(&once, ""),
            "Famo has the best mean Auc: 0.6000 over one run, +0.1000 from its baseline; one run cannot say whether that is more than chance."
        );
        assert_eq!(sentences(&[variant("Ls", &[], None)], ""), "");
    }
}
