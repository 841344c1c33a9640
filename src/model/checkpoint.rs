//! Models on disk: safetensors under PyTorch's names and layouts, beside a card that says what the model is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{Arch, Network, Sizes};
use crate::data::Schema;
use crate::nn::TorchTensor;
use crate::tensor::{Kernels, Kind, ParamId};

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

/// Writes every parameter and running statistic of a network under the names of PyTorch's `state_dict`: for
/// MTOReclib's models that list parts a second time, under those names too, so that `load_state_dict` takes the file
/// strictly.
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
        let count = network.batches_tracked.saturating_mul(norm.passes as i64);
        tensors.push((format!("{}.{BATCHES_TRACKED}", norm.name), Dtype::I64, vec![], count.to_le_bytes().to_vec()));
    }
    for (name, value) in &network.constants {
        tensors.push((name.clone(), Dtype::F32, vec![], value.to_le_bytes().to_vec()));
    }
    let format = |source| CheckpointError::Format { path: path.to_owned(), source };
    let mut views = Vec::with_capacity(2 * tensors.len());
    for (name, dtype, shape, bytes) in &tensors {
        let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(format)?;
        views.extend(second_names(network.aliases, name).map(|second| (second, view.clone())));
        views.push((name.clone(), view));
    }
    let bytes = safetensors::serialize(views, None).map_err(format)?;
    std::fs::write(path, bytes).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

/// Loads a checkpoint file into a network; see [`load_tensors`].
///
/// # Errors
/// When the file cannot be read, is no safetensors file, or does not fit; the network is unchanged then.
pub fn read_checkpoint<D: Kernels>(network: &mut Network<D>, path: &Path) -> Result<usize, CheckpointError> {
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
    let tensors =
        SafeTensors::deserialize(&bytes).map_err(|source| CheckpointError::Format { path: path.to_owned(), source })?;
    load_tensors(network, &tensors, "")
}

/// What PyTorch calls the number of batches that a normalisation's running statistics have seen.
const BATCHES_TRACKED: &str = "num_batches_tracked";

/// A name with its part's name in front replaced.
fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let rest = name.strip_prefix(from)?;
    rest.starts_with('.').then(|| format!("{to}{rest}"))
}

/// The other names of a tensor.
fn second_names(aliases: &[(&str, &str)], name: &str) -> impl Iterator<Item = String> {
    aliases.iter().filter_map(move |(second, own)| renamed(name, own, second))
}

/// Loads the tensors whose names start with `prefix` (cut off) into a network. A tensor may stand under its own name, a
/// second one or both, with the same content then. An embedding table may lack the rows for ids unseen in training, which
/// PyTorch's models do not have; those rows stay as they are, and the result is their number.
///
/// # Errors
/// When a tensor is missing, unexpected, of another type or shape, or different under its two names; the text names the first ones, and the network is
/// unchanged.
pub fn load_tensors<D: Kernels>(
    network: &mut Network<D>,
    tensors: &SafeTensors,
    prefix: &str,
) -> Result<usize, CheckpointError> {
    let (mut found, disagreeing) = by_own_name(network.aliases, tensors, prefix);
    let mut problems = Vec::new();
    let device = network.params.device().clone();
    let mut values: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| device.download(&param.value)).collect();
    let mut kept = 0;
    for tensor in &network.tensors {
        match found.remove(&tensor.name) {
            None => problems.push(format!("`{}` is missing", tensor.name)),
            Some(view) => match copy(network, tensor, &view, &mut values) {
                Ok(rows) => kept += rows,
                Err(problem) => problems.push(problem),
            },
        }
    }
    let mut tracked = None;
    for norm in &network.norms {
        // PyTorch itself does without it: files from before it had the count lack it
        let name = format!("{}.{BATCHES_TRACKED}", norm.name);
        let Some(view) = found.remove(&name) else { continue };
        match (view.dtype(), view.data().try_into()) {
            (Dtype::I64, Ok(bytes)) => {
                let count = i64::from_le_bytes(bytes) / norm.passes.max(1) as i64;
                tracked = Some(tracked.map_or(count, |least: i64| least.min(count)));
            }
            _ => problems.push(misfit(&name, &view, "I64 []")),
        }
    }
    for (name, _) in &network.constants {
        found.remove(name.as_str());
    }
    let mut unexpected: Vec<_> = found.into_keys().collect();
    unexpected.sort_unstable();
    problems.extend(unexpected.iter().map(|name| format!("`{name}` is not part of the model")));
    problems.extend(disagreeing);
    if !problems.is_empty() {
        return Err(CheckpointError::Misfit(first_few(&problems)));
    }
    for (id, values) in values.iter().enumerate() {
        device.write(&mut network.params[ParamId(id)].value, values);
    }
    network.batches_tracked = tracked.unwrap_or(network.batches_tracked);
    Ok(kept)
}

