//! What the tests of the sources share: a throw-away project folder, and the real rows where somebody put them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::log::RawLog;
use super::{
    DataError, Dataset, Encoder, Encoding, FoundFile, Part, Parts, Reading, Rows, Schema, SourceFile, Split, split,
};
use crate::spec::{By, Preprocess, Test, Valid};
use crate::store::FileDigests;

/// A project folder that is gone with the test.
pub(super) struct Project(tempfile::TempDir);

impl Project {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    pub(super) fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Replaces a file by its `.gz`.
    pub(super) fn pack(&self, path: &str) {
        let path = self.root().join(path);
        let packed = fs::File::create(format!("{}.gz", path.display())).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
        encoder.write_all(&fs::read(&path).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(path).unwrap();
    }

    /// What `Download` would record of the data set at its default place.
    pub(super) fn examine(&self, dataset: &Dataset) -> Vec<SourceFile> {
        let found = dataset.locate(self.root(), None).unwrap();
        self.note(found)
    }

    /// What `Download` would record of these files.
    pub(super) fn note(&self, found: Vec<FoundFile>) -> Vec<SourceFile> {
        let digests = FileDigests::default();
        found.into_iter().map(|file| file.examine(self.root(), &digests).unwrap()).collect()
    }

    pub(super) fn read(&self, dataset: &Dataset, fill: Option<f32>) -> Result<RawLog, DataError> {
        self.read_files(dataset, &self.examine(dataset), fill)
    }

    pub(super) fn read_at(&self, dataset: &Dataset, folder: &Path, fill: Option<f32>) -> Result<RawLog, DataError> {
        let found = dataset.locate(self.root(), Some(folder))?;
        self.read_files(dataset, &self.note(found), fill)
    }

    pub(super) fn read_files(
        &self,
        dataset: &Dataset,
        files: &[SourceFile],
        fill: Option<f32>,
    ) -> Result<RawLog, DataError> {
        let mut watch = |_| Ok(());
        dataset.read(files, &mut Reading::new(self.root(), fill, None, &mut watch))
    }
}

/// A log whose rows are encoded, in the order of its files.
pub(super) struct Encoded {
    pub(super) schema: Schema,
    pub(super) encoding: Encoding,
    pub(super) rows: Rows,
}

/// Encodes a log with these training rows.
pub(super) fn encode(log: RawLog, train: &[u32]) -> Encoded {
    let part = |row: usize| if train.contains(&(row as u32)) { Part::Train } else { Part::Test };
    let split = Split::new((0..log.rows()).map(part).collect());
    encode_split(&log, &split)
}

fn encode_split(log: &RawLog, split: &Split) -> Encoded {
    let encoder = Encoder::of(log, split, &mut || Ok(())).unwrap();
    let mut parts = Parts::default();
    log.chunks(|chunk| {
        let (mut ids, mut numbers) = (Vec::new(), Vec::new());
        let numbers = encoder.encode(&chunk, &mut ids, &mut numbers)?;
        parts.categorical.extend(ids);
        parts.numerical.extend_from_slice(numbers);
        parts.labels.extend_from_slice(chunk.labels);
        if let Some(group) = chunk.group {
            parts.group.get_or_insert_default().extend_from_slice(group);
        }
        Ok(())
    })
    .unwrap();
    let rows = Rows::from_parts(&encoder.schema, parts).unwrap();
    Encoded { schema: encoder.schema, encoding: encoder.encoding, rows }
}

/// Splits and encodes a log as `Preprocess` does.
pub(super) fn encoded(log: RawLog, valid: Valid, test: Test) -> (Encoded, Split) {
    let stage = Preprocess {
        from: "download".into(),
        valid,
        test,
        by: By::Row,
        seed: 0,
        fill: None,
        max_bad_rows: 0,
        resources: Default::default(),
    };
    let split = split(&log.given(By::Row).unwrap(), &stage).unwrap();
    (encode_split(&log, &split), split)
}

/// The folder of real rows that holds this file: `$MTOREC_TEST_DATA`, else `../shared/data` beside the project.
/// Without it the test says so and passes.
pub(super) fn real_rows(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("MTOREC_TEST_DATA").map_or_else(beside, PathBuf::from);
    if folder.join(file).is_file() {
        return Some(folder);
    }
    println!("skipped: no `{file}` in `{}`", folder.display());
    None
}
