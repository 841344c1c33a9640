//! Further rows of a log that a model was trained on: read by the names of its columns, encoded as its training rows were.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::aliexpress::{AliExpress, GROUP};
use super::census::CensusIncome;
use super::delimited::{Header, Layout, Reading, Row};
use super::error::{RowProblem, quoted};
use super::log::{Categories, RawField, RawLog};
use super::{DataError, Dataset, Encoding, Field, FieldEncoding, Parts, Schema, SourceFile};

/// `reader.json` of a `Preprocess` artifact: how the text of further rows is read. What then becomes of their values,
/// [`Encoding`] says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogReader {
    /// The data set; the names of its own files are left out, as they mean nothing to other rows.
    pub dataset: Dataset,
}

impl LogReader {
    /// Where the record lies in an artifact.
    pub const FILE: &str = "reader.json";

    /// How rows of this data set are read.
    pub fn new(dataset: &Dataset) -> Self {
        let mut dataset = dataset.clone();
        if let Dataset::Csv(log) = &mut dataset {
            (log.train, log.test) = (String::new(), None);
        }
        Self { dataset }
    }

    /// Reads a `reader.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no such record.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read(path).map_err(DataError::read(path))?;
        serde_json::from_slice(&text).map_err(|error| DataError::unsound(path, error.to_string()))
    }

    /// The text of a `reader.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and numbers always serialise")
    }

    /// The log of which a file is the archive, as it is published; none for files that can be read row by row.
    pub(crate) fn published(&self, path: &Path) -> Option<AliExpress> {
        match self.dataset {
            Dataset::AliExpress(log) if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("zip")) => {
                Some(log)
            }
            _ => None,
        }
    }

    /// How a file of such rows is laid out.
    pub(crate) fn layout(&self, path: &Path) -> Layout<'static> {
        match &self.dataset {
            Dataset::CensusIncome(_) => CensusIncome::LAYOUT,
            Dataset::Csv(log) => log.layout(path),
            Dataset::AliExpress(_) | Dataset::Simulated(_) => Layout::by_extension(path),
        }
    }
}

/// Where the columns of further rows stand in one file. Labels and groups need not be there and are not looked at.
pub(crate) struct FurtherColumns {
    categorical: Vec<usize>,
    numerical: Vec<usize>,
    keep: Vec<usize>,
}

impl FurtherColumns {
    /// Finds the columns of a schema, and those to `keep`.
    ///
    /// # Errors
    /// When one of them is missing or stands there twice.
    pub(crate) fn of(schema: &Schema, keep: &[String], header: &Header) -> Result<Self, DataError> {
        let fields = schema.fields.iter().map(|field| field.name.as_str());
        let others = schema.numerical.iter().chain(keep).map(String::as_str);
        let mut categorical = header.positions(&fields.chain(others).collect::<Vec<_>>())?;
        let mut numerical = categorical.split_off(schema.fields.len());
        let keep = numerical.split_off(schema.numerical.len());
        Ok(Self { categorical, numerical, keep })
    }

    /// Encodes a row and adds it to `parts`, with labels that say nothing.
    ///
    /// # Errors
    /// When a value of it cannot be read.
    pub(crate) fn encode(
        &self,
        schema: &Schema,
        encoding: &Encoding,
        row: &Row,
        parts: &mut Parts,
    ) -> Result<(), DataError> {
        for ((&at, field), encoding) in self.categorical.iter().zip(&schema.fields).zip(&encoding.fields) {
            // every field that `Preprocess` writes ends with the row of the unknown, but for hashed ones, which have none
            let unknown = field.size as u32 - 1;
            parts.categorical.push(encoding.id_of(row, at, unknown)?);
        }
        let first = parts.numerical.len();
        row.numbers(&self.numerical, &mut parts.numerical)?;
        for ((value, scaling), &at) in parts.numerical[first..].iter_mut().zip(&encoding.numerical).zip(&self.numerical)
        {
            *value = scaling.apply(*value);
            if !value.is_finite() {
                return Err(row.wrong(Some(at), RowProblem::NotFinite(quoted(row.text(at)?.as_bytes()))));
            }
        }
        parts.labels.resize(parts.labels.len() + schema.tasks.len(), 0);
        Ok(())
    }

