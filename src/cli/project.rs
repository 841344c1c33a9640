//! What a call about one pipeline works on: the checked pipeline, its graph, the project's folder and store.

use std::path::{Path, PathBuf};

use super::Exit;
use super::failure::Failure;
use crate::plan::{Elsewhere, Graph, Plan, Record, Site, plan};
use crate::registry::of_ron;
use crate::run::slurm::Asked;
use crate::spec::{self, Grid, Loaded, LoadedSweep, Pipeline, Places};
use crate::stage::Device;
use crate::store::{FileDigests, Store};

/// Which pipeline.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PipelineArgs {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) edits: Edits,
}

/// Which pipeline or sweep.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AnyArgs {
    /// The pipeline or sweep file.
    #[arg(value_name = "PIPELINE|SWEEP")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) edits: Edits,
}

/// How a pipeline is read.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Edits {
    /// Change a field for this call: `--set train.seed=2`, `--set 'train.balancer=Famo()'`; repeatable.
    #[arg(long = "set", value_name = "STAGE.FIELD=RON")]
    pub(super) sets: Vec<String>,
    #[command(flatten)]
    pub(super) root: RootArg,
}

/// The project's folder.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RootArg {
    /// The project's folder, where relative paths start and the store lies [default: the folder that holds `pipelines/`,
    /// or else the pipeline file].
    #[arg(long = "root", value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
}

/// What takes part, and where it is computed.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SelectionArgs {
    /// Run this stage even if it is up to date, from its beginning; repeatable.
    #[arg(long, value_name = "STAGE")]
    pub(super) force: Vec<String>,
    /// Leave out everything that this stage does not need.
    #[arg(long, value_name = "STAGE")]
    pub(super) until: Option<String>,
    /// Where tensors live: `cpu`, or in a build with `--features cuda` also `cuda` and `cuda:1`.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(super) device: String,
    #[command(flatten)]
    pub(super) network: NetworkArg,
}

/// Whether the network may be used.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct NetworkArg {
    /// Use no network: a file that would have to be fetched is an error.
    #[arg(long)]
    pub(super) offline: bool,
}

impl SelectionArgs {
    /// All stages, on the processor.
    pub(super) fn everything(network: NetworkArg) -> Self {
        Self { force: Vec::new(), until: None, device: "cpu".to_owned(), network }
    }

    /// What an earlier call asked for.
    pub(super) fn of_submission(asked: &Asked) -> Self {
        Self {
            force: asked.forced.clone(),
            until: asked.until.clone(),
            device: asked.device.clone(),
            network: NetworkArg { offline: asked.offline },
        }
    }
}

/// A selection, stage by stage.
pub(super) struct Selection {
    pub(super) forced: Vec<bool>,
    pub(super) selected: Vec<bool>,
    pub(super) device: Device,
    pub(super) offline: bool,
}

/// A pipeline and all around it.
pub(super) struct Project {
    pub(super) file: PathBuf,
    pub(super) root: PathBuf,
    pub(super) pipeline: Pipeline,
    pub(super) places: Places,
    pub(super) graph: Graph,
    pub(super) store: Store,
    pub(super) digests: FileDigests,
    pub(super) record: Record,
}

impl Project {
    pub(super) fn load(file: &Path, edits: &Edits) -> Result<Self, Failure> {
        let Loaded { pipeline, places, .. } = spec::load(file, &edits.sets)?;
        let graph = Graph::of_pipeline(&pipeline).map_err(Failure::call)?;
        let root = match &edits.root.folder {
            Some(root) => existing_folder(root)?,
            None => project_folder(file)?,
        };
        let store = Store::open(&root)?;
        let digests = FileDigests::of_store(&store);
        let record = Record::load(&store, &pipeline.name)?;
        Ok(Self { file: file.to_path_buf(), root, pipeline, places, graph, store, digests, record })
    }

    /// A sweep and the pipeline of all its cells.
    pub(super) fn load_sweep(file: &Path, root: &RootArg) -> Result<(Self, LoadedSweep), Failure> {
        let root = match &root.folder {
            Some(root) => existing_folder(root)?,
            None => project_folder(file)?,
        };
        let loaded = spec::load_sweep(file, |_: &Path| root.clone())?;
        let project = Self::of_pipeline(file, root, loaded.grid.pipeline.clone())?;
        Ok((project, loaded))
    }

    /// A pipeline, or a sweep and the pipeline of all its cells: for commands that only look.
    pub(super) fn load_any(args: &AnyArgs) -> Result<(Self, Option<LoadedSweep>), Failure> {
        if spec::kind_of_file(&args.file).as_deref() != Some("Sweep") {
            return Ok((Self::load(&args.file, &args.edits)?, None));
        }
        if !args.edits.sets.is_empty() {
            return Err(Failure::call("a sweep takes no `--set`")
                .hint("an axis `Set(\"stage.field\", [value])` changes a field of every cell"));
        }
        let (project, sweep) = Self::load_sweep(&args.file, &args.edits.root)?;
        Ok((project, Some(sweep)))
    }

