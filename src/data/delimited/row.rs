//! The rows of a delimited file as its readers see them, and the complaints about them.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::cells::Fields;
use super::content::{Content, Place};
use super::decimal;
use crate::data::DataError;
use crate::data::error::{RowProblem, list, quoted};
use crate::data::time::Time;

/// Bytes read at once when lines are counted.
const BUFFER: usize = 1 << 17;
/// An embedding table of more rows is a mistake in the data, not a vocabulary.
const LARGEST_ID: u32 = 50_000_000;

/// The names of a file's columns.
pub(crate) struct Header<'a> {
    /// As messages show it.
    pub(super) path: &'a Path,
    /// Where it lies.
    pub(super) place: &'a Place,
    pub(super) names: &'a [String],
}

impl Header<'_> {
    /// The columns' names in order.
    pub(crate) fn names(&self) -> &[String] {
        self.names
    }

    /// Where the columns of these names stand.
    ///
    /// # Errors
    /// When there is none of a name, or more than one.
    pub(crate) fn positions(&self, wanted: &[&str]) -> Result<Vec<usize>, DataError> {
        let mut places: HashMap<&str, (usize, bool)> = HashMap::with_capacity(self.names.len());
        for (at, name) in self.names.iter().enumerate() {
            places.entry(name).and_modify(|(_, twice)| *twice = true).or_insert((at, false));
        }
        let position = |&name: &&str| match places.get(name) {
            Some((at, false)) => Ok(*at),
            Some((_, true)) => Err(self.wrong(format!("column `{name}` stands there twice"), "remove one of them")),
            None => Err(self.missing(wanted)),
        };
        wanted.iter().map(position).collect()
    }

    /// A complaint about all columns that are wanted and not there, with what may have been meant by each.
    fn missing(&self, wanted: &[&str]) -> DataError {
        const SHOWN: usize = 8;
        let missing: Vec<&str> =
            wanted.iter().copied().filter(|&name| !self.names.iter().any(|other| other == name)).collect();
        if let [name] = missing[..] {
            return self.wrong(format!("column `{name}` is missing"), self.nearest(name, wanted));
        }
        let shown = &missing[..missing.len().min(SHOWN)];
        let names = match missing.len() - shown.len() {
            0 => list(shown),
            more => format!(
                "{} and {more} more",
                shown.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        let meant = |name: &&str| Some(format!("`{}` (for `{name}`)", self.near(name, wanted)?));
        let remedy = match shown.iter().filter_map(meant).collect::<Vec<_>>() {
            near if near.is_empty() => self.beginning(),
            near => format!("there is a column {}", near.join(", ")),
        };
        self.wrong(format!("columns {names} are missing"), remedy)
    }

    /// A complaint about the header line.
    pub(crate) fn wrong(&self, problem: impl Into<String>, remedy: impl Into<String>) -> DataError {
        DataError::Header { path: self.path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// What to do about a column that is not there.
    fn nearest(&self, name: &str, wanted: &[&str]) -> String {
        if self.names.iter().any(|name| name.contains(char::REPLACEMENT_CHARACTER)) {
            return "the first line is not UTF-8 text: save the file as UTF-8".to_owned();
        }
        self.near(name, wanted).map_or_else(|| self.beginning(), |best| format!("there is a column `{best}`"))
    }

    /// A column that may have been meant: near in spelling, and not wanted under its own name.
    fn near(&self, name: &str, wanted: &[&str]) -> Option<&String> {
        const NEAR_ENOUGH: f64 = 0.7;
        let near = |candidate: &str| strsim::normalized_damerau_levenshtein(candidate, name);
        let candidates = self.names.iter().filter(|candidate| !wanted.contains(&candidate.as_str()));
        candidates.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|best| near(best) >= NEAR_ENOUGH)
    }

    fn beginning(&self) -> String {
        let start = quoted(self.names.join(",").as_bytes());
        format!("the first line names the columns; this one starts with {start}")
    }

    /// Says on which line the row that starts at this byte of the unpacked content is wrong.
    pub(super) fn locate(&self, error: DataError, byte: u64) -> DataError {
        match error {
            DataError::Row { path, column, problem, .. } => match self.line_at(byte) {
                Ok(line) => DataError::Row { path, line, column, problem },
                Err(error) => DataError::read(self.path)(error),
            },
            other => other,
        }
    }

    /// The line, counted from 1, of the first row at or after a byte of the unpacked content. Nobody counts lines while
    /// rows are read, so the file is read again; this happens for one wrong row only.
    fn line_at(&self, byte: u64) -> io::Result<u64> {
        let content = BufReader::with_capacity(BUFFER, Content::open(self.place)?);
        let mut line = 1;
        for (at, read) in (0..).zip(content.bytes()) {
            match read? {
                b'\n' => line += 1,
                b'\r' => {}
                _ if at >= byte => break,
                _ => {}
            }
        }
        Ok(line)
    }
}

/// One row of a file; fields are numbered from 0.
pub(crate) struct Row<'a> {
    pub(super) header: &'a Header<'a>,
    pub(super) fields: Fields<'a>,
    pub(super) fill: Option<f32>,
}

impl Row<'_> {
    /// A category as it is written.
    pub(crate) fn text(&self, at: usize) -> Result<&str, DataError> {
        let field = self.fields.get(at);
        std::str::from_utf8(field).map_err(|_| self.wrong(Some(at), RowProblem::NotText(quoted(field))))
    }

    /// Adds finite numbers, or what `fill` puts in their place.
    pub(crate) fn numbers(&self, columns: &[usize], numbers: &mut Vec<f32>) -> Result<(), DataError> {
        numbers.reserve(columns.len());
        for &at in columns {
            let (start, end) = self.fields.place(at);
            numbers.push(match decimal::float(self.fields.text, start, end) {
                Some(number) => number,
                None => self.unusual_number(at)?,
            });
        }
        Ok(())
    }

    #[cold]
    fn unusual_number(&self, at: usize) -> Result<f32, DataError> {
        let field = self.fields.get(at);
        let parsed = std::str::from_utf8(field).ok().and_then(|text| text.parse::<f32>().ok());
        match (parsed, self.fill) {
            (Some(number), _) if number.is_finite() => Ok(number),
            (Some(_), Some(fill)) => Ok(fill),
            (None, Some(fill)) if field.is_empty() => Ok(fill),
            (Some(_), None) => Err(self.wrong(Some(at), RowProblem::NotFinite(quoted(field)))),
            (None, _) if field.is_empty() => Err(self.wrong(Some(at), RowProblem::NoNumber)),
            (None, _) => Err(self.wrong(Some(at), RowProblem::NotANumber(quoted(field)))),
        }
    }

    /// The complaint about a number whose logarithm is taken.
    pub(crate) fn negative(&self, at: usize) -> DataError {
        self.wrong(Some(at), RowProblem::NegativeForLog(quoted(self.fields.get(at))))
    }

    /// Adds ids that index a table: integers from 0.
    pub(crate) fn ids(&self, columns: &[usize], ids: &mut Vec<u32>) -> Result<(), DataError> {
        ids.reserve(columns.len());
        for &at in columns {
            ids.push(self.id(at)?);
        }
        Ok(())
    }

    /// An id that indexes a table.
    #[inline]
    pub(crate) fn id(&self, at: usize) -> Result<u32, DataError> {
        let id = self.integer(at)?;
        match u32::try_from(id) {
            Ok(small) if small <= LARGEST_ID => Ok(small),
            _ if id < 0 => Err(self.wrong(Some(at), RowProblem::NegativeId(quoted(self.fields.get(at))))),
            _ => Err(self.wrong(Some(at), RowProblem::IdTooLarge(quoted(self.fields.get(at))))),
        }
    }

    /// Any integer.
    #[inline]
    pub(crate) fn integer(&self, at: usize) -> Result<i64, DataError> {
        let (start, end) = self.fields.place(at);
        match decimal::digits(self.fields.text, start, end) {
            Some(integer) => Ok(integer),
            None => self.unusual_integer(at),
        }
    }

    #[cold]
    fn unusual_integer(&self, at: usize) -> Result<i64, DataError> {
        let field = self.fields.get(at);
        let parsed = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
        let problem = || if field.is_empty() { RowProblem::NoId } else { RowProblem::NotAnId(quoted(field)) };
        parsed.ok_or_else(|| self.wrong(Some(at), problem()))
    }

    /// When the row was logged.
    pub(crate) fn time(&self, at: usize) -> Result<Time, DataError> {
        let field = self.fields.get(at);
        let time = std::str::from_utf8(field).ok().and_then(Time::parse);
        time.ok_or_else(|| self.wrong(Some(at), RowProblem::NotATime(quoted(field))))
    }

    /// A binary label.
    #[inline]
    pub(crate) fn label(&self, at: usize) -> Result<u8, DataError> {
        match self.fields.get(at) {
            b"0" | b"0.0" => Ok(0),
            b"1" | b"1.0" => Ok(1),
            other => Err(self.wrong(Some(at), RowProblem::NotALabel(quoted(other)))),
        }
    }

    /// A complaint about this row. Its line is found once this row is known to be the first wrong one.
    pub(crate) fn wrong(&self, at: Option<usize>, problem: RowProblem) -> DataError {
        DataError::Row {
            path: self.header.path.to_path_buf(),
            line: 0,
            column: at.map(|at| self.header.names[at].clone()),
            problem,
        }
    }

    /// A complaint unless the row has a field for every column.
    pub(super) fn check_count(&self) -> Result<(), DataError> {
        let (expected, found) = (self.header.names.len(), self.fields.len());
        if found == expected {
            return Ok(());
        }
        Err(self.wrong(None, RowProblem::FieldCount { expected, found }))
    }
}
