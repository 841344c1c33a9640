//! `Predict`: scores the rows of a file with a model.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::build_model::read_model;
use super::evaluate::{ROWS, predict};
use super::preprocess::IN_MEMORY;
use super::{Context, Execute, External, Inputs, Outcome, StageError, on_device};
use crate::data::{
    Advance, AliExpress, DataError, EncodedDataset, Encoding, Field, FurtherColumns, LogReader, Parts, PublishedRows,
    Reading, Role, Rows, Schema, SourceFile, each_row,
};
use crate::model::Network;
use crate::spec::{Predict, neighbour};
use crate::store::{Draft, FileDigests};
use crate::tensor::{Kernels, Workspace};

/// Where the probabilities lie in an artifact.
pub const PREDICTIONS: &str = "predictions.csv";
/// Where the counts lie in an artifact: a [`Predicted`].
pub const COUNTS: &str = "predictions.json";

/// The stage's field, which is also the file's role in the stage's key.
const FIELD: &str = "rows";
/// Rows that wait for their scores: whole batches, so that rows are scored in the company in which `Evaluate` scores them.
const WAITING: usize = 8 * ROWS;

/// What was predicted, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The file, as the pipeline names it.
    pub file: String,
    /// Rows scored.
    pub rows: u64,
    /// What the model expects of each task over these rows.
    pub tasks: Vec<TaskMean>,
    /// How many ids of each field no training row has.
    pub unseen: Vec<Unseen>,
}

/// The mean probability of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskMean {
    /// The task.
    pub task: String,
    /// Mean over the rows.
    pub mean: f64,
}

/// How many rows have an id in a field that no training row has there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unseen {
    /// The field.
    pub field: String,
    /// Rows whose id is unseen.
    pub rows: u64,
}

impl Execute for Predict {
    const REVISION: u32 = 1;

    fn externals(&self, root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError> {
        let path = root.join(&self.rows);
        let digest = digests.digest(&path).map_err(|source| self.unreadable(root, &source))?;
        Ok(vec![External { role: FIELD.to_owned(), path, digest }])
    }

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        on_device!(cx.device, |device| score(self, device, cx, inputs, out))
    }
}

impl Predict {
    fn unreadable(&self, root: &Path, source: &io::Error) -> StageError {
        let file = &self.rows;
        StageError::Field {
            field: FIELD,
            message: format!("cannot read the rows to score, `{file}`: {source}"),
            hint: match neighbour(&root.join(file)).as_deref().and_then(Path::file_name) {
                Some(near) => format!("did you mean `{}`?", Path::new(file).with_file_name(near).display()),
                None => format!("name another file; a relative path starts at `{}`", root.display()),
            },
        }
    }
}

/// The rows that wait for their scores.
#[derive(Default)]
struct Waiting {
    parts: Parts,
    /// The texts to copy, as they stand in a line; none if rows are numbered.
    kept: Vec<String>,
}

fn score<D: Kernels>(
    stage: &Predict,
    device: &D,
    cx: &Context,
    inputs: &Inputs,
    out: &Draft,
) -> Result<Outcome, StageError> {
    let data = inputs.get("data");
    let schema = Schema::read(&data.file(EncodedDataset::SCHEMA)?)?;
    let encoding = Encoding::read(&data.file(Encoding::FILE)?)?;
    let reader = LogReader::read(&data.file(LogReader::FILE)?)?;
    let (_, network) = read_model(inputs.get("model"), &schema, device)?;
    let known = cx.digests.length_and_digest(&cx.root.join(&stage.rows));
    let (bytes, digest) = known.map_err(|source| stage.unreadable(cx.root, &source))?;

    // what stands for a missing number, each column's encoding says
    let fill = encoding.numerical.iter().any(|scaling| scaling.missing.is_some()).then_some(f32::NAN);
    cx.progress.begin(bytes, "bytes");
    let file = Path::new(&stage.rows);
    let mut scoring = Scoring::new(stage, &schema, &network, out)?;
    let mut waiting = Waiting::default();
    let mut found = None;
    if let Some(dataset) = reader.published(file) {
        let archive = SourceFile { role: Role::Archive, path: file.to_path_buf(), bytes, digest: digest.to_string() };
        scoring.archive(dataset, &archive, &encoding, fill, cx, &mut waiting)?;
    } else {
        (_, found) = each_row(
            cx.root,
            file,
            reader.layout(file),
            fill,
            |header| Ok((FurtherColumns::of(&schema, &stage.keep, header)?, &mut waiting)),
            |(columns, waiting), row| {
                columns.encode(&schema, &encoding, row, &mut waiting.parts)?;
                if !stage.keep.is_empty() {
                    waiting.kept.push(line(&columns.kept(row)?));
                }
                Ok(())
            },
            |(_, waiting), bytes| {
                scoring.whole_batches(waiting)?;
                cx.progress.at(bytes, &format!("{} rows scored", scoring.counts.rows));
                cx.check_interrupt()?;
                Ok::<_, StageError>(ControlFlow::Continue(()))
            },
        )?;
    }
    let rest = waiting.parts.labels.len() / schema.tasks.len();
    scoring.rows(&mut waiting, rest)?;
    if found.is_some_and(|found| found != digest.to_string()) {
        let message = format!("`{}` changed while it was read", stage.rows);
        return Err(StageError::failed(message).hint("run the pipeline again"));
    }
    let counts = scoring.finish()?;
    let json = serde_json::to_vec_pretty(&counts)
        .map_err(|error| StageError::failed(format!("cannot write the counts: {error}")))?;
    out.write(COUNTS, &json)?;
    Ok(Outcome { simulated: false, summary: counts.summary() })
}

