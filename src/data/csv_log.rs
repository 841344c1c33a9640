//! Anybody's own log: delimited text with a header, columns chosen by name.

use std::path::Path;

use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::delimited::{Header, Layout, Reading, Row};
use super::error::list;
use super::log::{Piece, RawLog, dictionary_fields};
use super::source::{FoundFile, Role, SourceFile, require};
use crate::registry::Describe;

/// A delimited text log with a header line.
///
/// Fields are separated by tabs in `.tsv` and `.tab` files and by commas in all others; `.gz` is unpacked. Categories
/// are texts (`1` and `01` differ) and are numbered by dictionary; numbers stay as they are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// Training rows; relative to the stage's `path`, or to the project's folder.
    pub train: String,
    /// Test rows; leave out when `Preprocess` draws them with `test: Random(..)`.
    #[serde(default)]
    pub test: Option<String>,
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

    /// A column plays one part, and there is something to learn and something to learn from.
    fn check(&self) -> Result<(), DataError> {
        let mut seen = IndexSet::new();
        let columns =
            self.categorical.iter().chain(&self.numerical).chain(&self.labels).chain(&self.group).chain(&self.time);
        let twice: Vec<&String> = columns.filter(|&name| !seen.insert(name)).collect();
        if !twice.is_empty() {
            return Err(DataError::request(
                format!("`Csv(..)` names {} twice", list(&twice)),
                "a column is categorical, numerical, a label, the group or the time",
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
        Ok(())
    }

    pub(super) fn read(&self, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
        let mut log = RawLog::new(dictionary_fields(&self.categorical), self.numerical.clone(), self.labels.clone());
        for file in files {
            let before = log.rows();
            let columns = |header: &Header| Columns::of(self, header);
            reading.file(file, Layout::by_extension(&file.path), &mut log, columns, Columns::read)?;
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
    numerical: Vec<usize>,
    labels: Vec<usize>,
    group: Option<usize>,
    time: Option<usize>,
}

impl Columns {
    fn of(csv: &Csv, header: &Header) -> Result<Self, DataError> {
        let named = csv.categorical.iter().chain(&csv.numerical).chain(&csv.labels).chain(&csv.group).chain(&csv.time);
        let wanted: Vec<&str> = named.map(String::as_str).collect();
        let mut categorical = header.positions(&wanted)?;
        let mut numerical = categorical.split_off(csv.categorical.len());
        let mut labels = numerical.split_off(csv.numerical.len());
        let mut rest = labels.split_off(csv.labels.len());
        let time = csv.time.as_ref().and_then(|_| rest.pop());
        Ok(Self { categorical, numerical, labels, group: rest.pop(), time })
    }

    fn read(&self, row: &Row, piece: &mut Piece) -> Result<(), DataError> {
        for (field, &at) in self.categorical.iter().enumerate() {
            piece.push_category(field, row.text(at)?);
        }
        row.numbers(&self.numerical, &mut piece.parts.numerical)?;
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
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::fixtures::Project;
    use crate::spec::By;

    fn csv() -> Csv {
        Csv {
            train: "rows.csv".into(),
            categorical: vec!["colour".into(), "shop".into()],
            numerical: vec!["price".into()],
            labels: vec!["like".into()],
            group: Some("user".into()),
            ..Csv::default()
        }
    }

    fn read(csv: Csv, file: &str, text: &[u8]) -> Result<RawLog, DataError> {
        let project = Project::new();
        project.write_bytes(file, text);
        project.read(&Dataset::from(csv), None)
    }

    #[test]
    fn columns_are_chosen_by_name_and_texts_are_numbered() {
        let text = [
            "user,like,price,ignored,colour,shop",
            "ann,1,2.5,x,red,7",
            "bob,0,-1,y,\"dark, blue\",07",
            "ann,0.0,3e2,z,red,",
        ];
        let log = read(csv(), "rows.csv", text.join("\n").as_bytes()).unwrap();
        assert_eq!(log.parts.categorical, [0, 0, 1, 1, 0, 2]);
        assert_eq!(log.parts.numerical, [2.5, -1.0, 300.0]);
        assert_eq!(log.parts.labels, [1, 0, 0]);
        assert_eq!(log.parts.group, Some(vec![0, 1, 0]));
        assert_eq!(log.test_rows, None);
    }

    #[test]
    fn tabs_separate_tsv_files_and_test_rows_share_the_dictionary() {
        let project = Project::new();
        project.write("logs/a.tsv", "user\tcolour\tshop\tprice\tlike\n1\tred, dark\t2\t1\t1\n");
        project.write("logs/b.tsv", "like\tuser\tcolour\tshop\tprice\n0\t2\tblue\t2\t5\n");
        project.pack("logs/b.tsv");
        let dataset = Dataset::from(Csv { train: "a.tsv".into(), test: Some("b.tsv".into()), ..csv() });
        let log = project.read_at(&dataset, Path::new("logs"), None).unwrap();
        assert_eq!(log.parts.categorical, [0, 0, 1, 0]);
        assert_eq!((log.rows(), log.test_rows), (2, Some(1)));
    }

    #[test]
    fn missing_columns_and_wrong_cells_are_named() {
        let refused = |text: &[u8]| {
            let error = read(csv(), "rows.csv", text).err().unwrap();
            (error.to_string(), error.hint().unwrap())
        };
        let (message, hint) = refused(b"user,liked,price,colour,shop\n");
        assert_eq!(message, "rows.csv:1: column `like` is missing");
        assert_eq!(hint, "there is a column `liked`");
        let (message, _) = refused(b"user,like,like,price,colour,shop\n");
        assert_eq!(message, "rows.csv:1: column `like` stands there twice");
        let (message, hint) = refused(b"user,like,price,colour,shop\na,1,2,\xff\xfe,s\n");
        assert!(message.starts_with("rows.csv:2: column `colour`: ") && message.ends_with("is not UTF-8 text"));
        assert_eq!(hint, "save the file as UTF-8");
        // A text may run over several lines; the row is named by its first.
        let (message, _) = refused(b"user,like,price,colour,shop\na,1,2,\"x\ny\",s\na,yes,2,x,s\n");
        assert_eq!(message, "rows.csv:4: column `like`: `yes` is not a label, which is 0 or 1");
    }

    #[test]
    fn columns_that_make_no_sense_together_are_refused() {
        let refused = |csv: Csv| Dataset::from(csv).locate(Path::new("."), None).unwrap_err().to_string();
        assert_eq!(refused(Csv { group: Some("like".into()), ..csv() }), "`Csv(..)` names `like` twice");
        assert_eq!(refused(Csv { labels: vec![], ..csv() }), "`Csv(..)` names no labels");
        assert_eq!(refused(Csv { categorical: vec![], numerical: vec![], ..csv() }), "`Csv(..)` names no features");
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let project = Project::new();
        let refused = |csv: Csv, folder: Option<&str>| {
            Dataset::from(csv).locate(project.root(), folder.map(Path::new)).unwrap_err().to_string()
        };
        assert_eq!(refused(csv(), None), "the log is not there: no `rows.csv` in the project's folder");
        project.write("logs/rows.csv", "x");
        let with_test = Csv { test: Some("other.csv".into()), ..csv() };
        assert_eq!(
            refused(with_test, Some("logs")),
            "the log is incomplete: `rows.csv` is in `logs`, `other.csv` is not"
        );
    }

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn parquet_needs_a_build_that_reads_it() {
        let project = Project::new();
        project.write("rows.parquet", "PAR1");
        let dataset = Dataset::from(Csv { train: "rows.parquet".into(), ..csv() });
        let error = project.read(&dataset, None).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("--features parquet"), "{cause}");
    }

    #[test]
    fn reading_stops_when_told() {
        let project = Project::new();
        project.write("rows.csv", "user,like,price,colour,shop\na,1,2,x,s\n");
        let dataset = Dataset::from(csv());
        let files = project.examine(&dataset);
        let mut heard = Vec::new();
        let mut watch = |advance| {
            heard.push(advance);
            Err(DataError::Interrupted)
        };
        let mut reading = Reading::new(project.root(), None, None, &mut watch);
        assert!(matches!(dataset.read(&files, &mut reading), Err(DataError::Interrupted)));
        assert_eq!(heard, [crate::data::Advance { bytes: files[0].bytes, rows: 1 }]);
    }

    #[test]
    fn times_are_read_in_the_order_of_the_rows() {
        let timed = || Csv { group: None, time: Some("at".into()), ..csv() };
        let log =
            read(timed(), "rows.csv", b"at,like,price,colour,shop\n2,1,2,x,s\n1e1,0,2,x,s\n-3,1,2,x,s\n").unwrap();
        assert_eq!(log.given(By::Row).unwrap().times, Some(&[2.0, 10.0, -3.0][..]));
        assert_eq!(log.given(By::Group).unwrap().groups, None);
        let refused = |rows: &str| {
            let text = format!("at,like,price,colour,shop\n{rows}");
            read(timed(), "rows.csv", text.as_bytes()).err().unwrap().to_string()
        };
        assert_eq!(
            refused("2024-01-01,1,2,x,s\nsoon,1,2,x,s\n"),
            "rows.csv:3: column `at`: `soon` is no time: neither a number nor `2024-05-31` or `2024-05-31T23:59:07`"
        );
        assert_eq!(
            refused("2024-01-01,1,2,x,s\n2024,1,2,x,s\n"),
            "column `at` holds numbers and dates, which have no common order"
        );
    }

    #[test]
    fn groups_are_numbered_by_first_appearance() {
        let text = "user,like,price,colour,shop\nb,1,2,x,s\na,1,2,x,s\nb,1,2,x,s\n";
        let log = read(csv(), "rows.csv", text.as_bytes()).unwrap();
        assert_eq!(log.given(By::Group).unwrap().groups, Some(vec![0, 1, 0]));
        assert_eq!(log.given(By::Row).unwrap().groups, None);
    }
}