/// The tensors of a file by their own names, those that it has under a second one only included; and what is wrong with
/// second names.
fn by_own_name<'a>(
    aliases: &[(&str, &str)],
    tensors: &'a SafeTensors,
    prefix: &str,
) -> (HashMap<String, TensorView<'a>>, Vec<String>) {
    let named: Vec<_> = tensors.iter().filter_map(|(name, view)| Some((name.strip_prefix(prefix)?, view))).collect();
    let own_name = |name: &str| aliases.iter().find_map(|(second, own)| renamed(name, second, own));
    let (seconds, own): (Vec<_>, Vec<_>) =
        named.into_iter().map(|(name, view)| (name, own_name(name), view)).partition(|(_, own, _)| own.is_some());
    let mut found: HashMap<_, _> = own.into_iter().map(|(name, _, view)| (name.to_owned(), view)).collect();
    let content = |view: &TensorView<'a>| (view.dtype(), view.shape().to_vec(), view.data());
    let mut problems = Vec::new();
    for (name, own, view) in seconds {
        let Some(own) = own else { continue };
        if found.get(&own).is_some_and(|first| content(first) != content(&view)) {
            problems.push(format!("`{name}` is a second name of `{own}` and holds something else"));
        }
        found.entry(own).or_insert(view);
    }
    problems.sort_unstable();
    (found, problems)
}

/// Copies a tensor to where its numbers lie in ours; gives the number of rows that it lacks.
fn copy<D: Kernels>(
    network: &Network<D>,
    tensor: &TorchTensor,
    view: &TensorView,
    into: &mut [Vec<f32>],
) -> Result<usize, String> {
    let numbers = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let mut fill = |((param, at), number): ((ParamId, usize), f32)| into[param.0][at] = number;
    if view.dtype() == Dtype::F32 && view.shape() == tensor.shape {
        tensor.elements().zip(numbers).for_each(&mut fill);
        return Ok(0);
    }
    let table = tensor.parts.iter().all(|part| matches!(network.params[part.param].kind, Kind::Table { .. }));
    let lacks = network.unknown.iter().filter(|unknown| **unknown).count();
    if let (Dtype::F32, true, [rows, width], [known, columns]) = (view.dtype(), table, &tensor.shape[..], view.shape())
        && (*rows, known + lacks) == (network.unknown.len(), *rows)
        && columns == width
    {
        let of_known = tensor.elements().enumerate().filter(|(i, _)| !network.unknown[i / width]);
        of_known.map(|(_, at)| at).zip(numbers).for_each(&mut fill);
        return Ok(lacks);
    }
    Err(misfit(&tensor.name, view, &format!("F32 {:?}", tensor.shape)))
}