/// Rows on their way into `predictions.csv`.
struct Scoring<'a, D: Kernels> {
    schema: &'a Schema,
    /// The columns to copy.
    keep: &'a [String],
    network: &'a Network<D>,
    workspace: Workspace<D>,
    path: PathBuf,
    csv: BufWriter<File>,
    counts: Predicted,
}

impl<'a, D: Kernels> Scoring<'a, D> {
    fn new(stage: &'a Predict, schema: &'a Schema, network: &'a Network<D>, out: &Draft) -> Result<Self, StageError> {
        let probabilities: Vec<String> = schema.tasks.iter().map(|task| format!("p_{task}")).collect();
        if let Some(taken) = stage.keep.iter().find(|name| probabilities.contains(name)) {
            return Err(StageError::Field {
                field: "keep",
                message: format!("`{taken}` is the name of a column of probabilities"),
                hint: "rename the column in the file, or do not keep it".to_owned(),
            });
        }
        let path = out.path(PREDICTIONS);
        let file = File::create(&path).map_err(|source| unwritable(&path, source))?;
        let first = if stage.keep.is_empty() { vec!["row".to_owned()] } else { stage.keep.clone() };
        let names: Vec<&str> = first.iter().chain(&probabilities).map(String::as_str).collect();
        let mut csv = BufWriter::new(file);
        writeln!(csv, "{}", line(&names)).map_err(|source| unwritable(&path, source))?;
        let mean = |task: &String| TaskMean { task: task.clone(), mean: 0.0 };
        let unseen = |field: &Field| Unseen { field: field.name.clone(), rows: 0 };
        let counts = Predicted {
            file: stage.rows.clone(),
            rows: 0,
            tasks: schema.tasks.iter().map(mean).collect(),
            unseen: schema.fields.iter().map(unseen).collect(),
        };
        let workspace = Workspace::new(network.params.device());
        Ok(Self { schema, keep: &stage.keep, network, workspace, path, csv, counts })
    }

    /// Scores the test rows of an archive, but for the last, which wait.
    fn archive(
        &mut self,
        dataset: AliExpress,
        archive: &SourceFile,
        encoding: &Encoding,
        fill: Option<f32>,
        cx: &Context,
        waiting: &mut Waiting,
    ) -> Result<(), StageError> {
        let keeps = !self.keep.is_empty();
        if let Some(other) = self.keep.iter().find(|name| *name != PublishedRows::COLUMN) {
            return Err(StageError::Field {
                field: "keep",
                message: format!("the rows of an archive have no column `{other}`"),
                hint: format!("keep `{}`, or nothing", PublishedRows::COLUMN),
            });
        }
        let mut watch = |advance: Advance| {
            cx.progress.at(advance.bytes, &format!("{} rows read", advance.rows));
            cx.check_interrupt().map_err(|_| DataError::Interrupted)
        };
        let mut reading = Reading::new(cx.root, fill, Some((cx.scratch.to_path_buf(), IN_MEMORY)), &mut watch);
        let rows = PublishedRows::read(dataset, archive, self.schema, encoding, &mut reading)?;
        rows.chunks(self.schema, encoding, |mut parts, searches| {
            waiting.parts.categorical.append(&mut parts.categorical);
            waiting.parts.numerical.append(&mut parts.numerical);
            waiting.parts.labels.append(&mut parts.labels);
            if keeps {
                waiting.kept.extend(searches.iter().map(i64::to_string));
            }
            self.whole_batches(waiting)?;
            cx.check_interrupt()
        })
    }

    /// Scores rows while enough wait: a last one is not scored alone where `Evaluate` would score it with those before it.
    fn whole_batches(&mut self, waiting: &mut Waiting) -> Result<(), StageError> {
        while waiting.parts.labels.len() > (WAITING + 1) * self.schema.tasks.len() {
            self.rows(waiting, WAITING)?;
        }
        Ok(())
    }

