//! AliExpress search logs: as they are published (`raw`), and in the processed form (`train.csv`, `test.csv`) that
//! MTOReclib's preprocessing writes.

mod raw;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::delimited::{Header, Layout, Reading, Row};
use super::error::RowProblem;
use super::log::{Piece, RawLog, dense_fields};
use super::source::{FoundFile, Role, SourceFile, require};
use super::{DataError, Like, Simulated};
use crate::registry::Describe;

/// Click and conversion in AliExpress search, one log a country.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AliExpress {
    /// Which country's log.
    pub country: Country,
}

/// The five published countries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Country {
    NL,
    #[default]
    ES,
    FR,
    US,
    RU,
}

impl Country {
    /// The two letters that folders and published files carry.
    pub fn code(self) -> &'static str {
        match self {
            Self::NL => "NL",
            Self::ES => "ES",
            Self::FR => "FR",
            Self::US => "US",
            Self::RU => "RU",
        }
    }
}

impl Describe for AliExpress {
    const SUMMARY: &'static str =
        "AliExpress search log, two tasks: click and conversion (CTCVR); 16 categorical and 63 numerical columns";
    const SOURCE: &'static str = "Li et al., Improving multi-scenario learning to rank in e-commerce, CIKM 2020";
}

/// Number of categorical columns, `categorical_1` and on.
pub(super) const CATEGORICAL: usize = 16;
/// Number of numerical columns, `numerical_1` and on.
pub(super) const NUMERICAL: usize = 63;
/// The tasks; a conversion needs a click.
pub(super) const TASKS: [&str; 2] = ["click", "conversion"];
/// The search a row belongs to: a group, never a feature.
pub(crate) const GROUP: &str = "search_id";

/// `categorical_1`, …
pub(super) fn categorical_names() -> Vec<String> {
    (1..=CATEGORICAL).map(|number| format!("categorical_{number}")).collect()
}

/// `numerical_1`, …
pub(super) fn numerical_names() -> Vec<String> {
    (1..=NUMERICAL).map(|number| format!("numerical_{number}")).collect()
}

impl AliExpress {
    /// The names of the processed files, and of the archive as it is published.
    pub(super) fn files(&self) -> Vec<String> {
        vec!["train.csv".to_owned(), "test.csv".to_owned(), raw::archive_name(self.country)]
    }

    /// Looks in the folder for the processed form (`train.csv` and `test.csv`, or
    /// `.csv.gz`) and then for the published one: the archive, the four archives in it, or their contents.
    ///
    /// # Errors
    /// When none is there, or only a part of one.
    pub(super) fn locate(&self, root: &Path, folder: &Path) -> Result<Vec<FoundFile>, DataError> {
        let code = self.country.code();
        let remedy = format!(
            "download {} from https://tianchi.aliyun.com/dataset/74690 (an account is needed) and put it, as it is, into \
             `{}`; or go on with a simulated log: `when_missing: Simulate(rows: 60000)`",
            raw::archive_name(self.country),
            folder.display()
        );
        let wanted = [(Role::Train, "train.csv"), (Role::Test, "test.csv")];
        let dataset = format!("AliExpress {code}");
        match require(root, folder, &wanted, &dataset, &remedy) {
            Err(nothing @ DataError::NotThere { .. }) => match raw::look(root, folder, self.country) {
                raw::Found::All(files) => Ok(files),
                raw::Found::Some { found, missing } => {
                    Err(DataError::Incomplete { dataset, folder: folder.to_path_buf(), found, missing, remedy })
                }
                raw::Found::Nothing => Err(nothing),
            },
            other => other,
        }
    }

    /// The simulated log that stands in for this one.
    pub fn simulation(&self, rows: usize, seed: u64) -> Simulated {
        Simulated { like: Like::AliExpress, country: self.country, rows, seed }
    }

