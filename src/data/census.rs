//! UCI Census-Income (KDD): the log that multi-task papers use for a second opinion.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::delimited::{Layout, Reading, Row};
use super::error::{RowProblem, quoted};
use super::log::{Piece, RawLog, dictionary_fields};
use super::source::{FoundFile, Role, SourceFile, Wanted, look_for};
use super::{DataError, Transform};
use crate::registry::Describe;

/// Census-Income with the two customary tasks: income over 50K, never married.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CensusIncome {
    /// The second label counts only where the first one holds, as a conversion needs a click: ever married, and ever married
    /// with an income over 50K. What `Esmm` needs.
    pub chained: bool,
}

impl Describe for CensusIncome {
    const SUMMARY: &'static str = "UCI Census-Income (KDD), two tasks: income over 50K and never married";
    const SOURCE: &'static str = "UCI Machine Learning Repository, 2000; tasks as in Ma et al., KDD 2018";
}

/// The files' columns in order; they have no header line. Names follow the documentation of the data set.
const COLUMNS: [&str; 42] = [
    "age",
    "class_of_worker",
    "industry_code",
    "occupation_code",
    "education",
    "wage_per_hour",
    "enrolled_in_education",
    "marital_status",
    "major_industry",
    "major_occupation",
    "race",
    "hispanic_origin",
    "sex",
    "union_member",
    "reason_for_unemployment",
    "employment_status",
    "capital_gains",
    "capital_losses",
    "dividends",
    "tax_filer_status",
    "previous_region",
    "previous_state",
    "household_and_family",
    "household_summary",
    "instance_weight",
    "migration_msa",
    "migration_region",
    "migration_within_region",
    "same_house_1_year_ago",
    "migration_sunbelt",
    "persons_worked_for_employer",
    "family_members_under_18",
    "birth_country_father",
    "birth_country_mother",
    "birth_country_self",
    "citizenship",
    "own_business",
    "veterans_questionnaire",
    "veterans_benefits",
    "weeks_worked",
    "year",
    "income",
];

/// The continuous columns; integer codes (industry, occupation, year, ...) are categories.
const NUMERICAL: [usize; 7] = [0, 5, 16, 17, 18, 30, 39];
/// The column behind the second task, which therefore is no feature.
const MARITAL_STATUS: usize = 7;
const NEVER_MARRIED: &str = "Never married";
/// How many people a row stands for: no feature.
const INSTANCE_WEIGHT: usize = 24;
/// The column behind the first task.
const INCOME: usize = 41;
const INCOME_OVER: &str = "50000+.";
const INCOME_UNDER: &str = "- 50000.";
const TASKS: [&str; 2] = ["income_over_50k", "never_married"];
const CHAINED_TASKS: [&str; 2] = ["ever_married", "married_and_over_50k"];

fn categorical() -> impl Iterator<Item = usize> {
    (0..COLUMNS.len()).filter(|at| ![MARITAL_STATUS, INSTANCE_WEIGHT, INCOME].contains(at) && !NUMERICAL.contains(at))
}

