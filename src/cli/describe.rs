//! `mtorec describe`: what the artifacts of a pipeline's stages hold, in numbers.

use serde_json::{Value, json};

use super::failure::Failure;
use super::project::{NetworkArg, PipelineArgs, Project, SelectionArgs};
use super::{Exit, output, tables};
use crate::data::{Description, Share};
use crate::plan::{PlannedStage, Verdict};
use crate::readable;
use crate::stage::describe::{Contents, DESCRIBED, LogFile, ModelFigures, describe};
use crate::store::{Artifact, Lookup};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stages to describe [default: all that hold rows or a model].
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// A stage and what it came to.
struct Found<'a> {
    stage: &'a PlannedStage,
    artifact: Artifact,
    contents: Contents,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let project = Project::load(&args.pipeline.file, &args.pipeline.edits)?;
    let everything = SelectionArgs::everything(NetworkArg { offline: false });
    let plan = project.plan(&project.select(&everything)?)?;
    let mut found = Vec::new();
    for name in &args.stages {
        let stage = &plan.stages[project.graph.find(name)?];
        found.push(look(&project, stage)?);
    }
    if args.stages.is_empty() {
        for stage in plan.stages.iter().filter(|stage| DESCRIBED.contains(&stage.kind)) {
            if artifact(&project, stage)?.is_some() {
                found.push(look(&project, stage)?);
            }
        }
        if found.is_empty() {
            return Err(Failure::call(format!("`{}` has come to nothing yet", plan.pipeline))
                .hint(format!("`mtorec run {}` first", args.pipeline.file.display())));
        }
    }
    if args.json {
        let stages: Vec<Value> = found.iter().map(to_json).collect();
        output::print_json(&json!({ "pipeline": plan.pipeline, "stages": stages }))?;
    } else {
        output::print(&found.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Done)
}

/// What the stage comes to as the pipeline stands, or else what it last came to.
fn artifact(project: &Project, stage: &PlannedStage) -> Result<Option<Artifact>, Failure> {
    if let Verdict::UpToDate(artifact) = &stage.verdict {
        return Ok(Some(artifact.clone()));
    }
    let Some(last) = project.record.stages.get(&stage.name) else { return Ok(None) };
    Ok(match project.store.lookup(last.key)? {
        Lookup::Intact(artifact) => Some(artifact),
        Lookup::Absent | Lookup::Damaged(_) => None,
    })
}

fn look<'a>(project: &Project, stage: &'a PlannedStage) -> Result<Found<'a>, Failure> {
    let PlannedStage { name, kind, .. } = stage;
    let file = project.file.display();
    if !DESCRIBED.contains(kind) {
        return Err(Failure::call(format!("`{name}` is of the kind `{kind}`, which holds neither rows nor a model"))
            .hint(format!("`mtorec metrics {file}` prints what it came to")));
    }
    let Some(artifact) = artifact(project, stage)? else {
        return Err(Failure::call(format!("`{name}` has come to nothing yet"))
            .hint(format!("`mtorec run {file} --until {name}` first")));
    };
    let contents = describe(kind, &artifact).map_err(|error| {
        let hint = error.remedy().map(str::to_owned);
        let failure = Failure::trouble(Exit::Failed, error);
        failure.hint(hint.unwrap_or_else(|| format!("`mtorec run {file}` makes a damaged artifact again")))
    })?;
    let nothing = || Failure::call(format!("nothing is known of `{name}`"));
    Ok(Found { stage, artifact, contents: contents.ok_or_else(nothing)? })
}

fn to_json(found: &Found) -> Value {
    let manifest = found.artifact.manifest();
    let mut json = json!({
        "name": found.stage.name,
        "kind": found.stage.kind,
        "up_to_date": matches!(found.stage.verdict, Verdict::UpToDate(_)),
        "verdict": found.stage.verdict.to_string(),
        "key": manifest.key,
        "simulated": manifest.simulated,
        "summary": manifest.summary,
    });
    if let (Some(json), Ok(Value::Object(contents))) = (json.as_object_mut(), serde_json::to_value(&found.contents)) {
        json.extend(contents);
    }
    json
}

