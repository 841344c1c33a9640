//! `init: Checkpoint(..)` of `BuildModel`: a file from outside, and what to say when it cannot be used.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::{External, StageError};
use crate::model::{CheckpointError, Network, read_checkpoint};
use crate::spec::neighbour;
use crate::store::FileDigests;
use crate::tensor::Kernels;

/// The stage's field, which is also the file's role in the stage's key.
const FIELD: &str = "init";

/// The file as an input of the stage.
///
/// # Errors
/// When it cannot be read.
pub(super) fn external(file: &str, root: &Path, digests: &FileDigests) -> Result<External, StageError> {
    let path = root.join(file);
    let digest = digests.digest(&path).map_err(|source| unreadable(file, root, &source))?;
    Ok(External { role: FIELD.to_owned(), path, digest })
}

/// Loads the file into a network and says so.
///
/// # Errors
/// When it cannot be read, is no safetensors file or does not fit; the network is unchanged then.
pub(super) fn load<D: Kernels>(network: &mut Network<D>, file: &str, root: &Path) -> Result<String, StageError> {
    let path = root.join(file);
    let rows = read_checkpoint(network, &path).map_err(|error| match error {
        CheckpointError::Io { source, .. } => unreadable(file, root, &source),
        CheckpointError::Format { source, .. } => not_safetensors(file, &path, &source),
        CheckpointError::Misfit(differences) => does_not_fit(file, &differences),
    })?;
    Ok(match rows {
        0 => format!("from `{file}`"),
        _ => {
            format!("from `{file}` but for {rows} rows for ids unseen in training, which it lacks and which are drawn")
        }
    })
}

fn wrong(message: String, hint: String) -> StageError {
    StageError::Field { field: FIELD, message, hint }
}

fn unreadable(file: &str, root: &Path, source: &io::Error) -> StageError {
    if source.kind() != ErrorKind::NotFound {
        return wrong(
            format!("cannot read the checkpoint `{file}`: {source}"),
            "`init: Checkpoint(..)` takes a safetensors file that can be read".to_owned(),
        );
    }
    let hint = match neighbour(&root.join(file)).as_deref().and_then(Path::file_name) {
        Some(name) => format!("did you mean `{}`?", Path::new(file).with_file_name(name).display()),
        None => format!(
            "put it there or name another file (a relative path starts at `{}`); without `init` the parameters are drawn",
            root.display()
        ),
    };
    wrong(format!("there is no checkpoint `{file}`"), hint)
}

fn not_safetensors(file: &str, path: &Path, source: &safetensors::SafeTensorError) -> StageError {
    let start = beginning(path).unwrap_or_default();
    // a safetensors file starts with the length of its header, which is JSON
    if start.get(8) == Some(&b'{') {
        return wrong(
            format!("`{file}` is a damaged safetensors file: {source}"),
            "copy or write it again; it is cut short or was changed".to_owned(),
        );
    }
    let looks = match start.as_slice() {
        [] => "it is empty",
        [b'P', b'K', ..] => "it looks like what `torch.save` writes",
        [0x80, ..] => "it looks like a Python pickle",
        _ => "it does not begin like one",
    };
    wrong(format!("`{file}` is no safetensors file: {looks}"), conversion(file))
}

/// The first bytes of a file.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(9).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How a `state_dict` that `torch.save` wrote becomes a safetensors file. Its tensors may share memory (MTOReclib lists
/// parts twice), which `save_file` refuses: hence the clones.
fn conversion(file: &str) -> String {
    let mut name = Path::new(file).with_extension("safetensors");
    if name == Path::new(file) {
        name.set_file_name("converted.safetensors");
    }
    let name = name.display().to_string();
    [
        "three lines of Python make one of a `state_dict` that `torch.save` wrote; name the new file in `init` then"
            .into(),
        "import torch, safetensors.torch".to_owned(),
        format!("state = torch.load({file:?}, map_location=\"cpu\", weights_only=True)"),
        format!("safetensors.torch.save_file({{k: v.contiguous().clone() for k, v in state.items()}}, {name:?})"),
    ]
    .join("\n    ")
}

fn does_not_fit(file: &str, differences: &str) -> StageError {
    let hint = "`arch` and its hyper-parameters, `sizes`, and the fields and tasks of `data` must be those it was made for \
                (a dropout of 0 counts: PyTorch then numbers the layers otherwise), and parameters 32-bit floats (`.float()`)";
    wrong(format!("checkpoint `{file}` does not fit the model: {differences}"), hint.to_owned())
}
