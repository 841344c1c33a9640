//! What an artifact holds, in numbers: rows of a data set, parameters of a model.

use serde::Serialize;

use super::StageError;
use super::build_model::{build_network, read_card};
use crate::data::{Description, EncodedDataset, Encoding, MissingNumbers, Rows, Schema, Source};
use crate::model::{ModelCard, Sizes};
use crate::registry::to_ron;
use crate::store::Artifact;
use crate::tensor::{Cpu, Kernels, Kind, Owner};

/// The kinds of stages whose artifacts can be described.
pub const DESCRIBED: [&str; 4] = ["Download", "Preprocess", "BuildModel", "Train"];

/// What an artifact holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contents {
    /// Rows.
    Rows(Description),
    /// The files of a real log, which `Preprocess` reads where they lie.
    Files(Vec<LogFile>),
    /// A model.
    Model(ModelFigures),
}

/// A file of a real log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogFile {
    /// `train` or `test`.
    pub role: &'static str,
    /// Where it lies: absolute, or relative to the project's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub digest: String,
}

/// How large a model is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFigures {
    /// The architecture and its hyper-parameters, as a pipeline spells them.
    pub arch: String,
    /// Its widths, as a pipeline spells them.
    pub sizes: Sizes,
    /// Trained numbers.
    pub parameters: usize,
    /// Those of them that are embeddings.
    pub embedding: usize,
    /// Those that at least two tasks share.
    pub shared: usize,
    /// Those that only one task's loss reaches, by task.
    pub of_tasks: Vec<(String, usize)>,
    /// Numbers that are kept and not trained: running means and variances.
    pub statistics: usize,
}

/// What the artifact of a stage of this kind holds; nothing for kinds other than [`DESCRIBED`].
///
/// # Errors
/// When a file is damaged or is not what it should be.
pub fn describe(kind: &str, artifact: &Artifact) -> Result<Option<Contents>, StageError> {
    Ok(match kind {
        "Download" => Some(download(artifact)?),
        "Preprocess" => Some(Contents::Rows(preprocessed(artifact)?)),
        "BuildModel" | "Train" => Some(Contents::Model(model(&read_card(artifact)?)?)),
        _ => None,
    })
}

fn download(artifact: &Artifact) -> Result<Contents, StageError> {
    let source = Source::read(&artifact.file(Source::FILE)?)?;
    if source.simulated.is_none() {
        let file = |file: crate::data::SourceFile| LogFile {
            role: file.role.name(),
            path: file.path.display().to_string(),
            bytes: file.bytes,
            digest: file.digest,
        };
        return Ok(Contents::Files(source.files.into_iter().map(file).collect()));
    }
    let schema = Schema::read(&artifact.file(EncodedDataset::SCHEMA)?)?;
    let rows = |file| -> Result<Rows, StageError> { Ok(Rows::open(&artifact.file(file)?, &schema)?) };
    let (train, test) = (rows(EncodedDataset::TRAIN)?, rows(EncodedDataset::TEST)?);
    Ok(Contents::Rows(Description::of(&schema, None, None, &[("train", &train), ("test", &test)])))
}

fn preprocessed(artifact: &Artifact) -> Result<Description, StageError> {
    let data = EncodedDataset::from_artifact(artifact)?;
    let encoding = Encoding::read(&artifact.file(Encoding::FILE)?)?;
    // an artifact of an earlier revision, which a pipeline may have come to last, has no counts
    let has_counts = artifact.manifest().files.iter().any(|file| file.name == MissingNumbers::FILE);
    let missing = match has_counts {
        true => Some(MissingNumbers::read(&artifact.file(MissingNumbers::FILE)?)?),
        false => None,
    };
    let splits = [("train", &data.train), ("valid", &data.valid), ("test", &data.test)];
    Ok(Description::of(&data.schema, Some(&encoding), missing.as_ref(), &splits))
}

fn model(card: &ModelCard) -> Result<ModelFigures, StageError> {
    let network = build_network(card, 0, &Cpu::default())?;
    let count = |counts: &dyn Fn(Kind, Owner) -> bool| -> usize {
        let counted = network.params.iter().filter(|(_, param)| counts(param.kind, param.owner));
        counted.map(|(_, param)| <Cpu as Kernels>::len(&param.value)).sum()
    };
    let trained = |kind| kind != Kind::Statistic;
    let of_task =
        |(at, name): (usize, &String)| (name.clone(), count(&|kind, owner| trained(kind) && owner == Owner::Task(at)));
    Ok(ModelFigures {
        arch: to_ron(&card.arch),
        sizes: card.sizes,
        parameters: count(&|kind, _| trained(kind)),
        embedding: count(&|kind, _| matches!(kind, Kind::Table { .. })),
        shared: count(&|kind, owner| trained(kind) && owner == Owner::Shared),
        of_tasks: card.schema.tasks.iter().enumerate().map(of_task).collect(),
        statistics: count(&|kind, _| kind == Kind::Statistic),
    })
}