impl CensusIncome {
    /// The published files.
    pub(super) const FILES: [Wanted<'static>; 2] =
        [(Role::Train, "census-income.data"), (Role::Test, "census-income.test")];

    /// The archive that the repository offers, with both files in [`Self::PACKED`].
    pub(super) const ARCHIVE: &'static str = "census+income+kdd.zip";
    const PACKED: &'static str = "census.tar.gz";

    /// How the files are laid out.
    pub(super) const LAYOUT: Layout<'static> = Layout { delimiter: b',', names: Some(&COLUMNS), quotes: false };

    /// Looks for `census-income.data` and `census-income.test` (or `.gz`) in the folder, and then for the archive of both.
    ///
    /// # Errors
    /// When nothing is there.
    pub(super) fn locate(&self, root: &Path, folder: &Path) -> Result<Vec<FoundFile>, DataError> {
        let found: Vec<FoundFile> = look_for(root, folder, &Self::FILES).into_iter().filter_map(Result::ok).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let archive = folder.join(Self::ARCHIVE);
        if root.join(&archive).is_file() {
            return Ok(vec![FoundFile { role: Role::Archive, path: archive }]);
        }
        let remedy = format!(
            "download Census-Income (KDD) from https://archive.ics.uci.edu/dataset/117/census+income+kdd and put the \
             archive as it is, or `census-income.data` and `census-income.test` out of it (or either; `.gz` is fine), \
             into `{}`; or have it fetched: `fetch: [Fetch(url: \
             \"https://archive.ics.uci.edu/static/public/117/census+income+kdd.zip\")]`",
            folder.display()
        );
        let files = Self::FILES.map(|(_, name)| name.to_owned()).to_vec();
        Err(DataError::NotThere { dataset: "Census-Income".into(), folder: folder.to_path_buf(), files, remedy })
    }

    pub(super) fn read(&self, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
        let fields = dictionary_fields(categorical().map(|at| COLUMNS[at]));
        let numerical = NUMERICAL.map(|at| COLUMNS[at].to_owned()).to_vec();
        let tasks = if self.chained { CHAINED_TASKS } else { TASKS };
        let mut log = RawLog::new(fields, numerical, tasks.map(str::to_owned).to_vec());
        // Capital gains run to 99999 beside ages, and the network does not normalise its inputs.
        log.transforms.fill(Transform::Standardise);
        let columns: Vec<usize> = categorical().collect();
        let read = |(): &(), row: &Row, piece: &mut Piece| self.read_row(row, &columns, piece);
        if let [SourceFile { role: Role::Archive, path, .. }] = files {
            reading.verify(&files[0])?;
            for (role, name) in Self::FILES {
                let before = log.rows();
                let names = [Self::PACKED.to_owned(), name.to_owned()];
                reading.member(path, &names, Self::LAYOUT, &mut log, |_| Ok(()), read)?;
                log.test_rows = (role == Role::Test).then(|| log.rows() - before);
            }
            return Ok(log);
        }
        for file in files {
            let before = log.rows();
            reading.file(file, Self::LAYOUT, &mut log, |_| Ok(()), read)?;
            // One file alone is no given split, whichever it is.
            if file.role == Role::Test && before > 0 {
                log.test_rows = Some(log.rows() - before);
            }
        }
        Ok(log)
    }

    fn read_row(&self, row: &Row, categorical: &[usize], piece: &mut Piece) -> Result<(), DataError> {
        for (field, &at) in categorical.iter().enumerate() {
            piece.push_category(field, row.text(at)?);
        }
        row.numbers(&NUMERICAL, &mut piece.parts.numerical)?;
        let income = match row.text(INCOME)? {
            INCOME_OVER => 1,
            INCOME_UNDER => 0,
            other => {
                let found = quoted(other.as_bytes());
                let problem = RowProblem::NotAnOutcome { found, negative: INCOME_UNDER, positive: INCOME_OVER };
                return Err(row.wrong(Some(INCOME), problem));
            }
        };
        let never_married = u8::from(row.text(MARITAL_STATUS)? == NEVER_MARRIED);
        let ever_married = 1 - never_married;
        let labels = if self.chained { [ever_married, ever_married * income] } else { [income, never_married] };
        piece.parts.labels.extend(labels);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::{Project, encoded, real_rows};
    use crate::data::{Dataset, FieldEncoding, Part};
    use crate::spec::{Test, Valid};

    /// A made-up row: every category `c<column>`, every number 1, with some cells replaced.
    fn row(changes: &[(usize, &str)]) -> String {
        let mut cells: Vec<String> =
            (0..COLUMNS.len()).map(|at| if NUMERICAL.contains(&at) { "1".into() } else { format!("c{at}") }).collect();
        cells[INSTANCE_WEIGHT] = "1700.09".into();
        cells[INCOME] = INCOME_UNDER.into();
        for (at, text) in changes {
            cells[*at] = (*text).into();
        }
        cells.join(", ") + "\n"
    }

    fn census() -> Dataset {
        CensusIncome::default().into()
    }

    fn project(test: &str) -> Project {
        let project = Project::new();
        project.write("data/census/census-income.test", test);
        project
    }

    #[test]
    fn tasks_weight_and_marital_status_are_no_features() {
        let text = row(&[(INCOME, INCOME_OVER)]) + &row(&[(MARITAL_STATUS, NEVER_MARRIED), (1, "?"), (0, "40")]);
        let log = project(&text).read(&census(), None).unwrap();
        assert_eq!(log.parts.labels, [1, 0, 0, 1]);
        assert_eq!(log.parts.numerical[7], 40.0);
        assert_eq!((log.fields.len(), log.numerical.len(), log.parts.categorical.len()), (32, 7, 64));
        let names: Vec<&str> = log.fields.iter().map(|field| field.name.as_str()).collect();
        for feature in ["industry_code", "occupation_code", "year", "citizenship"] {
            assert!(names.contains(&feature), "{names:?}");
        }
        for no_feature in ["marital_status", "instance_weight", "income", "age"] {
            assert!(!names.contains(&no_feature), "{names:?}");
        }
        let (encoded, _) = encoded_of_pairs(log);
        let FieldEncoding::Dictionary(values) = &encoded.encoding.fields[0] else { panic!("a dictionary") };
        assert!(values.iter().all(|value| value == "?" || value == "c1"), "{values:?}");
    }

    #[test]
    fn a_chained_label_needs_the_first_one() {
        let both = [(INCOME, INCOME_OVER), (MARITAL_STATUS, NEVER_MARRIED)];
        let text = row(&both[..1]) + &row(&both[1..]) + &row(&both);
        let log = project(&text).read(&CensusIncome { chained: true }.into(), None).unwrap();
        assert_eq!(log.parts.labels, [1, 1, 0, 0, 0, 0]);
        assert_eq!(log.tasks, ["ever_married", "married_and_over_50k"]);
    }

    /// Enough copies of a two-row log that every split has rows.
    fn encoded_of_pairs(mut log: RawLog) -> (crate::data::fixtures::Encoded, crate::data::Split) {
        for _ in 0..3 {
            let parts = &mut log.parts;
            parts.categorical.extend_from_within(..);
            parts.numerical.extend_from_within(..);
            parts.labels.extend_from_within(..);
        }
        encoded(log, Valid::FromTest(0.5), Test::Random(0.5))
    }

    #[test]
    fn one_file_is_no_split_and_two_are() {
        let one = project(&row(&[])).read(&census(), None).unwrap();
        assert_eq!((one.rows(), one.test_rows), (1, None));
        let two = project(&row(&[]));
        two.write("data/census/census-income.data", &(row(&[]) + &row(&[])));
        let two = two.read(&census(), None).unwrap();
        assert_eq!((two.rows(), two.test_rows), (3, Some(1)));
        let train_only = Project::new();
        train_only.write("data/census/census-income.data", &row(&[]));
        assert_eq!(train_only.read(&census(), None).unwrap().test_rows, None);
    }

    #[test]
    fn the_repository_s_archive_is_read_as_it_is() {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
        for (name, text) in
            [("census-income.test", row(&[])), ("census-income.data", row(&[]) + &row(&[(INCOME, INCOME_OVER)]))]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_cksum();
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let tar = tar.into_inner().unwrap().finish().unwrap();
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("census.tar.gz", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &tar).unwrap();
        let project = Project::new();
        project.write_bytes("data/census/census+income+kdd.zip", &zip.finish().unwrap().into_inner());
        let log = project.read(&census(), None).unwrap();
        assert_eq!((log.rows(), log.test_rows), (3, Some(1)));
        assert_eq!(log.parts.labels[..4], [0, 0, 1, 0]);
        assert_eq!(census().files().last().unwrap(), "census+income+kdd.zip");
    }

    #[test]
    fn wrong_rows_are_named_with_file_line_and_column() {
        let refused = |text: &str| project(text).read(&census(), None).err().unwrap().to_string();
        let at = "data/census/census-income.test";
        assert_eq!(
            refused(&(row(&[]) + &row(&[(INCOME, "maybe")]))),
            format!("{at}:2: column `income`: `maybe` is not a label, which is `- 50000.` or `50000+.`")
        );
        assert_eq!(refused(&row(&[(0, "old")])), format!("{at}:1: column `age`: `old` is not a number"));
        assert_eq!(refused("1, 2, 3\n"), format!("{at}:1: 3 fields where 42 are expected"));
        assert_eq!(refused(""), format!("`{at}` has no rows"));
    }

    #[test]
    fn files_that_are_not_there_are_named_with_where_to_get_them() {
        let project = Project::new();
        let error = census().locate(project.root(), Some(Path::new("there"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Census-Income is not there: no `census-income.data` and `census-income.test` in `there`"
        );
        assert!(error.hint().unwrap().contains("https://archive.ics.uci.edu/dataset/117"));
    }

    #[test]
    fn the_published_test_half_encodes() {
        let Some(folder) = real_rows("census-income.test.gz") else { return };
        let project = Project::new();
        let log = project.read_at(&census(), &folder, None).unwrap();
        assert_eq!(log.rows(), 99_762);
        let count = |task| log.parts.labels.iter().skip(task).step_by(2).filter(|&&label| label == 1).count();
        assert_eq!((count(0), count(1)), (6186, 43_143));

        let (encoded, split) = encoded(log, Valid::FromTest(0.5), Test::Random(0.4));
        assert_eq!([Part::Train, Part::Valid, Part::Test].map(|part| split.count(part)), [59_857, 19_953, 19_952]);
        assert_eq!((encoded.schema.fields.len(), encoded.schema.numerical.len()), (32, 7));
        assert!(encoded.schema.vocabulary() > 400 && encoded.schema.vocabulary() < 600);
        for column in 0..7 {
            let training = split.of(0, 99_762).iter().enumerate().filter(|(_, part)| **part == Part::Train);
            let values = training.map(|(row, _)| f64::from(encoded.rows.numerical()[row * 7 + column]));
            let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
            let rows = split.count(Part::Train) as f64;
            assert!((sum / rows).abs() < 1e-5 && (squares / rows - 1.0).abs() < 1e-4, "column {column}");
        }
    }
}
