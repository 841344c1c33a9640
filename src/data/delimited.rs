//! Delimited text, read strictly: every complaint names file, line and column, and a file that is not the one
//! `Download` saw is refused.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Trim};
use flate2::read::MultiGzDecoder;

use super::error::{RowProblem, quoted};
use super::source::SourceFile;
use super::{Advance, DataError};

/// Rows between two looks at the interrupt flag.
const ROWS_PER_LOOK: u64 = 4096;
/// Bytes read at once; large enough for BLAKE3's wide code paths.
const BUFFER: usize = 1 << 17;
/// An embedding table of more rows is a mistake in the data, not a vocabulary.
const LARGEST_ID: u64 = 50_000_000;

/// How a kind of file is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// What stands between two fields.
    pub(crate) delimiter: u8,
    /// The columns' names; `None` when the first line tells them.
    pub(crate) names: Option<&'a [&'a str]>,
    /// Whether fields may stand in double quotes.
    pub(crate) quotes: bool,
}

impl Layout<'_> {
    /// A header line, quotes allowed, tabs for `.tsv` and `.tab` (compressed or not), commas for every other name.
    pub(crate) fn by_extension(path: &Path) -> Self {
        let plain = if is_gzip(path) { path.with_extension("") } else { path.to_path_buf() };
        let tabs = plain.extension().is_some_and(|extension| extension == "tsv" || extension == "tab");
        Self { delimiter: if tabs { b'\t' } else { b',' }, names: None, quotes: true }
    }
}

/// What reading a log needs beside its files.
pub(crate) struct Reading<'a> {
    /// The project's folder; the files' paths start here.
    pub(crate) root: &'a Path,
    /// Stands for missing, NaN and infinite numbers; without it they are errors.
    pub(crate) fill: Option<f32>,
    /// Hears how far reading is, over all files, and may stop it.
    pub(crate) watch: &'a mut dyn FnMut(Advance) -> Result<(), DataError>,
    /// What the files read so far came to.
    pub(crate) done: Advance,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        root: &'a Path,
        fill: Option<f32>,
        watch: &'a mut dyn FnMut(Advance) -> Result<(), DataError>,
    ) -> Self {
        Self { root, fill, watch, done: Advance::default() }
    }

    /// Hands every row of a file to `row`, after its column names to `columns`.
    ///
    /// The content's digest is taken on the way. When it is not the one `Download` recorded, that is the error,
    /// whatever else went wrong: the complaint about a line would mislead.
    ///
    /// # Errors
    /// When the file vanished, changed, cannot be read, holds no row, or `columns` or `row` object.
    pub(crate) fn file<C>(
        &mut self,
        file: &SourceFile,
        layout: Layout,
        columns: impl FnOnce(&Header) -> Result<C, DataError>,
        row: impl FnMut(&C, &Row) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let path = &file.path;
        let opened = self.root.join(path);
        let content = Content::open(&opened).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DataError::NotAsDownloaded { path: path.clone(), what: "vanished" },
            _ => DataError::read(path)(error),
        })?;
        let mut reader = ReaderBuilder::new()
            .delimiter(layout.delimiter)
            .quoting(layout.quotes)
            .trim(Trim::All)
            .has_headers(layout.names.is_none())
            .flexible(true)
            .buffer_capacity(BUFFER)
            .from_reader(content);

        let outcome = self.rows(&mut reader, (path, &opened), layout, columns, row);
        if matches!(outcome, Err(DataError::Interrupted)) {
            return outcome;
        }
        let (bytes, digest) = reader.into_inner().hashing().finish().map_err(DataError::read(path))?;
        if (bytes, digest.as_str()) != (file.bytes, &file.digest) {
            return Err(DataError::NotAsDownloaded { path: path.clone(), what: "changed" });
        }
        self.done.bytes += bytes;
        outcome
    }

    fn rows<C>(
        &mut self,
        reader: &mut csv::Reader<Content>,
        (path, opened): (&Path, &Path),
        layout: Layout,
        columns: impl FnOnce(&Header) -> Result<C, DataError>,
        mut row: impl FnMut(&C, &Row) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let names: Vec<String> = match layout.names {
            Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
            None => {
                let header = reader.byte_headers().map_err(|error| DataError::read(path)(error.into()))?;
                header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
            }
        };
        if names.is_empty() {
            return Err(DataError::NoRows { path: path.to_path_buf() });
        }
        let header = Header { path, file: opened, names: &names };
        let columns = columns(&header)?;
        let mut record = ByteRecord::new();
        let mut count = 0;
        while reader.read_byte_record(&mut record).map_err(|error| DataError::read(path)(error.into()))? {
            let current = Row { header: &header, record: &record, fill: self.fill };
            if record.len() != names.len() {
                let problem = RowProblem::FieldCount { expected: names.len(), found: record.len() };
                return Err(current.wrong(None, problem));
            }
            row(&columns, &current)?;
            count += 1;
            if count % ROWS_PER_LOOK == 0 {
                let bytes = self.done.bytes + reader.get_ref().bytes();
                (self.watch)(Advance { bytes, rows: self.done.rows + count })?;
            }
        }
        if count == 0 {
            return Err(DataError::NoRows { path: path.to_path_buf() });
        }
        self.done.rows += count;
        (self.watch)(Advance { bytes: self.done.bytes + reader.get_ref().bytes(), rows: self.done.rows })
    }
}