    /// Reads the test rows of an archive as it is published.
    pub(super) fn read_test(&self, archive: &SourceFile, reading: &mut Reading) -> Result<RawLog, DataError> {
        raw::read_test(self.country, std::slice::from_ref(archive), reading)
    }

    pub(super) fn read(&self, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
        if files.iter().all(|file| !matches!(file.role, Role::Train | Role::Test)) {
            return raw::read(self.country, files, reading);
        }
        let tasks = TASKS.map(str::to_owned).to_vec();
        let mut log = RawLog::new(dense_fields(categorical_names()), numerical_names(), tasks);
        for file in files {
            let before = log.rows();
            let layout = Layout { delimiter: b',', names: None, quotes: true };
            reading.file(file, layout, &mut log, Columns::of, Columns::read)?;
            if file.role == Role::Test {
                log.test_rows = Some(log.rows() - before);
            }
        }
        Ok(log)
    }
}

/// Where each column stands; the order in the file means nothing.
struct Columns {
    group: usize,
    categorical: Vec<usize>,
    numerical: Vec<usize>,
    click: usize,
    conversion: usize,
}

impl Columns {
    fn of(header: &Header) -> Result<Self, DataError> {
        let (categorical, numerical) = (categorical_names(), numerical_names());
        let [click, conversion] = TASKS;
        let features = categorical.iter().chain(&numerical).map(String::as_str);
        let wanted: Vec<&str> = [GROUP, click, conversion].into_iter().chain(features).collect();
        let mut found = header.positions(&wanted)?.into_iter();
        if header.names().len() > wanted.len() {
            return Err(header.wrong(
                format!("{} columns where {} are expected", header.names().len(), wanted.len()),
                "remove the additional columns, or read the log as `Csv(..)`, which chooses columns by name",
            ));
        }
        let mut next = || found.next().unwrap_or_default();
        Ok(Self {
            group: next(),
            click: next(),
            conversion: next(),
            categorical: (0..CATEGORICAL).map(|_| next()).collect(),
            numerical: (0..NUMERICAL).map(|_| next()).collect(),
        })
    }