    /// Scores the first of the rows that wait.
    fn rows(&mut self, waiting: &mut Waiting, count: usize) -> Result<(), StageError> {
        let Schema { fields, numerical, tasks } = self.schema;
        let of = |width: usize| 0..count * width;
        let parts = Parts {
            categorical: waiting.parts.categorical.drain(of(fields.len())).collect(),
            numerical: waiting.parts.numerical.drain(of(numerical.len())).collect(),
            labels: waiting.parts.labels.drain(of(tasks.len())).collect(),
            ..Parts::default()
        };
        for ids in parts.categorical.chunks_exact(fields.len().max(1)) {
            for ((&id, field), unseen) in ids.iter().zip(fields).zip(&mut self.counts.unseen) {
                unseen.rows += u64::from(field.out_of_vocabulary == Some(id));
            }
        }
        let rows = Rows::from_parts(self.schema, parts)?;
        let logits = predict(self.network, self.schema, &rows, &self.workspace, |_| Ok(()))?;
        let mut kept = waiting.kept.drain(..count.min(waiting.kept.len()));
        for row in 0..count {
            self.counts.rows += 1;
            let mut line = kept.next().unwrap_or_else(|| self.counts.rows.to_string());
            for (logits, task) in logits.iter().zip(&mut self.counts.tasks) {
                let probability = (1.0 / (1.0 + (-f64::from(logits[row])).exp())) as f32;
                task.mean += f64::from(probability);
                // the shortest digits that are this number and no other
                let _ = write!(line, ",{probability:?}");
            }
            writeln!(self.csv, "{line}").map_err(|source| unwritable(&self.path, source))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Predicted, StageError> {
        self.csv.flush().map_err(|source| unwritable(&self.path, source))?;
        for task in &mut self.counts.tasks {
            task.mean /= self.counts.rows as f64;
        }
        Ok(self.counts)
    }
}

impl Predicted {
    /// The fields in which some rows have an unseen id.
    pub fn with_unseen(&self) -> Vec<&Unseen> {
        self.unseen.iter().filter(|unseen| unseen.rows > 0).collect()
    }

    /// Which share of the rows so many are, in per cent.
    pub fn percentage(&self, rows: u64) -> String {
        format!("{:.2} %", 100.0 * rows as f64 / self.rows as f64)
    }

    /// `1000 rows; ids unseen in training: shop 12, user 3`.
    pub fn summary(&self) -> String {
        const SHOWN: usize = 3;
        let mut unseen = self.with_unseen();
        unseen.sort_by_key(|unseen| std::cmp::Reverse(unseen.rows));
        let named: Vec<String> =
            unseen.iter().take(SHOWN).map(|unseen| format!("{} {}", unseen.field, unseen.rows)).collect();
        let rows = self.rows;
        match unseen.len() {
            0 => format!("{rows} rows; no id is unseen in training"),
            1..=SHOWN => format!("{rows} rows; ids unseen in training: {}", named.join(", ")),
            all => {
                format!("{rows} rows; ids unseen in training: {} and in {} more fields", named.join(", "), all - SHOWN)
            }
        }
    }
}

fn unwritable(path: &Path, source: io::Error) -> StageError {
    StageError::Io { action: "cannot write", path: path.to_path_buf(), source }
}

/// Fields as a line of the CSV, quoted where they must be.
fn line(fields: &[&str]) -> String {
    let quoted = |field: &&str| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => (*field).to_owned(),
    };
    fields.iter().map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_would_break_a_line_are_quoted() {
        assert_eq!(line(&["a b", "c,d", "say \"so\"", "", "e\nf"]), "a b,\"c,d\",\"say \"\"so\"\"\",,\"e\nf\"");
    }

    #[test]
    fn the_summary_names_the_fields_with_most_unseen_ids() {
        let unseen = |rows: [u64; 5]| {
            let fields = ["a", "b", "c", "d", "e"].into_iter().zip(rows);
            let unseen = fields.map(|(field, rows)| Unseen { field: field.into(), rows }).collect();
            Predicted { file: "x.csv".into(), rows: 9, tasks: Vec::new(), unseen }.summary()
        };
        assert_eq!(unseen([0; 5]), "9 rows; no id is unseen in training");
        assert_eq!(unseen([0, 2, 0, 7, 0]), "9 rows; ids unseen in training: d 7, b 2");
        assert_eq!(unseen([1, 2, 3, 4, 5]), "9 rows; ids unseen in training: e 5, d 4, c 3 and in 2 more fields");
    }
}
