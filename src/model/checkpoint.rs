//! Models on disk: safetensors under PyTorch's names and layouts, beside a card that says what the model is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use dfdx::shapes::HasShape;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{Arch, Network, Sizes};
use crate::data::Schema;
use crate::tensor::{Kernels, ParamId};

/// `model.json` of a model's artifact: what to build before the tensors can be loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The architecture and its hyper-parameters.
    pub arch: Arch,
    /// Its widths.
    pub sizes: Sizes,
    /// The data it fits.
    pub schema: Schema,
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file itself.
    #[error("cannot access checkpoint `{}`", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file.
    #[error("`{}` is not a safetensors checkpoint: {source}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What the format's library said.
        source: safetensors::SafeTensorError,
    },
    /// Tensors are missing, unexpected or of another shape.
    #[error("checkpoint does not fit the model: {0}")]
    Misfit(String),
}

/// Writes every parameter and running statistic of a network.
///
/// # Errors
/// When the file cannot be written.
pub fn write_checkpoint<D: Kernels>(network: &Network<D>, path: &Path) -> Result<(), CheckpointError> {
    let device = network.params.device();
    let values: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| device.download(&param.value)).collect();
    let mut tensors = Vec::with_capacity(network.tensors.len() + network.norms.len());
    for tensor in &network.tensors {
        let bytes: Vec<u8> = tensor.elements().flat_map(|(param, at)| values[param.0][at].to_le_bytes()).collect();
        tensors.push((tensor.name.clone(), Dtype::F32, tensor.shape.clone(), bytes));
    }
    for norm in &network.norms {
        let count = network.batches_tracked.to_le_bytes().to_vec();
        tensors.push((format!("{norm}.num_batches_tracked"), Dtype::I64, vec![], count));
    }
    for (name, value) in &network.constants {
        tensors.push((name.clone(), Dtype::F32, vec![], value.to_le_bytes().to_vec()));
    }
    let format = |source| CheckpointError::Format { path: path.to_owned(), source };
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(format)?;
    let bytes = safetensors::serialize(views, None).map_err(format)?;
    std::fs::write(path, bytes).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

/// Loads a checkpoint file into a network.
///
/// # Errors
/// When the file cannot be read, is no safetensors file, or does not fit; the network is unchanged then.
pub fn read_checkpoint<D: Kernels>(network: &mut Network<D>, path: &Path) -> Result<(), CheckpointError> {
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    let tensors =
        SafeTensors::deserialize(&bytes).map_err(|source| CheckpointError::Format { path: path.to_owned(), source })?;
    load_tensors(network, &tensors, "")
}

/// MTOReclib's modules list their parts a second time under these names.
const ALIASES: [&str; 2] = ["shared_module.", "task_specific_module."];

/// Loads the tensors whose names start with `prefix` (cut off) into a network.
///
/// # Errors
/// When a tensor is missing, unexpected or of another shape; the text names the first ones, and the network is unchanged.
pub fn load_tensors<D: Kernels>(
    network: &mut Network<D>,
    tensors: &SafeTensors,
    prefix: &str,
) -> Result<(), CheckpointError> {
    let mut found: HashMap<&str, TensorView> = HashMap::new();
    for (name, view) in tensors.iter() {
        if let Some(name) = name.strip_prefix(prefix)
            && !ALIASES.iter().any(|alias| name.starts_with(alias))
        {
            found.insert(name, view);
        }
    }
    let mut problems = Vec::new();
    let mut values: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| vec![0.0; param.value.shape().0]).collect();
    for tensor in &network.tensors {
        match found.remove(tensor.name.as_str()) {
            None => problems.push(format!("`{}` is missing", tensor.name)),
            Some(view) if view.dtype() != Dtype::F32 || view.shape() != tensor.shape => problems.push(format!(
                "`{}` is {:?} {:?}, expected F32 {:?}",
                tensor.name,
                view.dtype(),
                view.shape(),
                tensor.shape
            )),
            Some(view) => {
                for ((param, at), bytes) in tensor.elements().zip(view.data().as_chunks::<4>().0) {
                    values[param.0][at] = f32::from_le_bytes(*bytes);
                }
            }
        }
    }
    // a normalisation that is read several times a step (MetaHeac's critics, once a task) counts more than steps
    let mut tracked = None;
    for norm in &network.norms {
        if let Some(view) = found.remove(format!("{norm}.num_batches_tracked").as_str())
            && let Ok(bytes) = view.data().try_into()
        {
            let count = i64::from_le_bytes(bytes);
            tracked = Some(tracked.map_or(count, |least: i64| least.min(count)));
        }
    }
    for (name, _) in &network.constants {
        found.remove(name.as_str());
    }
    let mut unexpected: Vec<_> = found.into_keys().collect();
    unexpected.sort_unstable();
    problems.extend(unexpected.iter().map(|name| format!("`{name}` is not part of the model")));
    if !problems.is_empty() {
        return Err(CheckpointError::Misfit(first_few(&problems)));
    }
    let device = network.params.device().clone();
    for (id, values) in values.iter().enumerate() {
        device.write(&mut network.params[ParamId(id)].value, values);
    }
    network.batches_tracked = tracked.unwrap_or(network.batches_tracked);
    Ok(())
}

/// The first problems and how many more there are.
fn first_few(problems: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = problems[..problems.len().min(SHOWN)].join("; ");
    if problems.len() > SHOWN {
        text.push_str(&format!("; and {} more", problems.len() - SHOWN));
    }
    text
}
