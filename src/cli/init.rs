//! `mtorec init`: a first pipeline for a file of one's own.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::project::project_folder;
use super::{Exit, output, tables};
use crate::data::DataError;
use crate::init::{Look, look, name_of, pipeline};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file: a header line, then rows; commas, tabs, semicolons or bars between fields; also `.gz`.
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Where to write the pipeline [default: `pipelines/NAME.ron`, named like the file].
    #[arg(short, long, value_name = "PIPELINE")]
    output: Option<PathBuf>,
    /// A column that the model is to predict, 0 or 1 in each row; repeatable [default: those that look like it].
    #[arg(long = "label", value_name = "COLUMN")]
    labels: Vec<String>,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let name = name_of(&args.file);
    let to = args.output.clone().unwrap_or_else(|| Path::new("pipelines").join(format!("{name}.ron")));
    let taken = || {
        Failure::call(format!("`{}` is there already", to.display()))
            .hint("name another file with `--output`, or move that one away")
    };
    // before anything is read: a look at a large file takes a while
    if to.exists() {
        return Err(taken());
    }
    let found = look(&args.file, &args.labels)?;
    let text = pipeline(&name, &place(&args.file, &to)?, &found);
    let cannot =
        |error: std::io::Error| Failure::trouble(Exit::Failed, format!("cannot write `{}`: {error}", to.display()));
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    match fs::File::create_new(&to) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(cannot)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken()),
        Err(error) => return Err(cannot(error)),
    }
    output::print(&said(&args.file, &to, &found))?;
    Ok(Exit::Done)
}

/// The file as the pipeline finds it: from the project's folder where it lies within, absolute elsewhere.
fn place(file: &Path, pipeline: &Path) -> Result<String, Failure> {
    let root = project_folder(pipeline)?;
    let absolute = std::path::absolute(file).map_err(|error| Failure::trouble(Exit::Failed, error))?;
    let place = absolute.strip_prefix(&root).unwrap_or(&absolute);
    let text = place.to_str().ok_or_else(|| {
        Failure::call(format!("`{}` is no Unicode name", place.display())).hint("rename the file or its folder")
    })?;
    Ok(text.to_owned())
}

fn said(file: &Path, to: &Path, found: &Look) -> String {
    let rows = if found.all { format!("all {}", found.rows) } else { format!("the first {}", found.rows) };
    let between = found.delimiter.map_or_else(String::new, |delimiter| format!(" with {delimiter:?} between them"));
    let mut text = format!("{}: {} columns{between}; looked at {rows} rows\n\n", file.display(), found.columns.len());
    let columns = [("column", false), ("part", false), ("values", true), ("missing", true), ("why", false)];
    let lines = found.columns.iter().map(|column| {
        let missing = if column.missing == 0 { String::new() } else { column.missing.to_string() };
        let name = column.name.escape_debug().to_string();
        vec![name, column.part.word().to_owned(), column.values.to_string(), missing, column.why.clone()]
    });
    text += &tables::table(&columns, lines);
    let to = to.display();
    if !found.labels_given {
        text += "\nlabels are what the model predicts; `--label COLUMN` names others\n";
    }
    text += &format!(
        "\nwrote {to}; look at it, change what is wrong, then\n\
         \x20 mtorec check {to}      finds mistakes\n\
         \x20 mtorec run {to}        encodes the rows, trains and measures a model\n\
         \x20 mtorec describe {to}   what the rows and the model hold\n\
         \x20 mtorec report {to}     one HTML page with everything\n\
         to score other rows, open the `Predict` stage at the end of {to} and run it again\n"
    );
    text
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error.hint() {
            Some(hint) => Self::call(error).hint(hint),
            None => Self::call(error),
        }
    }
}
