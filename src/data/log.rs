//! A log as it is read, before encoding: categories numbered as they come, all files one after the other.

use indexmap::IndexSet;

use super::split::Given;
use super::{DataError, Parts, Rows, Schema};

/// A log as it is read.
pub(crate) struct RawLog {
    /// The categorical columns.
    pub(crate) fields: Vec<RawField>,
    /// Names of the numerical columns.
    pub(crate) numerical: Vec<String>,
    /// Names of the tasks.
    pub(crate) tasks: Vec<String>,
    /// The rows. Ids are the log's own for dense fields, places in the dictionary for the others.
    pub(crate) parts: Parts,
    /// How many rows are the log's own test rows; `None` when it comes without a split.
    pub(crate) test_rows: Option<usize>,
    /// Whether numerical columns are brought to mean 0 and variance 1, with the training rows' statistics.
    pub(crate) standardise: bool,
}

/// A categorical column as it is read.
pub(crate) struct RawField {
    pub(crate) name: String,
    pub(crate) categories: Categories,
}

/// How a column's categories were numbered.
pub(crate) enum Categories {
    /// They are small integers already, and keep their numbers.
    Dense,
    /// By first appearance.
    Dictionary(IndexSet<String>),
}

impl RawLog {
    /// A log of these columns, still without rows.
    pub(crate) fn new(fields: Vec<RawField>, numerical: Vec<String>, tasks: Vec<String>) -> Self {
        Self { fields, numerical, tasks, parts: Parts::default(), test_rows: None, standardise: false }
    }

    /// A log of rows that are numbered already.
    pub(crate) fn of_rows(schema: Schema, train: &Rows, test: &Rows) -> Self {
        fn and<T: Copy>(mut first: Vec<T>, second: &[T]) -> Vec<T> {
            first.extend_from_slice(second);
            first
        }
        let parts = train.to_parts();
        let parts = Parts {
            categorical: and(parts.categorical, test.categorical()),
            numerical: and(parts.numerical, test.numerical()),
            labels: and(parts.labels, test.labels()),
            group: parts.group.zip(test.group()).map(|(train, test)| and(train, test)),
            probability: parts.probability.zip(test.probability()).map(|(train, test)| and(train, test)),
        };
        Self {
            fields: dense_fields(schema.fields.into_iter().map(|field| field.name)),
            numerical: schema.numerical,
            tasks: schema.tasks,
            parts,
            test_rows: Some(test.len()),
            standardise: false,
        }
    }

    /// Adds a category to the row being read.
    ///
    /// # Errors
    /// When the column has more categories than an id can number.
    pub(crate) fn push_category(&mut self, field: usize, category: &str) -> Result<(), DataError> {
        let RawField { name, categories: Categories::Dictionary(dictionary) } = &mut self.fields[field] else {
            unreachable!("a dense field is filled with ids, not texts")
        };
        let place = match dictionary.get_index_of(category) {
            Some(place) => place,
            None => dictionary.insert_full(category.to_owned()).0,
        };
        let id = u32::try_from(place).map_err(|_| {
            DataError::request(format!("column `{name}` has more than 2^32 categories"), "leave the column out")
        })?;
        self.parts.categorical.push(id);
        Ok(())
    }

    /// Number of rows read so far.
    pub(crate) fn rows(&self) -> usize {
        self.parts.labels.len() / self.tasks.len().max(1)
    }

    /// The rows as the log's files divide them.
    ///
    /// # Errors
    /// When there are more rows than a row number can count.
    pub(crate) fn given(&self) -> Result<Given, DataError> {
        let rows = u32::try_from(self.rows()).map_err(|_| {
            DataError::request(format!("{} rows are more than 2^32 - 1", self.rows()), "split the log into several")
        })?;
        Ok(Given { rows, test_from: self.test_rows.map(|test| rows - test as u32) })
    }
}

/// Fields numbered by dictionary, still empty.
pub(crate) fn dictionary_fields<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Vec<RawField> {
    let field =
        |name: T| RawField { name: name.as_ref().to_owned(), categories: Categories::Dictionary(IndexSet::new()) };
    names.into_iter().map(field).collect()
}

/// Fields whose ids are dense already.
pub(crate) fn dense_fields<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Vec<RawField> {
    let field = |name: T| RawField { name: name.as_ref().to_owned(), categories: Categories::Dense };
    names.into_iter().map(field).collect()
}
