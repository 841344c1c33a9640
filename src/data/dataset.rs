//! An encoded data set on disk: `schema.json` and one memory-mapped safetensors file a split.

use std::path::{Path, PathBuf};

use super::{DataError, Rows, Schema};
use crate::store::Artifact;

/// A whole encoded data set.
#[derive(Debug)]
pub struct EncodedDataset {
    /// What the columns are.
    pub schema: Schema,
    /// Rows to learn from.
    pub train: Rows,
    /// Rows that decide when to stop.
    pub valid: Rows,
    /// Rows to measure on.
    pub test: Rows,
}

impl EncodedDataset {
    /// Where the schema lies in an artifact.
    pub const SCHEMA: &str = "schema.json";
    /// Where the training rows lie in an artifact.
    pub const TRAIN: &str = "train.safetensors";
    /// Where the validation rows lie in an artifact.
    pub const VALID: &str = "valid.safetensors";
    /// Where the test rows lie in an artifact.
    pub const TEST: &str = "test.safetensors";

    /// Maps the data set that lies in a folder.
    ///
    /// # Errors
    /// When a file is missing or breaks the format.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        Self::open_with(|file| Ok(folder.join(file)))
    }

    /// Maps the data set of a `Preprocess` artifact, whose digests are verified first.
    ///
    /// # Errors
    /// When a file is missing, damaged or breaks the format.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, DataError> {
        Self::open_with(|file| Ok(artifact.file(file)?))
    }

    fn open_with(path: impl Fn(&str) -> Result<PathBuf, DataError>) -> Result<Self, DataError> {
        let schema = Schema::read(&path(Self::SCHEMA)?)?;
        let rows = |file| Rows::open(&path(file)?, &schema);
        let (train, valid, test) = (rows(Self::TRAIN)?, rows(Self::VALID)?, rows(Self::TEST)?);
        Ok(Self { schema, train, valid, test })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{Field, Parts};

    fn schema() -> Schema {
        let field = |name: &str, size| Field { name: name.into(), size, out_of_vocabulary: Some(size as u32 - 1) };
        Schema {
            fields: vec![field("colour", 3), field("shape", 5)],
            numerical: vec!["price".into()],
            tasks: vec!["click".into(), "buy".into()],
        }
    }

    fn parts() -> Parts {
        Parts {
            categorical: vec![0, 4, 1, 3, 2, 2],
            numerical: vec![0.5, -1.0, 2.0],
            labels: vec![0, 0, 1, 0, 1, 1],
            group: Some(vec![7, 7, -9]),
            probability: Some(vec![0.1, 0.0, 0.5, 0.2, 1.0, 0.25]),
        }
    }

    fn quiet(_: crate::data::Advance) -> Result<(), DataError> {
        Ok(())
    }

    fn write_all(folder: &Path) {
        let rows = Rows::from_parts(&schema(), parts()).unwrap();
        schema().write(&folder.join(EncodedDataset::SCHEMA)).unwrap();
        rows.write(&folder.join(EncodedDataset::TRAIN), &mut quiet).unwrap();
        let some = |file, keep: &[u32]| {
            let mut writer = Rows::writer(&folder.join(file), &schema(), keep.len(), true, true).unwrap();
            rows.chunks(|chunk| writer.push(&chunk, keep, chunk.categorical, chunk.numerical)).unwrap();
            writer.finish().unwrap();
        };
        some(EncodedDataset::VALID, &[2, 0]);
        some(EncodedDataset::TEST, &[1]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path());
        let data = EncodedDataset::open(folder.path()).unwrap();
        assert_eq!(data.schema, schema());
        assert_eq!(data.train.to_parts(), parts());
        assert_eq!((data.train.len(), data.valid.len(), data.test.len()), (3, 2, 1));
        assert_eq!((data.test.fields(), data.test.columns(), data.test.tasks()), (2, 1, 2));
        let expected = Parts {
            categorical: vec![2, 2, 0, 4],
            numerical: vec![2.0, 0.5],
            labels: vec![1, 1, 0, 0],
            group: Some(vec![-9, 7]),
            probability: Some(vec![1.0, 0.25, 0.1, 0.0]),
        };
        assert_eq!(data.valid.to_parts(), expected);
    }

    #[test]
    fn a_log_without_numbers_groups_or_fields_round_trips() {
        let schema = Schema { fields: vec![], numerical: vec![], tasks: vec!["click".into()] };
        let parts = Parts { labels: vec![1, 0, 1], ..Parts::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.safetensors");
        Rows::from_parts(&schema, parts.clone()).unwrap().write(&path, &mut quiet).unwrap();
        assert_eq!(Rows::open(&path, &schema).unwrap().to_parts(), parts);
    }

    #[test]
    fn a_file_holds_the_rows_that_were_announced() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::from_parts(&schema(), parts()).unwrap();
        let mut writer = Rows::writer(&folder.path().join("x"), &schema(), 3, true, true).unwrap();
        rows.chunks(|chunk| writer.push(&chunk, &[0, 1], chunk.categorical, chunk.numerical)).unwrap();
        assert!(writer.finish().unwrap_err().to_string().ends_with("2 rows where 3 were announced"));
    }

    #[test]
    fn writing_stops_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::from_parts(&schema(), parts()).unwrap();
        let stopped = rows.write(&folder.path().join("x"), &mut |_| Err(DataError::Interrupted));
        assert!(matches!(stopped, Err(DataError::Interrupted)));
    }

    #[test]
    fn rows_that_break_a_promise_are_refused() {
        let refused = |change: &dyn Fn(&mut Parts)| {
            let mut broken = parts();
            change(&mut broken);
            Rows::from_parts(&schema(), broken).unwrap_err().to_string()
        };
        let message = refused(&|parts| parts.categorical[3] = 5);
        assert!(message.ends_with("row 1 has id 5 in field `shape`, which has 5"), "{message}");
        let message = refused(&|parts| parts.numerical[2] = f32::NAN);
        assert!(message.ends_with("row 2 has NaN in column `price`"), "{message}");
        let message = refused(&|parts| parts.labels[1] = 2);
        assert!(message.ends_with("row 0 has label 2 for task `buy`"), "{message}");
        let message = refused(&|parts| parts.probability.as_mut().unwrap()[2] = 1.5);
        assert!(message.ends_with("row 1 has probability 1.5 for task `click`"), "{message}");
        let message = refused(&|parts| parts.categorical.truncate(5));
        assert!(message.ends_with("`categorical` has 5 values where 6 are expected"), "{message}");
        let message = refused(&|parts| parts.labels.truncate(5));
        assert!(message.ends_with("5 labels for 2 tasks"), "{message}");
        let message = refused(&|parts| parts.group = Some(vec![1]));
        assert!(message.ends_with("`group` has 1 values where 3 are expected"), "{message}");
    }

    #[test]
    fn a_malformed_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path());
        let path = folder.path().join(EncodedDataset::TRAIN);
        let sound = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let message = EncodedDataset::open(folder.path()).unwrap_err().to_string();
            assert!(message.contains("train.safetensors"), "{message}");
            message
        };
        // However the file is cut, it is refused.
        for length in 0..sound.len() {
            refused(&sound[..length]);
        }
        assert!(refused(&[&sound[..], &[0]].concat()).contains("not a sound encoded log"));

        // A wrong type of the right width, a wrong shape and a wrong name, each with a header of the same length.
        let header = |from: &str, to: &str| {
            let at = sound.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut bytes = sound.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            bytes
        };
        let message = refused(&header("U32", "I32"));
        assert!(message.ends_with("tensor `categorical` is I32 where U32 is expected"), "{message}");
        let message = refused(&header("[3,2]", "[2,3]"));
        assert!(message.ends_with("tensor `categorical` has shape [2, 3] where [3, 2] is expected"), "{message}");
        let message = refused(&header("numerical", "numerikal"));
        assert!(message.ends_with("no tensor `numerical`"), "{message}");

        // One byte off: the tensors no longer start on a boundary of their type.
        let mut shifted = sound.clone();
        let length = u64::from_le_bytes(sound[..8].try_into().unwrap());
        shifted[..8].copy_from_slice(&(length + 1).to_le_bytes());
        shifted.insert(8 + length as usize, b' ');
        assert!(refused(&shifted).ends_with("does not start aligned"));

        fs::remove_file(&path).unwrap();
        let message = EncodedDataset::open(folder.path()).unwrap_err().to_string();
        assert!(message.starts_with("cannot read") && message.contains("train.safetensors"), "{message}");
    }

    #[test]
    fn a_file_that_claims_more_than_it_holds_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.safetensors");
        let nothing = Schema { fields: vec![], numerical: vec![], tasks: vec![] };
        let refused = |length: u64, labels: &str| {
            let header = format!(
                r#"{{"categorical":{{"dtype":"U32","shape":[1,0],"data_offsets":[0,0]}},"labels":{{"dtype":"U8",{labels}}}}}"#
            );
            let length = if length == 0 { header.len() as u64 } else { length };
            fs::write(&path, [&length.to_le_bytes(), header.as_bytes()].concat()).unwrap();
            Rows::open(&path, &nothing).unwrap_err().to_string()
        };
        let empty = r#""shape":[4611686018427387904,0],"data_offsets":[0,0]"#;
        for length in [u64::MAX, 1 << 40, 100_000_001, 99_999_999] {
            assert!(refused(length, empty).contains("not a sound encoded log"), "{length}");
        }
        // no column holds a byte, so that as many rows as one likes would fit
        assert!(refused(0, empty).ends_with("no tensor `labels` of two dimensions"));
        let product = r#""shape":[4294967296,4294967297],"data_offsets":[0,4294967296]"#;
        assert!(refused(0, product).contains("not a sound encoded log"), "the product of the two is 2^32 modulo 2^64");
        assert!(refused(0, r#""shape":[8,1],"data_offsets":[8,0]"#).contains("not a sound encoded log"));
    }

    #[test]
    fn a_malformed_schema_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path());
        fs::write(folder.path().join(EncodedDataset::SCHEMA), "{").unwrap();
        let message = EncodedDataset::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("schema.json") && message.contains("not a sound encoded log"), "{message}");
    }
}
