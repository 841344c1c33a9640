//! `mtorec report`: what a pipeline or a sweep came to, as one HTML page.

use std::fs;
use std::path::{Path, PathBuf};

use askama::Template;

use super::failure::Failure;
use super::project::{AnyArgs, NetworkArg, Project, SelectionArgs};
use super::{Exit, output};
use crate::report::{Page, Source};
use crate::run::GoldenMetrics;
use crate::spec::LoadedSweep;
use crate::store::write_atomically;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: AnyArgs,
    /// Where to write the page [default: the pipeline's name with `.html`].
    #[arg(short, long, value_name = "FILE.html")]
    output: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let (project, sweep) = Project::load_any(&args.of)?;
    let everything = SelectionArgs::everything(NetworkArg { offline: false });
    let plan = project.plan(&project.select(&everything)?)?;
    let mut files = vec![text_of(&args.of.file)?];
    if let Some(LoadedSweep { sweep, .. }) = &sweep {
        files.push(text_of(&project.root.join(&sweep.pipeline))?);
    }
    let source = Source {
        files: files.into_iter().map(|(path, text)| (from(&project.root, &path), text)).collect(),
        sets: args.of.edits.sets.clone(),
        blessed: blessed(&project),
        sweep: sweep.as_ref().map(|loaded| (&loaded.sweep, &loaded.grid)),
    };
    let page = Page::new(&source, &project.pipeline, &plan, &project.record, &project.store);
    if page.is_empty() {
        let command = if sweep.is_some() { "sweep" } else { "run" };
        return Err(Failure::call(format!("`{}` has come to nothing yet", project.pipeline.name))
            .hint(format!("`mtorec {command} {}` first", args.of.file.display())));
    }
    let html = page.render().map_err(|error| Failure::trouble(Exit::Failed, error))?;
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.html", project.pipeline.name)));
    write_atomically(&path, html.as_bytes()).map_err(|error| {
        Failure::trouble(Exit::Failed, format!("cannot write `{}`: {error}", path.display()))
            .hint("`-o FILE.html` names another place")
    })?;
    output::print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}

/// The blessed metrics, if the pipeline names a golden file that is there and is one.
fn blessed(project: &Project) -> Option<GoldenMetrics> {
    let golden = project.pipeline.golden.as_ref()?;
    GoldenMetrics::read(&project.root.join(&golden.file)).ok()
}

fn text_of(path: &Path) -> Result<(PathBuf, String), Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::call(format!("cannot read `{}`: {error}", path.display())))?;
    Ok((path.to_path_buf(), text))
}

/// A path as the project knows it: a page is shown to others, who have no use for the folders before.
fn from(root: &Path, path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.strip_prefix(root).map_or_else(|_| path.display().to_string(), |path| path.display().to_string())
}
