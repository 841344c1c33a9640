//! A pipeline file that teaches how to change it.

use std::fmt::Write;
use std::path::Path;

use super::column::{Column, Part};
use super::look::Look;
use crate::registry::to_ron;

/// Columns a line.
const WIDE: usize = 110;

/// A pipeline's name for a file: its own without extensions, with `_` for what a name may not hold.
pub fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut stem = name.as_str();
    for extension in [".gz", ".csv", ".tsv", ".tab", ".txt"] {
        stem = stem.strip_suffix(extension).unwrap_or(stem);
    }
    let plain: String =
        stem.chars().map(|c| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }).collect();
    let plain = plain.trim_matches(['_', '-', '.']);
    if plain.is_empty() { "log".to_owned() } else { plain.to_owned() }
}

/// The pipeline's text: `train` is the file as the pipeline finds it, from the project's folder.
pub fn pipeline(name: &str, train: &str, look: &Look) -> String {
    let quoted = |text: &str| to_ron(&text.to_owned());
    let labels = look.names(Part::Label);
    let first = if look.all { "" } else { "first " };
    let mut text = format!(
        "// A first pipeline for {}, written by `mtorec init` from a look at its {first}{} rows.\n\
         // Whatever it guessed wrong is yours to change; `mtorec check` says whether a change makes sense.\n\
         Pipeline(\n    name: {},\n    stages: {{\n",
        quoted(train),
        look.rows,
        quoted(name)
    );
    text += "        \"download\": Download(dataset: Csv(\n";
    let _ = writeln!(text, "            train: {},", quoted(train));
    if let Some(delimiter) = look.delimiter {
        text += "            // What stands between two fields, here and in the rows to score.\n";
        // escapes are the same in both languages
        let _ = writeln!(text, "            delimiter: {delimiter:?},");
    }
    text += "            // What the model predicts: 0 or 1 in each row, a task for each column.\n";
    list(&mut text, "labels", &labels);
    text += "            // Categories: each value gets an embedding; values that no training row has share one.\n";
    list(&mut text, "categorical", &look.names(Part::Categorical));
    let numerical = look.names(Part::Numerical);
    text += "            // Numbers.\n";
    list(&mut text, "numerical", &numerical);
    if !numerical.is_empty() {
        text += "            // Networks learn badly from numbers far from 1: these are brought to mean 0 and variance 1. For counts and\n\
                 \x20           // amounts with a few very large ones, `Log1pStandardise` takes their logarithm first.\n";
        let standardised = numerical.iter().map(|name| format!("{}: Standardise", quoted(name)));
        entries(&mut text, "transforms: {", &standardised.collect::<Vec<_>>(), "},");
    }
    part_to_name(
        &mut text,
        "Rows of one user or search belong together?",
        "and measure with `metrics: [Auc, Gauc]`",
        &look.group().map_or_else(|| "group: \"user\",".to_owned(), |name| format!("group: {},", quoted(name))),
    );
    let time = look.names(Part::Time).first().map(|name| format!("time: {},", quoted(name)));
    match &time {
        Some(time) => {
            text += "            // When rows were logged, for splits by time; no feature.\n";
            let _ = writeln!(text, "            {time}");
        }
        None => part_to_name(
            &mut text,
            "A column says when rows were logged?",
            "and split by it in `Preprocess`",
            "time: \"at\",",
        ),
    }
    let left_out: Vec<&Column> = look.columns.iter().filter(|column| column.part == Part::LeftOut).collect();
    if !left_out.is_empty() {
        text += "            // Left out:\n";
        for column in left_out {
            let _ = writeln!(text, "            //   {}: {}", quoted(&column.name), column.why);
        }
    }
    text += "        )),\n\
             \x20       // 60 % of the rows to learn from, 20 % to decide when to stop, 20 % to measure on, drawn by the seed.\n";
    if time.is_some() {
        text += "        // To learn from what came first and to measure on what came last, put in the place of `test` and `valid`:\n\
                 \x20       //   test: Latest(0.2), valid: Latest(0.1),\n";
    }
    let missing = look.columns.iter().any(|column| column.part == Part::Numerical && column.missing > 0);
    let fill = if missing { ", fill: Mean" } else { "" };
    if missing {
        text += "        // The mean of a column stands for its missing numbers, which are errors without `fill`.\n";
    }
    let _ = writeln!(
        text,
        "        \"preprocess\": Preprocess(from: \"download\", test: Random(0.2), valid: FromTrain(0.25), seed: 1{fill}),"
    );
    text += "        // `mtorec list models` and `mtorec list balancers` show what else may stand here.\n";
    let (arch, balancer) = match labels.len() {
        1 => ("SharedBottom()", ""),
        _ => ("Mmoe(experts: 4)", "balancer: Ls(), "),
    };
    if let (true, [first, second]) = (look.second_needs_first, labels.as_slice()) {
        let _ = writeln!(
            text,
            "        // {} is never 1 without {}, which is what `arch: Esmm()` is for:\n\
             \x20       // it learns how likely the second is after the first, and predicts both together.",
            quoted(second),
            quoted(first)
        );
    }
    // enough steps in an epoch for a small file to be learned from
    let batch = match look.rows {
        ..5_000 => 64,
        5_000..50_000 => 256,
        _ => 1024,
    };
    let _ = write!(
        text,
        "        \"model\": BuildModel(data: \"preprocess\", arch: {arch}, sizes: Small),\n\
         \x20       \"train\": Train(model: \"model\", data: \"preprocess\", {balancer}epochs: 30, batch: {batch}, patience: 5),\n\
         \x20       \"evaluate\": Evaluate(model: \"train\", data: \"preprocess\", metrics: [Auc, LogLoss]),\n\
         \x20       // To score other rows, take the slashes away and name their file (labels need not be in it) and the columns\n\
         \x20       // to copy beside the probabilities; `mtorec run` says where they lie.\n\
         \x20       // \"predict\": Predict(model: \"train\", data: \"preprocess\", rows: \"new.csv\", keep: []),\n    }},\n\
         \x20   // To be told when a change makes the model worse, take the slashes away. `mtorec golden bless` brings all up to\n\
         \x20   // date and writes the metrics into this file; `golden check` fails when one moves by more than the tolerance.\n\
         \x20   // golden: Golden(file: {}, tolerance: 0.002),\n)\n",
        quoted(&format!("golden/{name}.ron"))
    );
    text
}

