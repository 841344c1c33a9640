//! Anybody's own log: delimited text with a header, columns chosen by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::delimited::{Header, Layout, Reading, Row, is_parquet};
use super::encoding::bucket;
use super::error::list;
use super::log::{Categories, Piece, RawLog, dictionary_fields};
use super::source::{FoundFile, Role, SourceFile, require};
use crate::registry::Describe;

/// A delimited text log with a header line.
///
/// `.gz` is unpacked. Categories are texts (`1` and `01` differ) and are numbered by dictionary; numbers stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// Training rows; relative to the stage's `path`, or to the project's folder.
    pub train: String,
    /// Test rows; leave out when `Preprocess` draws them with `test: Random(..)`.
    #[serde(default)]
    pub test: Option<String>,
    /// What stands between two fields, in further rows as well; when left out, tabs in `.tsv` and `.tab` files and commas in
    /// all others.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// Columns that hold categories, text or integers.
    #[serde(default)]
    pub categorical: Vec<String>,
    /// Columns that hold numbers.
    #[serde(default)]
    pub numerical: Vec<String>,
    /// Columns that hold the tasks' labels, 0 or 1 each.
    pub labels: Vec<String>,
    /// Column that groups rows (a user, a search), for grouped metrics.
    #[serde(default)]
    pub group: Option<String>,
    /// Column that says when rows were logged, numbers or ISO 8601 texts, for splits by time; no feature.
    #[serde(default)]
    pub time: Option<String>,
    /// What becomes of numerical columns that do not stay as they are.
    #[serde(default)]
    pub transforms: BTreeMap<String, Transform>,
    /// Categorical columns that are hashed to so many ids instead of being numbered by a dictionary: see
    /// [`FieldEncoding::Hashed`](super::FieldEncoding::Hashed).
    #[serde(default)]
    pub hashed: BTreeMap<String, u32>,
    /// Categories in a dictionary that fewer training rows than this have are out of vocabulary.
    #[serde(default = "one")]
    pub min_count: u32,
}

fn one() -> u32 {
    1
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            train: String::new(),
            test: None,
            delimiter: None,
            categorical: Vec::new(),
            numerical: Vec::new(),
            labels: Vec::new(),
            group: None,
            time: None,
            transforms: BTreeMap::new(),
            hashed: BTreeMap::new(),
            min_count: one(),
        }
    }
}

/// What becomes of a column of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Transform {
    /// They stay as they are.
    #[default]
    AsIs,
    /// Mean 0 and variance 1 over the training rows.
    Standardise,
    /// `ln(1 + x)`, for counts and amounts from 0 on.
    Log1p,
    /// `ln(1 + x)`, and that brought to mean 0 and variance 1.
    Log1pStandardise,
}

impl Transform {
    /// Whether it takes `ln(1 + x)`.
    pub(crate) fn takes_logarithms(self) -> bool {
        matches!(self, Self::Log1p | Self::Log1pStandardise)
    }

    /// Whether it needs the training rows' statistics.
    pub(crate) fn standardises(self) -> bool {
        matches!(self, Self::Standardise | Self::Log1pStandardise)
    }
}

impl Describe for Csv {
    const SUMMARY: &'static str = "any delimited log with a header: columns by name, one binary label a task";
    const SOURCE: &'static str = "";
}

impl Csv {
    /// Looks for the named files in the folder, by default the project's.
    ///
    /// # Errors
    /// When one of them is not there, or the columns asked for make no sense together.
    pub(super) fn locate(&self, root: &Path, folder: Option<&Path>) -> Result<Vec<FoundFile>, DataError> {
        self.check()?;
        let folder = folder.unwrap_or(Path::new(""));
        let mut wanted = vec![(Role::Train, self.train.as_str())];
        wanted.extend(self.test.as_deref().map(|test| (Role::Test, test)));
        let remedy = "put the file there, or correct `train:` and `test:` of `Csv(..)`, or the stage's `path:`";
        require(root, folder, &wanted, "the log", remedy)
    }