    fn read(&self, row: &Row, piece: &mut Piece) -> Result<(), DataError> {
        piece.push_group(row.integer(self.group)?);
        let parts = &mut piece.parts;
        row.ids(&self.categorical, &mut parts.categorical)?;
        row.numbers(&self.numerical, &mut parts.numerical)?;
        let (click, conversion) = (row.label(self.click)?, row.label(self.conversion)?);
        if conversion > click {
            return Err(row.wrong(Some(self.conversion), RowProblem::ConversionWithoutClick));
        }
        parts.labels.extend([click, conversion]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::fixtures::{Project, encoded, real_rows};
    use crate::data::{Dataset, FieldEncoding, Part};
    use crate::spec::{Test, Valid};

    fn header() -> Vec<String> {
        let mut names = vec![GROUP.to_owned()];
        names.extend(categorical_names());
        names.extend(numerical_names());
        names.extend(TASKS.map(str::to_owned));
        names
    }

    /// A file of three sound rows (lines 2 to 4), with some cells replaced: (line, column, text).
    fn file(changes: &[(usize, &str, &str)]) -> String {
        let names = header();
        let mut lines = vec![names.clone()];
        for (search, click, conversion) in [("5", "0", "0"), ("5", "1", "0"), ("9", "1", "1")] {
            let mut row = vec![search.to_owned()];
            row.extend((0..CATEGORICAL).map(|id| id.to_string()));
            row.extend((0..NUMERICAL).map(|number| format!("0.{number}")));
            row.extend([click.to_owned(), conversion.to_owned()]);
            lines.push(row);
        }
        for (line, column, text) in changes {
            let at = names.iter().position(|name| name == column).unwrap();
            lines[line - 1][at] = (*text).to_owned();
        }
        lines.iter().map(|line| line.join(",") + "\n").collect()
    }

    fn spain() -> Dataset {
        AliExpress { country: Country::ES }.into()
    }

    fn project(train: &str) -> Project {
        let project = Project::new();
        project.write("data/aliexpress/ES/train.csv", train);
        project.write("data/aliexpress/ES/test.csv", &file(&[]));
        project
    }

    fn refused(train: &str) -> (String, String) {
        let error = project(train).read(&spain(), None).err().expect("the file is wrong");
        (error.to_string(), error.hint().unwrap_or_default())
    }

    fn refused_cell(line: usize, column: &str, text: &str) -> (String, String) {
        refused(&file(&[(line, column, text)]))
    }

    #[test]
    fn rows_are_read_as_they_stand() {
        let log = project(&file(&[])).read(&spain(), None).unwrap();
        assert_eq!((log.rows(), log.test_rows), (6, Some(3)));
        assert_eq!(log.parts.categorical[..CATEGORICAL], (0..16).collect::<Vec<u32>>());
        assert_eq!(log.parts.numerical[..3], [0.0, 0.1, 0.2]);
        assert_eq!(log.parts.labels, [0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!(log.parts.group, Some(vec![5, 5, 9, 5, 5, 9]));
    }

    #[test]
    fn column_order_blank_lines_and_line_ends_mean_nothing() {
        let reversed: String =
            file(&[]).lines().map(|line| line.split(',').rev().collect::<Vec<_>>().join(",") + "\r\n\r\n").collect();
        let (straight, reversed) = (project(&file(&[])), project(&reversed));
        let read = |project: &Project| project.read(&spain(), None).unwrap().parts;
        assert_eq!(read(&straight), read(&reversed));
    }

    #[test]
    fn a_packed_file_reads_the_same() {
        let (plain, packed) = (project(&file(&[])), project(&file(&[])));
        packed.pack("data/aliexpress/ES/train.csv");
        let read = |project: &Project| project.read(&spain(), None).unwrap().parts;
        assert_eq!(read(&plain), read(&packed));

        let path = "data/aliexpress/ES/train.csv.gz";
        let half = fs::read(packed.root().join(path)).unwrap();
        fs::write(packed.root().join(path), &half[..half.len() / 2]).unwrap();
        let error = packed.read(&spain(), None).err().unwrap().to_string();
        assert_eq!(error, "cannot read `data/aliexpress/ES/train.csv.gz`");
    }

    #[test]
    fn wrong_cells_are_named_with_file_line_and_column() {
        let at = "data/aliexpress/ES/train.csv";
        let (message, hint) = refused_cell(3, "numerical_4", "abc");
        assert_eq!(message, format!("{at}:3: column `numerical_4`: `abc` is not a number"));
        assert!(hint.contains("only numbers"));
        for text in ["NaN", "inf", "-inf", "1e99"] {
            let (message, hint) = refused_cell(2, "numerical_63", text);
            assert_eq!(message, format!("{at}:2: column `numerical_63`: `{text}` is not a finite number"));
            assert!(hint.contains("`fill: 0.0`"), "{hint}");
        }
        let (message, hint) = refused_cell(4, "numerical_1", "");
        assert_eq!(message, format!("{at}:4: column `numerical_1`: no number"));
        assert!(hint.contains("`fill: 0.0`"), "{hint}");

        let (message, hint) = refused_cell(4, "categorical_16", "-3");
        assert_eq!(message, format!("{at}:4: column `categorical_16`: `-3` is negative, ids start at 0"));
        assert!(hint.contains("Csv("), "{hint}");
        let (message, _) = refused_cell(2, "categorical_1", "1.5");
        assert_eq!(message, format!("{at}:2: column `categorical_1`: `1.5` is not an integer id"));
        let (message, _) = refused_cell(2, "categorical_1", "");
        assert_eq!(message, format!("{at}:2: column `categorical_1`: no id"));
        let (message, hint) = refused_cell(2, "categorical_1", "50000001");
        assert_eq!(
            message,
            format!("{at}:2: column `categorical_1`: id `50000001` is too large for an id that indexes a table")
        );
        assert!(hint.contains("by dictionary"), "{hint}");
        let (message, _) = refused_cell(2, "search_id", "x7");
        assert_eq!(message, format!("{at}:2: column `search_id`: `x7` is not an integer id"));

        for text in ["2", "", "0.5", "-1"] {
            let (message, _) = refused_cell(3, "click", text);
            assert_eq!(message, format!("{at}:3: column `click`: `{text}` is not a label, which is 0 or 1"));
        }
        let (message, hint) = refused_cell(2, "conversion", "1");
        assert_eq!(message, format!("{at}:2: column `conversion`: conversion without click"));
        assert!(hint.contains("click = 1"), "{hint}");
    }

    #[test]
    fn lines_cut_short_or_too_long_are_named() {
        let short = file(&[]).trim_end().trim_end_matches(",1").to_owned();
        let (message, hint) = refused(&short);
        assert_eq!(message, "data/aliexpress/ES/train.csv:4: 80 fields where 82 are expected");
        assert!(hint.contains("cut short"), "{hint}");
        let (message, _) = refused(&file(&[(3, "numerical_2", "0,5")]));
        assert_eq!(message, "data/aliexpress/ES/train.csv:3: 83 fields where 82 are expected");
        // Blank lines count as lines.
        let (message, _) = refused(&file(&[(3, "numerical_2", "x")]).replace('\n', "\n\n"));
        assert!(message.starts_with("data/aliexpress/ES/train.csv:5: column `numerical_2`"), "{message}");
    }

    #[test]
    fn wrong_headers_are_named() {
        let (message, hint) = refused(&file(&[(1, "numerical_7", "numericl_7")]));
        assert_eq!(message, "data/aliexpress/ES/train.csv:1: column `numerical_7` is missing");
        assert!(hint.contains("there is a column `numericl_7`"), "{hint}");
        let (message, _) = refused(&file(&[(1, "numerical_7", "numerical_8")]));
        assert_eq!(message, "data/aliexpress/ES/train.csv:1: column `numerical_7` is missing");
        let (message, _) = refused(&file(&[(1, "numerical_63", "click")]));
        assert_eq!(message, "data/aliexpress/ES/train.csv:1: column `click` stands there twice");
        let (message, hint) = refused(&file(&[]).replace('\n', ",0\n"));
        assert_eq!(message, "data/aliexpress/ES/train.csv:1: 83 columns where 82 are expected");
        assert!(hint.contains("Csv("), "{hint}");
        let (message, hint) = refused("1,2,3\n4,5,6\n");
        let first =
            "`search_id`, `click`, `conversion`, `categorical_1`, `categorical_2`, `categorical_3`, `categorical_4`";
        assert_eq!(
            message,
            format!("data/aliexpress/ES/train.csv:1: columns {first}, `categorical_5` and 74 more are missing")
        );
        assert!(hint.ends_with("this one starts with `1,2,3`"), "{hint}");
    }

    #[test]
    fn files_without_rows_are_refused() {
        for text in ["", "\n\n", &(header().join(",") + "\n")] {
            let (message, hint) = refused(text);
            assert_eq!(message, "`data/aliexpress/ES/train.csv` has no rows");
            assert!(hint.contains("cut short"), "{hint}");
        }
    }

    #[test]
    fn fill_stands_for_missing_numbers_but_not_for_text() {
        let holes = [(2, "numerical_1", "NaN"), (3, "numerical_1", ""), (4, "numerical_1", "-inf")];
        let log = project(&file(&holes)).read(&spain(), Some(0.25)).unwrap();
        let column: Vec<f32> = log.parts.numerical.iter().step_by(NUMERICAL).copied().collect();
        assert_eq!(column[..3], [0.25; 3]);
        let project = project(&file(&[(2, "numerical_1", "abc")]));
        let message = project.read(&spain(), Some(0.25)).err().unwrap().to_string();
        assert!(message.ends_with("`abc` is not a number"), "{message}");
    }

    #[test]
    fn a_file_that_changed_or_vanished_since_download_is_refused() {
        let path = "data/aliexpress/ES/train.csv";
        let project = project(&file(&[]));
        let files = project.examine(&spain());
        assert!(project.read_files(&spain(), &files, None).is_ok());
        // The same length, a nonsense cell: the change is the news, not the cell.
        project.write(path, &file(&[(2, "numerical_4", "0.x")]));
        let error = project.read_files(&spain(), &files, None).err().unwrap();
        assert_eq!(error.to_string(), format!("`{path}` changed since the Download stage saw it"));
        assert!(error.hint().unwrap().contains("run the pipeline again"));
        project.write(path, &(file(&[]) + "\n"));
        let error = project.read_files(&spain(), &files, None).err().unwrap();
        assert_eq!(error.to_string(), format!("`{path}` changed since the Download stage saw it"));
        fs::remove_file(project.root().join(path)).unwrap();
        let error = project.read_files(&spain(), &files, None).err().unwrap();
        assert_eq!(error.to_string(), format!("`{path}` vanished since the Download stage saw it"));
        // Touched or written again, but with the same content: the same file.
        project.write(path, &file(&[]));
        assert!(project.read_files(&spain(), &files, None).is_ok());
    }

    #[test]
    fn files_that_are_not_there_are_named_with_where_to_get_them() {
        let project = Project::new();
        let error = spain().locate(project.root(), None).unwrap_err();
        assert!(matches!(error, DataError::NotThere { .. }));
        assert_eq!(
            error.to_string(),
            "AliExpress ES is not there: no `train.csv` and `test.csv` in `data/aliexpress/ES`"
        );
        let hint = error.hint().unwrap();
        for part in ["https://tianchi.aliyun.com/dataset/74690", "`data/aliexpress/ES`", "Simulate(rows: 60000)"] {
            assert!(hint.contains(part), "{hint}");
        }

        project.write("logs/test.csv", "x");
        let error = spain().locate(project.root(), Some(Path::new("logs"))).unwrap_err();
        assert!(matches!(error, DataError::Incomplete { .. }));
        assert_eq!(error.to_string(), "AliExpress ES is incomplete: `test.csv` is in `logs`, `train.csv` is not");

        project.write("logs/train.csv", "x");
        let found = spain().locate(project.root(), Some(Path::new("logs"))).unwrap();
        let expected = [(Role::Train, "logs/train.csv"), (Role::Test, "logs/test.csv")];
        assert_eq!(found, expected.map(|(role, path)| FoundFile { role, path: path.into() }));
    }

    #[test]
    fn the_published_sample_encodes() {
        let Some(folder) = real_rows("aliexpress_train_sample.csv") else { return };
        let project = Project::new();
        for (sample, name) in [("train", "train.csv"), ("test", "test.csv")] {
            let text = fs::read_to_string(folder.join(format!("aliexpress_{sample}_sample.csv"))).unwrap();
            project.write(&format!("data/aliexpress/ES/{name}"), &text);
        }
        let log = project.read(&spain(), None).unwrap();
        let (encoded, split) = encoded(log, Valid::FromTest(0.5), Test::AsGiven);
        assert_eq!([Part::Train, Part::Valid, Part::Test].map(|part| split.count(part)), [100, 10, 10]);
        let sizes: Vec<usize> = encoded.schema.fields.iter().map(|field| field.size).collect();
        assert_eq!(sizes, [11, 5, 7, 3, 22, 8, 51, 9, 8, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(encoded.schema.numerical.len(), 63);
        let count = |task| encoded.rows.labels().iter().skip(task).step_by(2).filter(|&&label| label == 1).count();
        assert_eq!((count(0), count(1)), (70, 4));
        assert_eq!(encoded.encoding.fields[0], FieldEncoding::Dense { unseen: (0..9).collect() });
    }
}
