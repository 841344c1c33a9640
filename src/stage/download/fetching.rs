//! The files of a data set that are fetched: which, and whether they hold what they should.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::data::SourceFile;
use crate::fetch::{Address, FetchError, Fetched, Fetcher, Sha256, Wanted, Watch};
use crate::readable;
use crate::spec::{Download, Fetch, fetched_as};
use crate::stage::{Context, Lacking, Provision, StageError};

/// The stage's field.
const FIELD: &str = "fetch";

/// What is to be fetched and where to, relative to the project's folder.
fn missing<'a>(stage: &'a Download, root: &Path) -> Vec<(&'a Fetch, PathBuf)> {
    let folder = folder(stage);
    // an archive is of no use to whom has its contents
    let has_contents = || stage.dataset.locate(root, Some(&folder)).is_ok();
    let wanted = |fetch: &'a Fetch| {
        let name = fetch.name()?;
        let file = fetched_as(&stage.dataset, &name)?;
        let there = [file.clone(), format!("{file}.gz")].iter().any(|name| root.join(&folder).join(name).is_file());
        let enough = there || is_archive(&file) && has_contents();
        (!enough).then(|| (fetch, folder.join(name)))
    };
    stage.fetch.iter().filter_map(wanted).collect()
}

fn is_archive(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "zip")
}

fn folder(stage: &Download) -> PathBuf {
    stage.path.as_ref().map_or_else(|| stage.dataset.folder(), PathBuf::from)
}

/// See [`crate::stage::Execute::lacking`].
pub(super) fn lacking(stage: &Download, root: &Path) -> Vec<Lacking> {
    missing(stage, root).into_iter().map(|(fetch, path)| Lacking { path, url: fetch.url.clone() }).collect()
}

/// Fetches what is missing.
///
/// # Errors
/// At the first file that cannot be had.
pub(super) fn fetch(stage: &Download, provision: &Provision) -> Result<(), StageError> {
    for (fetch, path) in missing(stage, provision.root) {
        let address: Address = fetch.url.parse().map_err(|error| wrong(format!("`{}`: {error}", fetch.url)))?;
        let to = provision.root.join(&path);
        provision.progress.note(&format!("fetches {address} to `{}`", path.display()));
        let wanted = Wanted { address, sha256: expected(fetch)?, to: &to };
        match Fetcher::default().fetch(&wanted, &Watcher(provision))? {
            Fetched::New(sha256) => {
                provision.progress.note(&format!("`{}` is there: SHA-256 {sha256}", path.display()))
            }
            Fetched::Present => provision.progress.note(&format!("another process fetched `{}`", path.display())),
        }
    }
    Ok(())
}

/// Whether the files that have a SHA-256 in the pipeline have it on the disk, however they came there.
///
/// # Errors
/// At the first that has another one.
pub(super) fn hold(stage: &Download, cx: &Context, files: &[SourceFile]) -> Result<(), StageError> {
    for fetch in &stage.fetch {
        let Some(expected) = expected(fetch)? else { continue };
        let path = folder(stage).join(fetch.name().unwrap_or_default());
        if !files.iter().any(|file| file.path == path) {
            continue;
        }
        let stop = || cx.check_interrupt().is_err();
        let got = File::open(cx.root.join(&path)).and_then(|file| Sha256::of_reader(file, stop));
        let got = got.map_err(|source| StageError::Io { action: "cannot read", path: path.clone(), source })?;
        let got = got.ok_or(StageError::Interrupted)?;
        if got != expected {
            return Err(StageError::Field {
                field: FIELD,
                message: format!("`{}` should have SHA-256 {expected} and has {got}", path.display()),
                hint: "remove the file and it is fetched anew; or correct `sha256:` if this is the right file".into(),
            });
        }
    }
    Ok(())
}

fn expected(fetch: &Fetch) -> Result<Option<Sha256>, StageError> {
    let parsed = fetch.sha256.as_ref().map(|digest| digest.parse());
    parsed.transpose().map_err(|error: crate::fetch::ParseSha256Error| wrong(error.to_string()))
}

fn wrong(message: String) -> StageError {
    StageError::Field { field: FIELD, message, hint: "`mtorec check` says where".into() }
}

/// A fetch on the stage's bar.
struct Watcher<'a>(&'a Provision<'a>);

impl Watch for Watcher<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn begin(&self, total: Option<u64>) {
        match total {
            Some(total) => self.0.progress.begin(total / 1000, "kB"),
            None => self.0.progress.begin(0, "kB, of how many is not known"),
        }
    }

    fn at(&self, done: u64, rate: f64) {
        self.0.progress.at(done / 1000, &format!("{}/s", readable::bytes(rate as u64)));
    }

    fn note(&self, line: &str) {
        self.0.progress.note(line);
    }
}

impl From<FetchError> for StageError {
    fn from(error: FetchError) -> Self {
        let hint = error.hint();
        match error {
            FetchError::Interrupted => Self::Interrupted,
            FetchError::Io { action, path, source } => Self::Io { action, path, source },
            other => Self::Failed { message: other.to_string(), hint },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::CensusIncome;
    use crate::spec::WhenMissing;

    fn stage(path: Option<&str>) -> Download {
        let fetch =
            |url: &str, file: Option<&str>| Fetch { url: url.into(), file: file.map(str::to_owned), sha256: None };
        Download {
            dataset: CensusIncome::default().into(),
            path: path.map(str::to_owned),
            when_missing: WhenMissing::Fail,
            fetch: vec![fetch("http://a/census-income.data.gz", None), fetch("http://a/b", Some("census-income.test"))],
            resources: Default::default(),
        }
    }

    fn lacks(stage: &Download, root: &Path) -> Vec<String> {
        lacking(stage, root).into_iter().map(|file| format!("{} {}", file.path.display(), file.url)).collect()
    }

    #[test]
    fn only_what_is_not_there_in_any_form_is_fetched() {
        let root = tempfile::tempdir().unwrap();
        let (data, test) =
            ("data/census/census-income.data.gz http://a/census-income.data.gz", "census-income.test http://a/b");
        let test_there = format!("data/census/{test}");
        assert_eq!(lacks(&stage(None), root.path()), [data, &test_there]);
        fs::create_dir_all(root.path().join("data/census")).unwrap();
        fs::write(root.path().join("data/census/census-income.data"), "").unwrap();
        assert_eq!(lacks(&stage(None), root.path()), [test_there.as_str()]);
        fs::write(root.path().join("data/census/census-income.test.gz"), "").unwrap();
        assert!(lacks(&stage(None), root.path()).is_empty());
        assert_eq!(lacks(&stage(Some("other")), root.path()).len(), 2);
    }

    #[test]
    fn an_archive_is_not_fetched_where_its_contents_are() {
        let root = tempfile::tempdir().unwrap();
        let mut stage = stage(None);
        let url = "http://a/census+income+kdd.zip".to_owned();
        stage.fetch = vec![Fetch { url: url.clone(), file: None, sha256: None }];
        assert_eq!(lacks(&stage, root.path()), [format!("data/census/census+income+kdd.zip {url}")]);
        fs::create_dir_all(root.path().join("data/census")).unwrap();
        fs::write(root.path().join("data/census/census-income.test.gz"), "").unwrap();
        assert!(lacks(&stage, root.path()).is_empty());
    }
}