    /// What may stand between fields, in words.
    pub(crate) const DELIMITERS: &'static str = "a comma, a semicolon, a bar, a tab or the like: `delimiter: ';'`";

    /// How many ids a column may be hashed to.
    pub(crate) const BUCKETS: RangeInclusive<u32> = 1..=50_000_000;

    /// Whether a character may stand between fields: one byte that is no part of a word or a number, no quote and no end of a
    /// line.
    pub(crate) fn may_delimit(delimiter: char) -> bool {
        matches!(delimiter, '\t' | ' ')
            || (delimiter.is_ascii_punctuation() && !matches!(delimiter, '"' | '.' | '-' | '+'))
    }

    /// How a file of such rows is laid out.
    pub(super) fn layout(&self, path: &Path) -> Layout<'static> {
        let suggested = Layout::by_extension(path);
        // `check` lets no other through; a Parquet file has no delimiter of its own
        match self.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok()) {
            Some(delimiter) if !is_parquet(path) => Layout { delimiter, ..suggested },
            _ => suggested,
        }
    }

    /// The fields that name columns which another field must name: their names, what they name, and those they may.
    pub(crate) fn named_again(&self) -> [(&'static str, &'static str, Vec<&String>, &[String]); 2] {
        [
            ("transforms", "numerical", self.transforms.keys().collect(), &self.numerical),
            ("hashed", "categorical", self.hashed.keys().collect(), &self.categorical),
        ]
    }

    /// What a column may be, in words.
    pub(crate) const PARTS: &'static str =
        "a column is categorical, numerical, a label, the group or the time, and only one of these";

    /// All columns that play a part, each with the field that names it and, where that is a list, its place there.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&'static str, Option<usize>, &String)> {
        let lists = [("categorical", &self.categorical), ("numerical", &self.numerical), ("labels", &self.labels)];
        lists
            .into_iter()
            .flat_map(|(field, names)| names.iter().enumerate().map(move |(at, name)| (field, Some(at), name)))
            .chain(self.group.iter().map(|name| ("group", None, name)))
            .chain(self.time.iter().map(|name| ("time", None, name)))
    }

    /// A column plays one part, and there is something to learn and something to learn from.
    fn check(&self) -> Result<(), DataError> {
        let mut seen = IndexSet::new();
        let twice: Vec<&String> = self.columns().map(|(.., name)| name).filter(|&name| !seen.insert(name)).collect();
        if !twice.is_empty() {
            return Err(DataError::request(format!("`Csv(..)` names {} twice", list(&twice)), Self::PARTS));
        }
        if let Some(delimiter) = self.delimiter.filter(|delimiter| !Self::may_delimit(*delimiter)) {
            return Err(DataError::request(
                format!("`delimiter: {delimiter:?}` cannot stand between fields"),
                Self::DELIMITERS,
            ));
        }
        if self.labels.is_empty() {
            return Err(DataError::request("`Csv(..)` names no labels", "name a column for each task in `labels:`"));
        }
        if self.categorical.is_empty() && self.numerical.is_empty() {
            return Err(DataError::request(
                "`Csv(..)` names no features",
                "name columns in `categorical:` and `numerical:`",
            ));
        }
        for (field, kind, named, columns) in self.named_again() {
            let strays: Vec<&String> = named.into_iter().filter(|name| !columns.contains(name)).collect();
            if !strays.is_empty() {
                return Err(DataError::request(
                    format!("`{field}` of `Csv(..)` names {}, which `{kind}` does not", list(&strays)),
                    format!("correct the name, or add the column to `{kind}:`"),
                ));
            }
        }
        if let Some((column, buckets)) = self.hashed.iter().find(|(_, buckets)| !Self::BUCKETS.contains(buckets)) {
            return Err(DataError::request(
                format!("`{column}` cannot be hashed to {buckets} ids"),
                "from 1 to 50,000,000 rows of the embedding table",
            ));
        }
        Ok(())
    }

    fn transform(&self, column: &str) -> Transform {
        self.transforms.get(column).copied().unwrap_or_default()
    }

    pub(super) fn read(&self, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
        let mut fields = dictionary_fields(&self.categorical);
        for field in &mut fields {
            if let Some(buckets) = self.hashed.get(&field.name) {
                (field.categories, field.buckets) = (Categories::Dense, Some(*buckets));
            }
        }
        let mut log = RawLog::new(fields, self.numerical.clone(), self.labels.clone());
        log.min_count = self.min_count;
        log.transforms = self.numerical.iter().map(|name| self.transform(name)).collect();
        for file in files {
            let before = log.rows();
            let columns = |header: &Header| Columns::of(self, header);
            reading.file(file, self.layout(&file.path), &mut log, columns, Columns::read)?;
            if file.role == Role::Test {
                log.test_rows = Some(log.rows() - before);
            }
        }
        if let (Some(time), true) = (&self.time, log.times.are_mixed()) {
            return Err(DataError::request(
                format!("column `{time}` holds numbers and dates, which have no common order"),
                "write all times one way",
            ));
        }
        Ok(log)
    }
}