fn text(found: &Found) -> String {
    let manifest = found.artifact.manifest();
    let mark = if manifest.simulated { ", simulated" } else { "" };
    let mut text = format!("{}: {}{mark}\n", found.stage.name, found.stage.kind);
    if !matches!(found.stage.verdict, Verdict::UpToDate(_)) {
        text += &format!("out of date ({}): this is what it last came to\n", found.stage.verdict);
    }
    text += &format!("{}\n\n", manifest.summary);
    text + &match &found.contents {
        Contents::Rows(description) => rows(description),
        Contents::Files(files) => log_files(files),
        Contents::Model(figures) => model(figures),
    }
}

fn log_files(files: &[LogFile]) -> String {
    let rows = files.iter().map(|file| {
        vec![
            file.role.to_owned(),
            file.path.clone(),
            readable::bytes(file.bytes),
            file.digest.chars().take(16).collect(),
        ]
    });
    tables::table(&[("rows", false), ("file", false), ("size", true), ("BLAKE3", false)], rows)
}

fn model(figures: &ModelFigures) -> String {
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let mut rows = vec![
        row("parameters", figures.parameters.to_string()),
        row("of them embeddings", figures.embedding.to_string()),
        row("of them shared", figures.shared.to_string()),
    ];
    rows.extend(figures.of_tasks.iter().map(|(task, count)| row(&format!("of them {task}'s own"), count.to_string())));
    rows.push(row("running statistics", figures.statistics.to_string()));
    format!("{}\n{:?}\n\n{}", figures.arch, figures.sizes, tables::table(&[("numbers", false), ("count", true)], rows))
}

/// Tables of the rows, the labels, the fields and the columns.
fn rows(description: &Description) -> String {
    let mut parts = vec![splits(description), labels(description) + &constant(description)];
    if !description.fields.is_empty() {
        parts.push(fields(description));
    }
    if !description.numerical.is_empty() {
        parts.push(numbers(description));
    }
    parts.join("\n")
}

fn splits(description: &Description) -> String {
    let mut columns = vec![("split", false), ("rows", true)];
    if description.splits.values().any(|split| split.groups.is_some()) {
        columns.extend([("groups", true), ("least rows", true), ("mean rows", true), ("most rows", true)]);
    }
    let rows = description.splits.iter().map(|(name, split)| {
        let mut row = vec![(*name).to_owned(), split.rows.to_string()];
        if let Some(groups) = split.groups {
            let mean = format!("{:.2}", groups.mean);
            row.extend([groups.count.to_string(), groups.smallest.to_string(), mean, groups.largest.to_string()]);
        }
        row
    });
    tables::table(&columns, rows)
}

/// A table with these columns and one a split, named `what in train`.
fn by_split(
    description: &Description,
    first: &[tables::Column],
    what: &str,
    last: &[tables::Column],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let headings: Vec<String> = description.splits.keys().map(|split| format!("{what} in {split}")).collect();
    let of_splits = headings.iter().map(|heading| (heading.as_str(), true));
    let columns: Vec<tables::Column> = first.iter().copied().chain(of_splits).chain(last.iter().copied()).collect();
    tables::table(&columns, rows)
}

fn labels(description: &Description) -> String {
    let rows = description.tasks.iter().map(|task| {
        std::iter::once(task.name.clone()).chain(task.positives.values().map(|share| percent(*share))).collect()
    });
    by_split(description, &[("task", false)], "positives", &[], rows)
}