/// A comment on a part that a column may play once it is no feature.
fn part_to_name(text: &mut String, asks: &str, so_that: &str, field: &str) {
    let _ = writeln!(
        text,
        "            // {asks} Take that column, which is no feature then, out of\n\
         \x20           // `categorical` or `numerical` (and `transforms`), name it here, {so_that}:\n\
         \x20           //   {field}"
    );
}

/// `categorical: ["a", "b"],` over as many lines as it takes.
fn list(text: &mut String, field: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| to_ron(&(*name).to_owned())).collect();
    entries(text, &format!("{field}: ["), &names, "],");
}

/// Entries between an opening and a closing bracket, over as many lines as it takes.
fn entries(text: &mut String, open: &str, entries: &[String], close: &str) {
    let start = format!("            {open}");
    let whole = format!("{start}{}{close}", entries.join(", "));
    if whole.chars().count() <= WIDE {
        let _ = writeln!(text, "{whole}");
        return;
    }
    let _ = writeln!(text, "{start}");
    let mut line = String::new();
    for name in entries {
        if !line.is_empty() && line.chars().count() + name.chars().count() + 18 > WIDE {
            let _ = writeln!(text, "                {}", line.trim_end());
            line.clear();
        }
        let _ = write!(line, "{name}, ");
    }
    let _ = writeln!(text, "                {}\n            {close}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_pipeline_may_be_called() {
        let name = |file: &str| name_of(Path::new(file));
        assert_eq!(name("logs/census.csv"), "census");
        assert_eq!(name("v1.2-train.tsv.gz"), "v1.2-train");
        assert_eq!(name("-Übung (2)!.csv"), "Übung__2");
        assert_eq!(name("???.csv"), "log");
    }

    #[test]
    fn odd_column_names_survive() {
        let column = |name: &str, part| Column { name: name.into(), part, values: 2, missing: 0, why: "x".into() };
        let odd = ["say \"so\"", "a\\b", "tab\tline\n", "é "];
        let mut columns: Vec<Column> = odd.iter().map(|name| column(name, Part::Categorical)).collect();
        columns.extend([column("y", Part::Label), column("broken\n\"", Part::LeftOut)]);
        columns.extend((0..200).map(|at| column(&format!("number {at}"), Part::Numerical)));
        let look = Look {
            columns,
            rows: 5,
            all: false,
            labels_given: false,
            delimiter: Some('\t'),
            second_needs_first: false,
        };
        let text = pipeline("p", "a \"b\".csv", &look);
        let loaded = crate::spec::parse(&text, "p.ron", &[]).unwrap();
        let crate::spec::Stage::Download(download) = &loaded.pipeline.stages["download"] else { panic!("{text}") };
        let crate::data::Dataset::Csv(csv) = &download.dataset else { panic!("{text}") };
        assert_eq!((csv.train.as_str(), &csv.categorical[..]), ("a \"b\".csv", &odd.map(str::to_owned)[..]));
        assert_eq!((csv.labels.len(), csv.numerical.len(), csv.delimiter), (1, 200, Some('\t')));
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }
}