/// Where each column stands in one file.
struct Columns {
    categorical: Vec<usize>,
    /// How many ids each of them is hashed to, if it is.
    hashed: Vec<Option<u32>>,
    numerical: Vec<usize>,
    /// Of these, the places of those whose logarithms are taken.
    logarithms: Vec<usize>,
    labels: Vec<usize>,
    group: Option<usize>,
    time: Option<usize>,
}

impl Columns {
    fn of(csv: &Csv, header: &Header) -> Result<Self, DataError> {
        let wanted: Vec<&str> = csv.columns().map(|(.., name)| name.as_str()).collect();
        if let [only] = header.names()
            && let Some(other) = only.chars().find(|c| [';', '|', '\t', ','].contains(c))
        {
            let said = format!("the line has no delimiter, but {other:?} where one may be meant");
            return Err(header.wrong(said, format!("say what separates the columns: `Csv(.., delimiter: {other:?})`")));
        }
        let mut categorical = header.positions(&wanted)?;
        let mut numerical = categorical.split_off(csv.categorical.len());
        let mut labels = numerical.split_off(csv.numerical.len());
        let mut rest = labels.split_off(csv.labels.len());
        let time = csv.time.as_ref().and_then(|_| rest.pop());
        let hashed = csv.categorical.iter().map(|name| csv.hashed.get(name).copied()).collect();
        let takes_logarithms = |&at: &usize| csv.transform(&csv.numerical[at]).takes_logarithms();
        let logarithms = (0..numerical.len()).filter(takes_logarithms).collect();
        Ok(Self { categorical, hashed, numerical, logarithms, labels, group: rest.pop(), time })
    }

    fn read(&self, row: &Row, piece: &mut Piece) -> Result<(), DataError> {
        for (field, (&at, hashed)) in self.categorical.iter().zip(&self.hashed).enumerate() {
            match hashed {
                None => piece.push_category(field, row.text(at)?),
                Some(buckets) => piece.parts.categorical.push(bucket(row.text(at)?, *buckets)),
            }
        }
        let before = piece.parts.numerical.len();
        row.numbers(&self.numerical, &mut piece.parts.numerical)?;
        for &place in &self.logarithms {
            if piece.parts.numerical[before + place] < 0.0 {
                return Err(row.negative(self.numerical[place]));
            }
        }
        for &at in &self.labels {
            piece.parts.labels.push(row.label(at)?);
        }
        if let Some(at) = self.time {
            piece.push_time(row.time(at)?);
        }
        if let Some(at) = self.group {
            piece.push_group_name(row.text(at)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
