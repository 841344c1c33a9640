//! `BuildModel`: an architecture for a data set's schema, with initial parameters drawn or from a checkpoint.

use std::path::Path;

use super::{Context, Execute, External, Inputs, Outcome, StageError, init, on_device};
use crate::data::{EncodedDataset, Rows, Schema};
use crate::model::{Arch, ModelCard, Network, read_checkpoint, write_checkpoint};
use crate::spec::{BuildModel, Init};
use crate::store::{Artifact, Draft, FileDigests};
use crate::tensor::{Kernels, Kind, Owner};

/// Where a model's description lies in an artifact.
const CARD: &str = "model.json";
/// Where its tensors lie, under PyTorch's names.
const TENSORS: &str = "model.safetensors";

impl Execute for BuildModel {
    const REVISION: u32 = 2;

    fn externals(&self, root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError> {
        match &self.init {
            Init::Random => Ok(Vec::new()),
            Init::Checkpoint(file) => Ok(vec![init::external(file, root, digests)?]),
        }
    }

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        on_device!(cx.device, |device| build(self, device, cx, inputs, out))
    }
}

fn build<D: Kernels>(
    stage: &BuildModel,
    device: &D,
    cx: &Context,
    inputs: &Inputs,
    out: &Draft,
) -> Result<Outcome, StageError> {
    let schema = Schema::read(&inputs.get("data").file(EncodedDataset::SCHEMA)?)?;
    let card = ModelCard { arch: stage.arch.clone(), sizes: stage.sizes, schema };
    let mut network = build_network(&card, stage.seed, device)?;
    if let Arch::Esmm(_) = card.arch {
        let train = Rows::open(&inputs.get("data").file(EncodedDataset::TRAIN)?, &card.schema)?;
        beyond_esmm(&card.schema.tasks, &train).iter().for_each(|line| cx.progress.warn(line));
    }
    let origin = match &stage.init {
        Init::Random => String::new(),
        Init::Checkpoint(file) => format!(", {}", init::load(&mut network, file, cx.root)?),
    };
    write_model(&card, &network, out)?;
    let count = |owner: fn(Owner) -> bool| -> usize {
        let trained = network.params.iter().filter(|(_, param)| param.kind != Kind::Statistic && owner(param.owner));
        trained.map(|(_, param)| D::len(&param.value)).sum()
    };
    let summary = format!(
        "{}: {} parameters, {} of them shared by the tasks{origin}",
        card.arch.name(),
        count(|_| true),
        count(|owner| owner == Owner::Shared)
    );
    Ok(Outcome { simulated: false, summary })
}

/// What `Esmm` cannot learn: it gives the second label no more than the probability of the first.
fn beyond_esmm(tasks: &[String], train: &Rows) -> Option<String> {
    let [first, second] = tasks else { return None };
    let (pairs, _) = train.labels().as_chunks::<2>();
    let count = pairs.iter().filter(|pair| **pair == [0, 1]).count();
    (count > 0).then(|| {
        format!(
            "`{second}` is 1 without `{first}` in {count} of {} training rows, which Esmm cannot learn: it takes the second \
             label for a step after the first, never likelier than that; `Mmoe` for example has no order of tasks",
            pairs.len()
        )
    })
}

pub(super) fn build_network<D: Kernels>(card: &ModelCard, seed: u64, device: &D) -> Result<Network<D>, StageError> {
    Network::build(&card.arch, &card.sizes, &card.schema, seed, device)
        .map_err(|problem| StageError::failed(format!("cannot build {}: {problem}", card.arch.name())))
}

/// Writes a model's files into an artifact.
pub(super) fn write_model<D: Kernels>(card: &ModelCard, network: &Network<D>, out: &Draft) -> Result<(), StageError> {
    let json =
        serde_json::to_vec_pretty(card).map_err(|e| StageError::failed(format!("cannot describe the model: {e}")))?;
    out.write(CARD, &json)?;
    Ok(write_checkpoint(network, &out.path(TENSORS))?)
}

/// Reads what an artifact says of its model.
///
/// # Errors
/// When the file is damaged or no such description.
pub(super) fn read_card(artifact: &Artifact) -> Result<ModelCard, StageError> {
    let path = artifact.file(CARD)?;
    let text = std::fs::read(&path).map_err(|source| StageError::Io { action: "cannot read", path, source })?;
    serde_json::from_slice(&text).map_err(|e| StageError::failed(format!("the model's description is not sound: {e}")))
}

/// Reads the model of an artifact, for data of this schema.
///
/// # Errors
/// When the model was made for another schema, or the files are not a model's.
pub(super) fn read_model<D: Kernels>(
    artifact: &Artifact,
    schema: &Schema,
    device: &D,
) -> Result<(ModelCard, Network<D>), StageError> {
    let card = read_card(artifact)?;
    if let Some(difference) = card.schema.difference(schema) {
        let message = format!("the model was made for another schema than the data's: {difference}");
        return Err(StageError::failed(message)
            .hint("let `model` and `data` of this stage go back to the same Preprocess stage"));
    }
    let mut network = build_network(&card, 0, device)?;
    read_checkpoint(&mut network, &artifact.file(TENSORS)?)?;
    Ok((card, network))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Parts;

    #[test]
    fn what_esmm_cannot_learn_is_counted() {
        let said = |labels: &[u8]| {
            let tasks = vec!["click".to_owned(), "buy".to_owned()];
            let schema = Schema { fields: Vec::new(), numerical: Vec::new(), tasks };
            let parts = Parts { labels: labels.to_vec(), ..Parts::default() };
            beyond_esmm(&schema.tasks, &Rows::from_parts(&schema, parts).unwrap())
        };
        assert_eq!(said(&[0, 0, 1, 0, 1, 1]), None);
        let found = said(&[0, 1, 1, 0, 1, 1, 0, 1, 0, 0]).unwrap();
        assert!(found.starts_with("`buy` is 1 without `click` in 2 of 5 training rows"), "{found}");
    }
}