    /// What was submitted to a cluster, as it was then.
    pub(super) fn of_submission(asked: &Asked) -> Result<(Self, Option<LoadedSweep>), Failure> {
        let lost = |error| Failure::trouble(Exit::Failed, format!("what was submitted cannot be understood: {error}"));
        let pipeline: Pipeline = of_ron(&asked.pipeline).map_err(lost)?;
        let loaded = match &asked.sweep {
            Some(frozen) => {
                let grid = Grid { cells: frozen.cells.clone(), pipeline: pipeline.clone() };
                Some(LoadedSweep { sweep: of_ron(&frozen.sweep).map_err(lost)?, grid })
            }
            None => None,
        };
        let mut project = Self::of_pipeline(&asked.file, asked.root.clone(), pipeline)?;
        // places are those of the file, while it still says the same
        if let Ok(loaded) = spec::load(&asked.file, &[])
            && loaded.pipeline == project.pipeline
        {
            project.places = loaded.places;
        }
        Ok((project, loaded))
    }

    fn of_pipeline(file: &Path, root: PathBuf, pipeline: Pipeline) -> Result<Self, Failure> {
        let graph = Graph::of_pipeline(&pipeline).map_err(Failure::call)?;
        let store = Store::open(&root)?;
        let digests = FileDigests::of_store(&store);
        let record = Record::load(&store, &pipeline.name)?;
        let places = Places::of_file(file);
        Ok(Self { file: file.to_path_buf(), root, pipeline, places, graph, store, digests, record })
    }

    pub(super) fn select(&self, args: &SelectionArgs) -> Result<Selection, Failure> {
        let mut forced = vec![false; self.graph.nodes().len()];
        for name in &args.force {
            forced[self.graph.find(name)?] = true;
        }
        let selected = match &args.until {
            Some(name) => self.graph.needed_for(self.graph.find(name)?),
            None => vec![true; forced.len()],
        };
        Ok(Selection { forced, selected, device: device(&args.device)?, offline: args.network.offline })
    }

    pub(super) fn site(&self, selection: &Selection) -> Site<'_> {
        Site { root: &self.root, device: selection.device, digests: &self.digests, offline: selection.offline }
    }

    pub(super) fn plan(&self, selection: &Selection) -> Result<Plan, Failure> {
        self.plan_with(selection, &|_| None)
    }

    /// A plan of what would run, and what would come from elsewhere.
    pub(super) fn plan_with(&self, selection: &Selection, elsewhere: Elsewhere) -> Result<Plan, Failure> {
        let (site, Selection { forced, selected, .. }) = (self.site(selection), selection);
        Ok(plan(&self.graph, &self.store, &self.record, site, forced, selected, elsewhere)?)
    }
}

/// The folder that a pipeline file belongs to: the parent of `pipelines/`, or else the file's own folder.
pub(super) fn project_folder(file: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(file).map_err(|error| Failure::trouble(Exit::Failed, error))?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    match (folder.file_name(), folder.parent()) {
        (Some(name), Some(parent)) if name == "pipelines" => Ok(parent.to_path_buf()),
        _ => Ok(folder.to_path_buf()),
    }
}

/// A folder that the call names, which must be there.
pub(super) fn existing_folder(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Err(Failure::call(format!("`{}` is no folder", path.display()))
            .hint("`--root` takes the project's folder, which holds `pipelines/` and `data/`"));
    }
    std::path::absolute(path).map_err(|error| Failure::trouble(Exit::Failed, error))
}

fn device(name: &str) -> Result<Device, Failure> {
    let number = name.strip_prefix("cuda:").map(str::parse::<usize>);
    match (name, number) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) => cuda(name, 0),
        (_, Some(Ok(number))) => cuda(name, number),
        _ => Err(Failure::call(format!("there is no device `{name}`"))
            .hint("`cpu` is the processor, `cuda` the first NVIDIA GPU, and `cuda:1` the second")),
    }
}

#[cfg(feature = "cuda")]
fn cuda(_name: &str, number: usize) -> Result<Device, Failure> {
    Ok(Device::Cuda(number))
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _number: usize) -> Result<Device, Failure> {
    Err(Failure::call(format!("this build of mtorec has no device `{name}`")).hint(
        "`cargo build --release --features cuda` makes one that has; leave `--device` out to compute on the processor",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_around_pipelines_or_the_file() {
        let folder = |file: &str| project_folder(Path::new(file)).ok().unwrap();
        assert_eq!(folder("/a/pipelines/x.ron"), Path::new("/a"));
        assert_eq!(folder("/a/b/x.ron"), Path::new("/a/b"));
        assert_eq!(folder("x.ron"), std::env::current_dir().unwrap());
        assert_eq!(folder("pipelines/x.ron"), std::env::current_dir().unwrap());
    }

    #[test]
    fn devices_are_told_apart() {
        assert!(device("cpu").is_ok());
        let message = |name: &str| match device(name) {
            Err(Failure::Trouble { exit: Exit::Wrong, error, .. }) => error.to_string(),
            _ => panic!("`{name}` is no device here"),
        };
        if cfg!(feature = "cuda") {
            assert!(device("cuda").is_ok() && device("cuda:1").is_ok());
        } else {
            assert_eq!(message("cuda:1"), "this build of mtorec has no device `cuda:1`");
        }
        assert_eq!(message("gpu"), "there is no device `gpu`");
        assert_eq!(message("cuda:x"), "there is no device `cuda:x`");
    }
}