    /// The texts of the columns to keep.
    ///
    /// # Errors
    /// When one is no text.
    pub(crate) fn kept<'r>(&self, row: &'r Row) -> Result<Vec<&'r str>, DataError> {
        self.keep.iter().map(|&at| row.text(at)).collect()
    }
}

/// The test rows of an archive, which have to be joined before they can be encoded.
pub(crate) struct PublishedRows {
    log: RawLog,
    /// For every field, the encoded id of each of the log's own.
    ids: Vec<Vec<u32>>,
}

impl PublishedRows {
    /// The only column that can be kept: the search.
    pub(crate) const COLUMN: &'static str = GROUP;

    /// Reads and joins them.
    ///
    /// # Errors
    /// When the archive is not as it is published, or the training rows were not read from one.
    pub(crate) fn read(
        dataset: AliExpress,
        archive: &SourceFile,
        schema: &Schema,
        encoding: &Encoding,
        reading: &mut Reading,
    ) -> Result<Self, DataError> {
        if encoding.fields.iter().any(|field| matches!(field, FieldEncoding::Dense { .. })) {
            return Err(DataError::request(
                format!(
                    "`{}` has other ids than the processed form that the model learned from",
                    archive.path.display()
                ),
                "process its rows as the training rows were, and name that file",
            ));
        }
        let log = dataset.read_test(archive, reading)?;
        let ids_of = |((raw, field), encoding): ((&RawField, &Field), &FieldEncoding)| match &raw.categories {
            Categories::Dictionary(values) => {
                let id = |value: &String| encoding.id(value, field.size).unwrap_or(field.size as u32 - 1);
                values.iter().map(id).collect()
            }
            Categories::Dense => Vec::new(),
        };
        let ids = log.fields.iter().zip(&schema.fields).zip(&encoding.fields).map(ids_of).collect();
        Ok(Self { log, ids })
    }

    /// All rows in order, some at a time: encoded, with labels that say nothing, and their searches.
    ///
    /// # Errors
    /// When a number cannot be scaled, rows that wait on the disk cannot be read back, or `with` objects.
    pub(crate) fn chunks<E: From<DataError>>(
        &self,
        schema: &Schema,
        encoding: &Encoding,
        mut with: impl FnMut(Parts, &[i64]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut objection = None;
        let outcome = self.log.chunks(|chunk| {
            let mut parts = Parts { labels: vec![0; chunk.rows * schema.tasks.len()], ..Parts::default() };
            for row in chunk.categorical.chunks_exact(self.ids.len().max(1)) {
                parts.categorical.extend(row.iter().zip(&self.ids).map(|(id, ids)| ids[*id as usize]));
            }
            let columns = encoding.numerical.len().max(1);
            for (at, row) in chunk.numerical.chunks_exact(columns).enumerate() {
                parts
                    .numerical
                    .extend(row.iter().zip(&encoding.numerical).map(|(value, scaling)| scaling.apply(*value)));
                let scaled = &parts.numerical[at * columns..];
                if let Some(column) = scaled.iter().position(|value| !value.is_finite()) {
                    let (name, row) = (&schema.numerical[column], chunk.first + at + 1);
                    let said = format!("column `{name}` of joined row {row} is no number that can be scaled");
                    return Err(DataError::request(
                        said,
                        "correct it, or have missing numbers filled in: `fill: Mean`",
                    ));
                }
            }
            with(parts, chunk.group.unwrap_or_default()).map_err(|error| {
                objection = Some(error);
                DataError::Interrupted
            })
        });
        objection.map_or(Ok(()), Err)?;
        Ok(outcome?)
    }
}

impl FieldEncoding {
    /// The id of what stands in a column of a row; `unknown`, the field's last, for what no training row has.
    ///
    /// # Errors
    /// When it is no value that the field can have.
    fn id_of(&self, row: &Row, at: usize, unknown: u32) -> Result<u32, DataError> {
        Ok(match self {
            Self::Dense { unseen } => {
                let id = row.id(at)?;
                if id < unknown && unseen.binary_search(&id).is_err() { id } else { unknown }
            }
            Self::Dictionary(_) | Self::Hashed { .. } => {
                self.id(row.text(at)?, unknown as usize + 1).unwrap_or(unknown)
            }
        })
    }
}
