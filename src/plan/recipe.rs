//! From a stage and its inputs to the recipe of its artifact.

use std::path::Path;

use crate::stage::{Device, StageError, Work};
use crate::store::{Digest, FileDigests, Recipe};

/// Where a pipeline is planned and run: the same for all its stages.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The project's folder.
    pub root: &'a Path,
    /// Where tensors live.
    pub device: Device,
    /// Digests of files outside the store.
    pub digests: &'a FileDigests,
    /// Whether files may not be fetched.
    pub offline: bool,
}

/// The recipe of the artifact that a stage makes of inputs with these contents. References are replaced by the contents
/// they lead to, so no stage's name is in it.
///
/// # Errors
/// When a file outside the store that the stage must read is not there.
pub fn recipe<'a>(
    work: &dyn Work,
    inputs: impl IntoIterator<Item = (&'a str, Digest)>,
    site: Site,
) -> Result<Recipe, StageError> {
    let files = work.externals(site.root, site.digests)?;
    Ok(Recipe {
        kind: work.kind().to_owned(),
        revision: work.revision(),
        device: work.depends_on_device().then(|| device_kind(site.device).to_owned()),
        parameters: work.parameters(),
        inputs: inputs.into_iter().map(|(field, content)| (field.to_owned(), content)).collect(),
        files: files.into_iter().map(|file| (file.role, file.digest)).collect(),
    })
}

/// The kind, not the number: two cards of a machine give the same bits.
fn device_kind(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => "cuda",
    }
}