/// The names of a file's columns.
pub(crate) struct Header<'a> {
    /// As messages show it.
    path: &'a Path,
    /// As the system finds it.
    file: &'a Path,
    names: &'a [String],
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
        let position = |&name: &&str| {
            let mut found = (0..self.names.len()).filter(|&at| self.names[at] == name);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => {
                    Err(self.wrong(format!("column `{name}` stands there twice"), "remove one of them"))
                }
                (None, _) => Err(self.wrong(format!("column `{name}` is missing"), self.nearest(name, wanted))),
            }
        };
        wanted.iter().map(position).collect()
    }

    /// A complaint about the header line.
    pub(crate) fn wrong(&self, problem: impl Into<String>, remedy: impl Into<String>) -> DataError {
        DataError::Header { path: self.path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A column that may have been meant: near in spelling, and not wanted under its own name.
    fn nearest(&self, name: &str, wanted: &[&str]) -> String {
        const NEAR_ENOUGH: f64 = 0.7;
        let near = |candidate: &str| strsim::normalized_damerau_levenshtein(candidate, name);
        let candidates = self.names.iter().filter(|candidate| !wanted.contains(&candidate.as_str()));
        match candidates.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|best| near(best) >= NEAR_ENOUGH) {
            Some(best) => format!("there is a column `{best}`"),
            None => {
                let start = quoted(self.names.join(",").as_bytes());
                format!("the first line names the columns; this one starts with {start}")
            }
        }
    }

    /// The line, counted from 1, of the first row at or after a byte of the unpacked content. The parser's own count
    /// leaves out the blank lines before a row, so the file is read again; this happens for one wrong row only.
    fn line_at(&self, byte: u64) -> io::Result<u64> {
        let content = BufReader::with_capacity(BUFFER, Content::open(self.file)?);
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
    header: &'a Header<'a>,
    record: &'a ByteRecord,
    fill: Option<f32>,
}

impl Row<'_> {
    /// A category as it is written.
    pub(crate) fn text(&self, at: usize) -> Result<&str, DataError> {
        let field = &self.record[at];
        std::str::from_utf8(field).map_err(|_| self.wrong(Some(at), RowProblem::NotText(quoted(field))))
    }

    /// A finite number, or what `fill` puts in its place.
    pub(crate) fn number(&self, at: usize) -> Result<f32, DataError> {
        let field = &self.record[at];
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

    /// An id that indexes a table: an integer from 0.
    pub(crate) fn id(&self, at: usize) -> Result<u32, DataError> {
        let id = self.integer(at)?;
        match u32::try_from(id) {
            Ok(small) if u64::from(small) <= LARGEST_ID => Ok(small),
            _ if id < 0 => Err(self.wrong(Some(at), RowProblem::NegativeId(quoted(&self.record[at])))),
            _ => Err(self.wrong(Some(at), RowProblem::IdTooLarge(quoted(&self.record[at])))),
        }
    }

    /// Any integer.
    pub(crate) fn integer(&self, at: usize) -> Result<i64, DataError> {
        let field = &self.record[at];
        let parsed = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
        let problem = || if field.is_empty() { RowProblem::NoId } else { RowProblem::NotAnId(quoted(field)) };
        parsed.ok_or_else(|| self.wrong(Some(at), problem()))
    }

    /// A binary label.
    pub(crate) fn label(&self, at: usize) -> Result<u8, DataError> {
        match &self.record[at] {
            b"0" | b"0.0" => Ok(0),
            b"1" | b"1.0" => Ok(1),
            other => Err(self.wrong(Some(at), RowProblem::NotALabel(quoted(other)))),
        }
    }

    /// A complaint about this row.
    pub(crate) fn wrong(&self, at: Option<usize>, problem: RowProblem) -> DataError {
        let position = self.record.position();
        let exact = position.and_then(|position| self.header.line_at(position.byte()).ok());
        DataError::Row {
            path: self.header.path.to_path_buf(),
            line: exact.or(position.map(csv::Position::line)).unwrap_or(1),
            column: at.map(|at| self.header.names[at].clone()),
            problem,
        }
    }
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// The bytes of a delimited file, unpacked where need be.
enum Content {
    Plain(Hashing),
    Gzip(Box<MultiGzDecoder<Hashing>>),
}

impl Content {
    fn open(path: &Path) -> io::Result<Self> {
        let hashing = Hashing { file: File::open(path)?, hasher: Box::default() };
        Ok(if is_gzip(path) { Self::Gzip(Box::new(MultiGzDecoder::new(hashing))) } else { Self::Plain(hashing) })
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Plain(hashing) => hashing.hasher.count(),
            Self::Gzip(decoder) => decoder.get_ref().hasher.count(),
        }
    }

    fn hashing(self) -> Hashing {
        match self {
            Self::Plain(hashing) => hashing,
            Self::Gzip(decoder) => decoder.into_inner(),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(hashing) => hashing.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

/// A file whose digest is taken as it is read.
struct Hashing {
    file: File,
    hasher: Box<blake3::Hasher>,
}

impl Hashing {
    /// Reads what is left and says how long the file is and what its digest is, in hex.
    fn finish(mut self) -> io::Result<(u64, String)> {
        self.hasher.update_reader(&mut self.file)?;
        Ok((self.hasher.count(), self.hasher.finalize().to_hex().to_string()))
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// The length of a file and its digest, in hex.
pub(crate) fn length_and_digest(path: &Path) -> io::Result<(u64, String)> {
    Hashing { file: File::open(path)?, hasher: Box::default() }.finish()
}