fn fields(description: &Description) -> String {
    let rows = description.fields.iter().map(|field| {
        let unknown = field.out_of_vocabulary.iter().flat_map(|shares| shares.values().map(|share| percent(*share)));
        let first = [field.name.clone(), field.values.to_string(), field.embedding_rows.to_string()];
        first.into_iter().chain(unknown).collect()
    });
    by_split(description, &[("field", false), ("values", true), ("embedding rows", true)], "unknown", &[], rows)
}

/// The other splits' ranges are in the JSON.
fn numbers(description: &Description) -> String {
    let none = || "none".to_owned();
    let rows = description.numerical.iter().map(|column| {
        let figures = column.values.values().next().copied().flatten();
        let range = figures.map(|figures| [figures.min, figures.mean, figures.max]);
        let range = range.map_or_else(|| [(); 3].map(|()| none()), |of| of.map(|x| readable::number(Some(x), 4)));
        let zeros = column.values.values().map(|of| of.map_or_else(none, |figures| percent(figures.zeros)));
        let scaled = match &column.scaling {
            None => "",
            Some(scaling) if !scaling.log1p => "to mean 0, variance 1",
            Some(scaling) if (scaling.mean, scaling.deviation) == (0.0, 1.0) => "ln(1 + x)",
            Some(_) => "ln(1 + x), to mean 0, variance 1",
        };
        std::iter::once(column.name.clone()).chain(range).chain(zeros).chain([scaled.to_owned()]).collect()
    });
    let first = [("number", false), ("min", true), ("mean", true), ("max", true)];
    by_split(description, &first, "zeros", &[("scaled", false)], rows)
        + "min, mean and max are those of the training rows, before scaling\n"
        + &missing(description)
}

/// The columns that lack numbers; the text is empty where those are not counted.
fn missing(description: &Description) -> String {
    let counted = || description.numerical.iter().filter_map(|column| Some((column, column.missing.as_ref()?)));
    let lacking = || counted().filter(|(_, shares)| shares.values().any(|share| share.rows > 0));
    match (counted().count(), lacking().count()) {
        (0, _) => String::new(),
        (_, 0) => "no number is missing\n".to_owned(),
        _ => {
            let rows = lacking().map(|(column, shares)| {
                let filled = column.filled.map_or_else(String::new, |number| readable::number(Some(number.into()), 4));
                let shares = shares.values().map(|share| percent(*share));
                std::iter::once(column.name.clone()).chain(shares).chain([filled]).collect()
            });
            format!("\n{}", by_split(description, &[("number", false)], "missing", &[("filled with", true)], rows))
        }
    }
}

/// Says of labels that are all 0 or all 1 that nothing can be measured by them.
fn constant(description: &Description) -> String {
    let task = |task: &crate::data::TaskDescription| {
        let constant = task.positives.iter().filter(|(_, share)| share.share.is_some() && !share.is_mixed());
        let splits: Vec<&str> = constant.map(|(name, _)| *name).collect();
        let of = (!splits.is_empty()).then(|| splits.join(" and "));
        of.map(|of| format!("the label of `{}` is the same in all {of} rows: its AUC there is undefined\n", task.name))
    };
    description.tasks.iter().filter_map(task).collect()
}

/// `2.54 %`; what is rare does not look like none, nor what is nearly all like all.
fn percent(share: Share) -> String {
    match share.share {
        None => "none".to_owned(),
        Some(share) if share > 0.0 && share < 5e-5 => "< 0.01 %".to_owned(),
        Some(share) if share < 1.0 && share > 0.999_95 => "> 99.99 %".to_owned(),
        Some(share) => format!("{:.2} %", 100.0 * share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_do_not_round_to_none_or_all() {
        let of = |rows, share| percent(Share { rows, share: Some(share) });
        assert_eq!(
            [of(0, 0.0), of(1, 1e-6), of(1, 0.025_44), of(1, 0.999_999), of(1, 1.0)],
            ["0.00 %", "< 0.01 %", "2.54 %", "> 99.99 %", "100.00 %"]
        );
        assert_eq!(percent(Share { rows: 0, share: None }), "none");
    }
}
