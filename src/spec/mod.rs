//! What a pipeline file may say, and everything that can be wrong with one. `pipeline` holds the language as plain serde
//! types; [`load`] reads a file (and `--set` arguments) into them: `parse` makes a syntax tree with positions, `decode`
//! types of the tree, `check` looks at what types cannot say. All problems are found at once, and `diagnostic` is the one
//! place that shows them.

mod canonical;
mod check;
mod decode;
mod diagnostic;
mod fault;
mod fetch;
mod limits;
mod parse;
mod pipeline;
mod places;
mod resources;
mod set;
mod suggest;
mod sweep;
mod syntax;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use diagnostic::{Look, Origin, Problem, Problems, Source};
pub use fetch::fetched_as;
pub use pipeline::{
    BuildModel, By, Compare, CompareRow, Download, Evaluate, Fails, Fetch, Fill, Golden, Held, Init, On, Pipeline,
    Predict, Preprocess, Reference, Stage, Test, Toy, Train, Valid, WhenMissing,
};
pub use places::Places;
pub use resources::Resources;
pub use suggest::{did_you_mean, nearest};
pub use sweep::{Axis, Cell, Choice, Grid, LoadedSweep, Only, Scalar, Significance, Sweep, load_sweep};
pub use syntax::Span;

use canonical::canonical;
use decode::decode;
use set::Setting;
use syntax::Node;

/// A pipeline without problems, and what it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The pipeline, `--set` arguments applied.
    pub pipeline: Pipeline,
    /// The file's text.
    pub text: String,
    /// The file; what was given to [`load`], or the name given to [`parse`].
    pub path: PathBuf,
    /// Where its parts stand.
    pub places: Places,
}

/// Reads a pipeline file and applies `--set` arguments.
///
/// # Errors
/// Everything that is wrong with the file and the arguments; a file that cannot be read is a problem too.
pub fn load(path: impl AsRef<Path>, sets: &[String]) -> Result<Loaded, Problems> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let unreadable = |text: String, problem: Problem| {
        let origin = Origin::File(name.clone());
        Err(Problems::new(vec![Source { origin, text }], vec![problem]))
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let problem = Problem::new(format!("cannot read the file: {error}"), Span { source: 0, start: 0, end: 0 });
            let problem = match neighbour(path) {
                Some(near) => problem.hint(format!("did you mean `{}`?", near.display())),
                None => problem,
            };
            return unreadable(String::new(), problem);
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &name, sets).map(|loaded| Loaded { path: path.to_path_buf(), ..loaded }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let span = Span { source: 0, start: valid, end: valid + char::REPLACEMENT_CHARACTER.len_utf8() };
            unreadable(text, Problem::new("the file is not UTF-8 text", span).label("no character"))
        }
    }
}

/// Reads a pipeline from its text; `name` is what problems call the file.
///
/// # Errors
/// Everything that is wrong with the text and the `--set` arguments.
pub fn parse(text: &str, name: &str, sets: &[String]) -> Result<Loaded, Problems> {
    let mut sources = vec![Source { origin: Origin::File(name.to_owned()), text: text.to_owned() }];
    sources.extend(sets.iter().map(|set| Source { origin: Origin::Set, text: set.clone() }));
    match read(text, name, sets) {
        Ok((pipeline, tree)) => {
            let places = Places::new(sources, tree);
            Ok(Loaded { pipeline, text: text.to_owned(), path: PathBuf::from(name), places })
        }
        Err(problems) => Err(Problems::new(sources, problems)),
    }
}

/// Reads one value of the language from an argument of a command.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_argument<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problems> {
    let (tree, mut problems) = parse::parse_value(text, 0, 0);
    if let Some(tree) = tree.filter(|_| problems.is_empty()) {
        let decoded = decode::<T>(&tree);
        problems.extend(decoded.problems);
        problems.extend(limits::out_of_range(&tree, &decoded.faulty));
        if let Some(value) = decoded.value.filter(|_| problems.is_empty()) {
            return Ok(value);
        }
    }
    Err(Problems::new(vec![Source { origin: Origin::Argument, text: text.to_owned() }], problems))
}

/// The pipeline and its canonical tree.
fn read(text: &str, name: &str, sets: &[String]) -> Result<(Pipeline, Node), Vec<Problem>> {
    let (tree, mut problems) = parse::parse_file(text, 0);
    let mut settings = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        match Setting::parse(set, index + 1) {
            Ok(setting) => settings.push(setting),
            Err(wrong) => problems.extend(wrong),
        }
    }
    let Some(tree) = tree else { return Err(problems) };
    if let Some(mistaken) = of_other_kind(&tree, name, "Pipeline") {
        problems.push(mistaken);
        return Err(problems);
    }

    let decoded = decode::<Pipeline>(&tree);
    problems.extend(decoded.problems);
    let Some(mut pipeline) = decoded.value else { return Err(problems) };
    let mut canonical_tree = canonical(&pipeline, &decoded.sound);
    // What a faulty file would have said is not known, so neither is what a path leads to.
    if !problems.is_empty() {
        problems.extend(check::check(&pipeline, &canonical_tree, &tree, &decoded.faulty));
        return Err(problems);
    }
    for setting in &settings {
        match changed(setting, &canonical_tree) {
            Ok(changed) => (pipeline, canonical_tree) = changed,
            Err(wrong) => problems.extend(wrong),
        }
    }
    let written = if settings.is_empty() { &tree } else { &canonical_tree };
    problems.extend(check::check(&pipeline, &canonical_tree, written, &[]));
    if problems.is_empty() { Ok((pipeline, canonical_tree)) } else { Err(problems) }
}

/// The pipeline and its canonical tree after one `--set`.
fn changed(setting: &Setting, tree: &Node) -> Result<(Pipeline, Node), Vec<Problem>> {
    let mut tree = tree.clone();
    setting.apply(&mut tree).map_err(|problem| vec![problem])?;
    let decoded = decode::<Pipeline>(&tree);
    match decoded.value {
        Some(pipeline) if decoded.problems.is_empty() => {
            let tree = canonical(&pipeline, &tree);
            Ok((pipeline, tree))
        }
        _ => Err(decoded.problems),
    }
}

/// Says what a file is that is a sweep where a pipeline is `wanted`, or the other way round, and which command takes it:
/// what its fields should be instead would help nobody.
fn of_other_kind(tree: &Node, file: &str, wanted: &str) -> Option<Problem> {
    let (message, hint) = match (tree.name()?, wanted) {
        ("Sweep", "Pipeline") => (
            "this is a sweep, not a pipeline",
            format!("`mtorec sweep {file}` runs it, and `mtorec report {file}` shows what it came to"),
        ),
        ("Pipeline", "Sweep") => ("this is a pipeline, not a sweep", format!("`mtorec run {file}` runs it")),
        _ => return None,
    };
    Some(Problem::new(message, tree.head).hint(hint))
}

/// The name in front of a file's outermost brackets (`Pipeline`, `Sweep`, `GoldenMetrics`), which says what it holds.
pub fn kind_of_file(path: &Path) -> Option<String> {
    let tree = parse::parse_file(&std::fs::read_to_string(path).ok()?, 0).0?;
    tree.name().map(str::to_owned)
}

/// The file beside `path` whose name comes nearest, for one that is not there.
pub fn neighbour(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = nearest(path.file_name()?.to_str()?, &names)?;
    Some(path.with_file_name(near))
}