fn misfit(name: &str, view: &TensorView, expected: &str) -> String {
    format!("`{name}` is {:?} {:?}, expected {expected}", view.dtype(), view.shape())
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

#[cfg(test)]
mod tests {
    use super::super::{MetaHeac, Mmoe, Omoe, SharedBottom};
    use super::*;
    use crate::data::Field;
    use crate::tensor::Cpu;

    const SIZES: Sizes = Sizes::Custom { embed: 4, bottom: (8, 6), tower: (5, 3) };

    fn schema(unknown: bool) -> Schema {
        let field = |size: usize| Field {
            name: format!("f{size}"),
            size: size + usize::from(unknown),
            out_of_vocabulary: unknown.then_some(size as u32),
        };
        Schema { fields: vec![field(3), field(2)], numerical: vec!["x".into()], tasks: vec!["a".into(), "b".into()] }
    }

    fn network(arch: impl Into<Arch>, unknown: bool, seed: u64) -> Network<Cpu> {
        Network::build(&arch.into(), &SIZES, &schema(unknown), seed, &Cpu::default()).unwrap()
    }

    fn numbers(network: &Network<Cpu>) -> Vec<Vec<f32>> {
        network.params.iter().map(|(_, param)| param.value.as_vec()).collect()
    }

    /// A tensor of a file.
    type Entry = (String, (Dtype, Vec<usize>, Vec<u8>));

    fn written(network: &Network<Cpu>) -> Vec<Entry> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write_checkpoint(network, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let entry = |(name, view): (&str, TensorView)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        tensors.iter().map(entry).collect()
    }

    fn load(network: &mut Network<Cpu>, entries: &[Entry]) -> Result<usize, CheckpointError> {
        let views = entries
            .iter()
            .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        load_tensors(network, &SafeTensors::deserialize(&bytes).unwrap(), "")
    }

    /// Loads what `change` makes of a checkpoint that fits; it must be refused and change nothing.
    fn refused(change: impl Fn(&mut Vec<Entry>)) -> String {
        let mut entries = written(&network(SharedBottom::default(), false, 1));
        // second names would stand in for what is taken away
        entries.retain(|(name, _)| !name.contains("_module."));
        change(&mut entries);
        let mut network = network(SharedBottom::default(), false, 2);
        let before = numbers(&network);
        let CheckpointError::Misfit(text) = load(&mut network, &entries).unwrap_err() else { panic!("a misfit") };
        assert_eq!(numbers(&network), before, "a checkpoint that does not fit changes nothing");
        assert_eq!(network.batches_tracked, 0);
        text
    }

    fn of<'a>(entries: &'a mut [Entry], name: &str) -> &'a mut Entry {
        entries.iter_mut().find(|(other, _)| other == name).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let permuted = refused(|entries| of(entries, "bottom.mlp.0.weight").1.1.reverse());
        assert_eq!(permuted, "`bottom.mlp.0.weight` is F32 [12, 8], expected F32 [8, 12]");
        let missing = refused(|entries| entries.retain(|(name, _)| name != "tower.1.mlp.1.running_var"));
        assert_eq!(missing, "`tower.1.mlp.1.running_var` is missing");
        let extra = refused(|entries| of(entries, "tower.1.mlp.0.bias").0 = "tower.2.mlp.0.bias".to_owned());
        assert_eq!(extra, "`tower.1.mlp.0.bias` is missing; `tower.2.mlp.0.bias` is not part of the model");
        let double = refused(|entries| {
            let (_, (dtype, _, bytes)) = of(entries, "numerical_layer.bias");
            *dtype = Dtype::F64;
            bytes.resize(2 * bytes.len(), 0);
        });
        assert_eq!(double, "`numerical_layer.bias` is F64 [4], expected F32 [4]");
        let half = refused(|entries| {
            let (_, (dtype, _, bytes)) = of(entries, "numerical_layer.bias");
            *dtype = Dtype::BF16;
            bytes.truncate(bytes.len() / 2);
        });
        assert_eq!(half, "`numerical_layer.bias` is BF16 [4], expected F32 [4]");
        let count = refused(|entries| of(entries, "bottom.mlp.1.num_batches_tracked").1.0 = Dtype::F64);
        assert_eq!(count, "`bottom.mlp.1.num_batches_tracked` is F64 [], expected I64 []");
        let rows = refused(|entries| {
            let (_, (_, shape, bytes)) = of(entries, "embedding.embedding.weight");
            shape[0] = 4;
            bytes.truncate(4 * 4 * 4);
        });
        assert_eq!(rows, "`embedding.embedding.weight` is F32 [4, 4], expected F32 [5, 4]");
        let all = refused(Vec::clear);
        assert!(all.starts_with("`embedding.embedding.weight` is missing; ") && all.ends_with("more"), "{all}");
    }

    #[test]
    fn every_number_comes_back() {
        let mut from = network(Mmoe::default(), true, 1);
        from.batches_tracked = 7;
        let mut to = network(Mmoe::default(), true, 2);
        assert_eq!(load(&mut to, &written(&from)).unwrap(), 0);
        assert_eq!((numbers(&to), to.batches_tracked), (numbers(&from), 7));
    }

    #[test]
    fn normalisations_that_see_several_batches_a_step_count_them_all() {
        let mut from = network(MetaHeac::default(), false, 1);
        from.batches_tracked = 7;
        let mut entries = written(&from);
        let mut count = |name| of(&mut entries, name).1.2.clone();
        assert_eq!(count("model.expert.0.mlp.1.num_batches_tracked"), 7i64.to_le_bytes());
        assert_eq!(count("model.critic.0.mlp.1.num_batches_tracked"), 14i64.to_le_bytes());
        let mut to = network(MetaHeac::default(), false, 2);
        load(&mut to, &entries).unwrap();
        assert_eq!(to.batches_tracked, 7);
    }

    #[test]
    fn a_second_name_stands_in_for_the_own_one() {
        let from = network(SharedBottom::default(), false, 1);
        let mut entries = written(&from);
        // what `safetensors.torch.save_model` leaves: of several names the first in the alphabet
        entries.retain(|(name, _)| !name.starts_with("tower.") && !name.starts_with("shared_module."));
        let mut to = network(SharedBottom::default(), false, 2);
        load(&mut to, &entries).unwrap();
        assert_eq!(numbers(&to), numbers(&from));
    }

    #[test]
    fn second_names_must_be_known_and_agree() {
        let misfit = |arch: Arch, change: fn(&mut Vec<Entry>)| {
            let mut entries = written(&network(arch.clone(), false, 3));
            change(&mut entries);
            let CheckpointError::Misfit(text) = load(&mut network(arch, false, 4), &entries).unwrap_err() else {
                panic!("a misfit")
            };
            text
        };
        let add = |entries: &mut Vec<Entry>| {
            entries.push(("shared_module.7.weight".to_owned(), (Dtype::F32, vec![1], vec![0; 4])));
        };
        let unknown = "`shared_module.7.weight` is not part of the model";
        assert_eq!(misfit(Mmoe::default().into(), add), unknown);
        assert_eq!(misfit(Omoe::default().into(), add), unknown, "a model without second names");
        let differs = misfit(Mmoe::default().into(), |entries| of(entries, "shared_module.2.bias").1.2[0] ^= 1);
        assert_eq!(
            differs,
            "`shared_module.2.bias` is a second name of `numerical_layer.bias` and holds something else"
        );
    }

    #[test]
    fn rows_for_unseen_ids_may_be_lacking() {
        let from = network(SharedBottom::default(), false, 1);
        let mut to = network(SharedBottom::default(), true, 2);
        let drawn = numbers(&to)[0].clone();
        assert_eq!(load(&mut to, &written(&from)).unwrap(), 2);
        let (known, filled) = (&numbers(&from)[0], &numbers(&to)[0]);
        // three rows of the first field, its unknown one, two rows of the second, its unknown one
        assert_eq!(filled[..12], known[..12]);
        assert_eq!(filled[12..16], drawn[12..16]);
        assert_eq!(filled[16..24], known[12..]);
        assert_eq!(filled[24..], drawn[24..]);
        assert_eq!(numbers(&to)[1..], numbers(&from)[1..]);
    }
}
