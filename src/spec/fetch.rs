//! What can be wrong with the `fetch` of a `Download` stage.

use std::path::{Component, Path};

use super::diagnostic::Problem;
use super::pipeline::{Download, Fetch, WhenMissing};
use super::suggest::did_you_mean;
use super::syntax::{Node, Span};
use crate::data::Dataset;
use crate::fetch::{Address, Sha256};

/// Checks where the files of a data set are fetched from; `tree` is the pipeline's.
pub fn check(name: &str, stage: &Download, tree: &Node) -> Vec<Problem> {
    if stage.fetch.is_empty() {
        return Vec::new();
    }
    let list = tree.locate(&["stages", name, "fetch"]);
    if let Dataset::Simulated(_) = stage.dataset {
        let problem = Problem::new("a simulated log has no files to fetch", list.head);
        return vec![problem.hint("leave `fetch` out, or name a real data set")];
    }
    let mut problems = Vec::new();
    if let WhenMissing::Simulate { .. } = stage.when_missing {
        let place = tree.locate(&["stages", name, "when_missing"]).head;
        let problem = Problem::new("what is missing is either fetched or simulated", place);
        problems.push(problem.related(list.head, "fetched here").hint("leave `when_missing` or `fetch` out"));
    }
    let mut seen: Vec<(String, Span)> = Vec::new();
    for (at, fetch) in stage.fetch.iter().enumerate() {
        let entry = list.child(&at.to_string()).unwrap_or(list);
        problems.extend(entry_problems(fetch, entry));
        let Some(file) = fetch.name() else { continue };
        let place = entry.locate(&[if fetch.file.is_some() { "file" } else { "url" }]).head;
        match fetched_as(&stage.dataset, &file) {
            None => problems.push(no_such_file(&stage.dataset, &file, place)),
            Some(file) => match seen.iter().find(|(other, _)| *other == file) {
                Some((_, first)) => {
                    let problem = Problem::new(format!("`{file}` is fetched twice"), place).label("again here");
                    problems.push(problem.related(*first, "first fetched here"));
                }
                None => seen.push((file, place)),
            },
        }
    }
    problems
}

/// The file of a data set that a name stands for: the same, or the same with `.gz`.
pub fn fetched_as(dataset: &Dataset, name: &str) -> Option<String> {
    let files = dataset.files();
    let file = files.into_iter().find(|file| name == file || name.strip_suffix(".gz") == Some(file))?;
    let inside = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
    inside.then_some(file)
}

fn entry_problems(fetch: &Fetch, entry: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let url = entry.locate(&["url"]).head;
    match fetch.url.parse::<Address>() {
        Err(error) => problems.push(Problem::new(format!("`{}`: {error}", fetch.url), url).hint(
            "give the file's address, like `https://example.org/train.csv.gz`; `path:` names a folder of this machine",
        )),
        Ok(_) if fetch.name().is_none() => {
            let problem = Problem::new("the address does not end in a file's name", url);
            problems.push(problem.hint("say what the file is called here: `file: \"train.csv.gz\"`"));
        }
        Ok(_) => {}
    }
    if let Some(Err(error)) = fetch.sha256.as_ref().map(|digest| digest.parse::<Sha256>()) {
        let problem = Problem::new(error.to_string(), entry.locate(&["sha256"]).head);
        problems.push(problem.hint("`sha256sum FILE` prints it; leave it out if it is not known"));
    }
    problems
}

fn no_such_file(dataset: &Dataset, name: &str, place: Span) -> Problem {
    let files = dataset.files();
    if files.iter().any(|file| name == file || name.strip_suffix(".gz") == Some(file)) {
        let problem = Problem::new(format!("`{name}` lies outside the data set's folder"), place);
        return problem.hint("files are fetched into it: name the folder in `path:` and the file without one");
    }
    let problem = Problem::new(format!("`{}` reads no file `{name}`", dataset.name()), place);
    let hint = did_you_mean(name, &files.iter().map(String::as_str).collect::<Vec<_>>(), "its files are");
    problem.hint(format!("{hint} (or the same with `.gz`); `file:` says what the file is called here"))
}
