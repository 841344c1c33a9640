//! The log as it is published: for each country an archive of four archives, one for each of users and items, training and
//! test. Users and items are joined on the search.

use std::path::Path;

use super::{Country, TASKS, categorical_names, numerical_names};
use crate::data::delimited::{Layout, Reading, Row, members};
use crate::data::error::{RowProblem, quoted};
use crate::data::log::{Piece, RawField, RawLog, dictionary_fields};
use crate::data::{DataError, FoundFile, Role, SourceFile};

/// The label's column, from 0: 0 shown, 1 clicked, 2 bought.
const LABEL: usize = 48;
/// Logs that are in memory together: users, items and what they are joined to.
const LOGS: usize = 3;

/// One side of the join. Columns count from 0, where the published description counts from 1; the first is the search.
struct Side {
    /// What the columns are called in complaints.
    names: Vec<String>,
    categorical: Vec<usize>,
    numerical: Vec<usize>,
}

impl Side {
    fn users() -> Self {
        Self::new("user", 33, (1..8).chain([31, 32]).collect(), (8..31).collect())
    }

    fn items() -> Self {
        let categorical = vec![18, 33, 34, 35, 39, 40, 41];
        let numerical = (1..LABEL).filter(|at| !categorical.contains(at)).collect();
        Self::new("item", LABEL + 1, categorical, numerical)
    }

    fn new(name: &str, columns: usize, categorical: Vec<usize>, numerical: Vec<usize>) -> Self {
        let names = (1..=columns).map(|number| format!("{name}_{number}")).collect();
        Self { names, categorical, numerical }
    }

    /// Adds the search and the features of a row.
    fn push(&self, row: &Row, piece: &mut Piece) -> Result<(), DataError> {
        piece.push_group(row.integer(0)?);
        for (field, &at) in self.categorical.iter().enumerate() {
            piece.push_category(field, row.text(at)?);
        }
        row.numbers(&self.numerical, &mut piece.parts.numerical)
    }
}

/// Click and conversion.
fn labels(row: &Row) -> Result<[u8; 2], DataError> {
    match row.text(LABEL)? {
        "0" | "0.0" => Ok([0, 0]),
        "1" | "1.0" => Ok([1, 0]),
        "2" | "2.0" => Ok([1, 1]),
        other => Err(row.wrong(Some(LABEL), RowProblem::NotAStep(quoted(other.as_bytes())))),
    }
}

/// User rows that are joined between two looks at the interrupt flag.
const WATCHED: usize = 1 << 14;

/// The four files, in the order in which they are read.
const PARTS: [(Role, &str); 4] = [
    (Role::UserTrain, "user_train"),
    (Role::ItemTrain, "item_train"),
    (Role::UserTest, "user_test"),
    (Role::ItemTest, "item_test"),
];

/// The name of the archive as it is published.
pub(super) fn archive_name(country: Country) -> String {
    format!("aliexpress_{}_datasets.zip", country.code())
}

/// What there is of the published form.
pub(super) enum Found {
    All(Vec<FoundFile>),
    Some { found: Vec<String>, missing: Vec<String> },
    Nothing,
}

/// Looks for the archive, and then for what is in it. Capital and small letters are the same.
pub(super) fn look(root: &Path, folder: &Path, country: Country) -> Found {
    let there: Vec<String> = std::fs::read_dir(root.join(folder)).map_or_else(
        |_| Vec::new(),
        |entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
    );
    let find = |wanted: &str| there.iter().find(|name| name.eq_ignore_ascii_case(wanted));
    if let Some(name) = find(&archive_name(country)) {
        return Found::All(vec![FoundFile { role: Role::Archive, path: folder.join(name) }]);
    }
    let (mut files, mut found, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for (role, part) in PARTS {
        let name = format!("{}_{part}", country.code().to_lowercase());
        match ["csv", "csv.gz", "zip"].iter().find_map(|end| find(&format!("{name}.{end}"))) {
            Some(name) => {
                found.push(name.clone());
                files.push(FoundFile { role, path: folder.join(name) });
            }
            None => missing.push(format!("{name}.zip")),
        }
    }
    match (missing.is_empty(), found.is_empty()) {
        (true, _) => Found::All(files),
        (false, true) => Found::Nothing,
        (false, false) => Found::Some { found, missing },
    }
}

/// Where one of the four files lies.
enum Place<'a> {
    File(&'a SourceFile),
    /// In an archive, by the names that lead to it.
    Member(&'a Path, Vec<String>),
}

impl Place<'_> {
    fn of<'a>(
        role: Role,
        part: &str,
        country: Country,
        files: &'a [SourceFile],
        reading: &Reading,
    ) -> Result<Place<'a>, DataError> {
        let scratch = reading.scratch();
        let list = |archive: &Path, within: Option<&str>| {
            members(&reading.root.join(archive), within, &scratch).map_err(DataError::read(archive))
        };
        // besides what the maker's system left in the archive
        let text = |names: Vec<String>, archive: &Path| {
            let mut texts = names.into_iter().filter(|name| name.to_ascii_lowercase().ends_with(".csv"));
            match (texts.next(), texts.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(DataError::request(
                    format!("`{}` does not hold exactly one `.csv` file", archive.display()),
                    "take the archive as it is published",
                )),
            }
        };
        if let Some(file) = files.iter().find(|file| file.role == role) {
            if file.path.extension().is_none_or(|end| !end.eq_ignore_ascii_case("zip")) {
                return Ok(Place::File(file));
            }
            return Ok(Place::Member(&file.path, vec![text(list(&file.path, None)?, &file.path)?]));
        }
        let Some(outer) = files.iter().find(|file| file.role == Role::Archive) else {
            return Err(DataError::request(format!("there is no {part} file"), "run the Download stage again"));
        };
        let wanted = format!("{}_{part}.", country.code().to_lowercase());
        let names = list(&outer.path, None)?;
        let base = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let inner = names.iter().find(|name| base(name).starts_with(&wanted)).ok_or_else(|| {
            DataError::request(
                format!("`{}` holds no `{wanted}zip`, but {}", outer.path.display(), names.join(", ")),
                "take the archive of this country as it is published",
            )
        })?;
        if base(inner).ends_with(".csv") {
            return Ok(Place::Member(&outer.path, vec![inner.clone()]));
        }
        let shown = outer.path.join(inner);
        Ok(Place::Member(&outer.path, vec![inner.clone(), text(list(&outer.path, Some(inner))?, &shown)?]))
    }

    fn read(
        &self,
        reading: &mut Reading,
        layout: Layout,
        log: &mut RawLog,
        row: impl Fn(&Row, &mut Piece) -> Result<(), DataError> + Sync,
    ) -> Result<(), DataError> {
        let row = |(): &(), on: &Row, piece: &mut Piece| row(on, piece);
        match self {
            Self::File(file) => reading.file(file, layout, log, |_| Ok(()), row),
            Self::Member(archive, names) => reading.member(archive, names, layout, log, |_| Ok(()), row),
        }
    }
}

/// Reads the four files and joins users with items: for every user row, in the order of its file, every item row of the same
/// search, in the order of theirs, as an inner join in pandas does. Searches without a partner are left out.
pub(super) fn read(country: Country, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
    read_parts(country, files, &PARTS, reading)
}

/// The same of the test rows alone.
pub(super) fn read_test(country: Country, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
    read_parts(country, files, &PARTS[2..], reading)
}

fn read_parts(
    country: Country,
    files: &[SourceFile],
    parts: &[(Role, &str)],
    reading: &mut Reading,
) -> Result<RawLog, DataError> {
    // archives are read in parts, so their digests are taken before
    let is_archive = |file: &&SourceFile| file.path.extension().is_some_and(|end| end.eq_ignore_ascii_case("zip"));
    files.iter().filter(is_archive).try_for_each(|file| reading.verify(file))?;

    let sides = [Side::users(), Side::items()];
    let (fields, numbers) = (categorical_names(), numerical_names());
    let (of_users, of_items) = fields.split_at(sides[0].categorical.len());
    let (numbers_of_users, numbers_of_items) = numbers.split_at(sides[0].numerical.len());
    let tasks = TASKS.map(str::to_owned).to_vec();
    let mut logs = [
        // a user row is no sample yet: its label only counts it
        RawLog::new(dictionary_fields(of_users), numbers_of_users.to_vec(), vec!["user".to_owned()]),
        RawLog::new(dictionary_fields(of_items), numbers_of_items.to_vec(), tasks),
    ];
    logs.iter_mut().for_each(|log| reading.share(log, LOGS));
    // where the test rows start
    let mut boundaries = [0; 2];
    for &(role, part) in parts {
        let place = Place::of(role, part, country, files, reading)?;
        let has_labels = matches!(role, Role::ItemTrain | Role::ItemTest);
        let at = usize::from(has_labels);
        let (side, log) = (&sides[at], &mut logs[at]);
        if matches!(role, Role::UserTest | Role::ItemTest) {
            // none, if no training rows are read
            boundaries[at] = log.rows();
        }
        let names: Vec<&str> = side.names.iter().map(String::as_str).collect();
        let layout = Layout { delimiter: b',', names: Some(&names), quotes: true };
        place.read(reading, layout, log, |row, piece| {
            side.push(row, piece)?;
            match has_labels {
                true => piece.parts.labels.extend(labels(row)?),
                false => piece.parts.labels.push(0),
            }
            Ok(())
        })?;
    }
    let widths = sides.map(|side| (side.categorical.len(), side.numerical.len()));
    join(logs, widths, boundaries, reading)
}

/// Joins users and items, training rows with training rows and test rows with test rows; `widths` are how many categories and
/// numbers each has, `boundaries` where its test rows start.
fn join(
    mut logs: [RawLog; 2],
    widths: [(usize, usize); 2],
    boundaries: [usize; 2],
    reading: &mut Reading,
) -> Result<RawLog, DataError> {
    let fields: Vec<RawField> = logs.iter_mut().flat_map(|log| std::mem::take(&mut log.fields)).collect();
    let mut log = RawLog::new(fields, numerical_names(), TASKS.map(str::to_owned).to_vec());
    reading.share(&mut log, LOGS);
    let [users, items] = logs;
    let (users, items) = (users.into_table()?, items.into_table()?);
    let [users, items] = [users.view(), items.view()];
    let (searches, keys) = (users.group.unwrap_or_default(), items.group.unwrap_or_default());
    let too_many = |_| DataError::request("there are more than 2^32 item rows", "split the log into several");
    let parts = [(0..boundaries[0], 0..boundaries[1]), (boundaries[0]..users.rows, boundaries[1]..items.rows)];
    let mut test_rows = 0;
    for (part, (of_users, of_items)) in parts.into_iter().enumerate() {
        let first = of_items.start;
        let keys = &keys[of_items];
        let mut order: Vec<u32> = (0..u32::try_from(keys.len()).map_err(too_many)?).collect();
        // in the order of the file within a search
        order.sort_by_key(|row| keys[*row as usize]);
        for user in of_users {
            let search = searches[user];
            let start = order.partition_point(|row| keys[*row as usize] < search);
            let partners = order[start..].iter().take_while(|row| keys[**row as usize] == search);
            for item in partners.map(|row| first + *row as usize) {
                for ((side, row), (categorical, numerical)) in [(&users, user), (&items, item)].into_iter().zip(widths)
                {
                    log.parts.categorical.extend_from_slice(&side.categorical[row * categorical..][..categorical]);
                    log.parts.numerical.extend_from_slice(&side.numerical[row * numerical..][..numerical]);
                }
                log.parts.labels.extend_from_slice(&items.labels[item * TASKS.len()..][..TASKS.len()]);
                log.parts.group.get_or_insert_default().push(search);
                test_rows += part;
            }
            log.make_room()?;
            if user % WATCHED == 0 {
                (reading.watch)(reading.done)?;
            }
        }
    }
    log.test_rows = Some(test_rows);
    Ok(log)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use proptest::prelude::*;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::super::{CATEGORICAL, NUMERICAL};
    use super::*;
    use crate::data::fixtures::Project;
    use crate::data::{AliExpress, Categories, Dataset};

    /// Rows of both sides: the search, and a number that tells rows apart; items with their label too.
    type Users = Vec<(i64, u32)>;
    type Items = Vec<(i64, u32, u8)>;
    /// A joined row: categories, numbers, labels, the search.
    type Joined = (Vec<u32>, Vec<f32>, [u8; 2], i64);

    fn user_text(users: &Users) -> String {
        let line = |&(search, row): &(i64, u32)| {
            let fields = (1..Side::users().names.len()).map(|at| format!(",{}", row * 100 + at as u32));
            format!("{search}{}\n", fields.collect::<String>())
        };
        users.iter().map(line).collect()
    }

    fn item_text(items: &Items) -> String {
        let line = |&(search, row, label): &(i64, u32, u8)| {
            let fields = (1..LABEL).map(|at| format!(",{}", row * 100 + at as u32));
            format!("{search}{},{label}\n", fields.collect::<String>())
        };
        items.iter().map(line).collect()
    }

    /// What an inner join gives, by the definition: numbers of the joined rows' columns, labels, searches.
    fn joined(users: &Users, items: &Items) -> Vec<Joined> {
        let mut rows = Vec::new();
        for &(search, user) in users {
            for &(_, item, label) in items.iter().filter(|(other, ..)| *other == search) {
                let of = |row: u32, columns: Vec<usize>| columns.into_iter().map(move |at| row * 100 + at as u32);
                let categories =
                    of(user, Side::users().categorical).chain(of(item, Side::items().categorical)).collect();
                let numbers = of(user, Side::users().numerical)
                    .chain(of(item, Side::items().numerical))
                    .map(|n| n as f32)
                    .collect();
                rows.push((categories, numbers, [[0, 0], [1, 0], [1, 1]][usize::from(label)], search));
            }
        }
        rows
    }

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    const FORMS: [&str; 4] = ["csv", "csv.gz", "zip", "archive"];

    /// Writes the four files in one of the forms they come in.
    fn write(project: &Project, form: &str, texts: [String; 4]) {
        let folder = "data/aliexpress/NL";
        let mut archives = Vec::new();
        for ((_, part), text) in PARTS.into_iter().zip(texts) {
            let name = format!("nl_{part}");
            match form {
                "csv" => project.write(&format!("{folder}/{name}.csv"), &text),
                "csv.gz" => {
                    project.write(&format!("{folder}/{name}.csv"), &text);
                    project.pack(&format!("{folder}/{name}.csv"));
                }
                _ => archives.push((format!("{name}.zip"), zipped(&[(&format!("{name}.csv"), text.as_bytes())]))),
            }
        }
        match form {
            "zip" => archives.iter().for_each(|(name, bytes)| project.write_bytes(&format!("{folder}/{name}"), bytes)),
            "archive" => {
                let inner: Vec<(&str, &[u8])> =
                    archives.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
                project.write_bytes(&format!("{folder}/AliExpress_NL_datasets.zip"), &zipped(&inner));
            }
            _ => {}
        }
    }

    fn dutch() -> Dataset {
        AliExpress { country: Country::NL }.into()
    }

    /// Reads with so many bytes of memory for rows.
    fn read(project: &Project, bytes: usize) -> RawLog {
        let files = project.examine(&dutch());
        let scratch = project.root().join("scratch");
        fs::create_dir_all(&scratch).unwrap();
        let mut watch = |_| Ok(());
        let log =
            dutch().read(&files, &mut Reading::new(project.root(), None, Some((scratch.clone(), bytes)), &mut watch));
        assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "nothing is left");
        log.unwrap()
    }

    fn check(log: &RawLog, expected: &[Joined]) {
        let mut found = Vec::new();
        log.chunks(|chunk| {
            for row in 0..chunk.rows {
                let category = |(field, place): (usize, &u32)| match &log.fields[field].categories {
                    Categories::Dictionary(names) => names[*place as usize].parse::<u32>().unwrap(),
                    Categories::Dense => unreachable!(),
                };
                let categories = chunk.categorical[row * CATEGORICAL..][..CATEGORICAL].iter().enumerate().map(category);
                let numbers = chunk.numerical[row * NUMERICAL..][..NUMERICAL].to_vec();
                let labels = [chunk.labels[2 * row], chunk.labels[2 * row + 1]];
                found.push((categories.collect(), numbers, labels, chunk.group.unwrap()[row]));
            }
            Ok(())
        })
        .unwrap();
        assert!(found == expected, "{} rows where {} are expected", found.len(), expected.len());
    }

    /// Searches out of order, some twice, some without a partner on either side.
    fn sides() -> (Users, Items, Users, Items) {
        let users = vec![(5, 1), (9, 2), (5, 3), (7, 4), (-2, 5)];
        let items = vec![(9, 6, 0), (5, 7, 1), (4, 8, 2), (5, 9, 0), (-2, 10, 2), (9, 11, 1)];
        (users, items, vec![(5, 12), (1, 13)], vec![(1, 14, 0), (5, 15, 2), (3, 16, 0), (1, 17, 1)])
    }

    #[test]
    fn every_published_form_is_joined_row_for_row() {
        let (users, items, test_users, test_items) = sides();
        let expected = [joined(&users, &items), joined(&test_users, &test_items)].concat();
        for form in FORMS {
            let project = Project::new();
            let texts = [user_text(&users), item_text(&items), user_text(&test_users), item_text(&test_items)];
            write(&project, form, texts);
            for bytes in [1, 2000, 1 << 20] {
                let log = read(&project, bytes);
                assert_eq!((log.rows(), log.test_rows), (10, Some(3)), "{form}");
                check(&log, &expected);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn any_two_sides_are_joined_by_the_definition(
            users in prop::collection::vec((0i64..6, 0u32..99), 1..12),
            items in prop::collection::vec((0i64..6, 0u32..99, 0u8..3), 1..20),
        ) {
            let project = Project::new();
            let (other_users, other_items) = (vec![(1, 1)], vec![(1, 2, 0)]);
            let texts = [user_text(&users), item_text(&items), user_text(&other_users), item_text(&other_items)];
            write(&project, "csv", texts);
            check(&read(&project, 700), &[joined(&users, &items), joined(&other_users, &other_items)].concat());
        }
    }

    #[test]
    fn what_is_wrong_is_named_down_to_the_member() {
        let refused = |form: &str, edit: &dyn Fn(&mut [String; 4])| {
            let (users, items, test_users, test_items) = sides();
            let mut texts = [user_text(&users), item_text(&items), user_text(&test_users), item_text(&test_items)];
            edit(&mut texts);
            let project = Project::new();
            write(&project, form, texts);
            project.read(&dutch(), None).err().unwrap().to_string()
        };
        let message = refused("archive", &|texts| texts[1] = texts[1].replacen(",2\n", ",3\n", 1));
        assert_eq!(
            message,
            "data/aliexpress/NL/AliExpress_NL_datasets.zip/nl_item_train.zip/nl_item_train.csv:3: column `item_49`: \
             `3` is not a label, which is 0 (shown), 1 (clicked) or 2 (bought)"
        );
        let message = refused("zip", &|texts| texts[2].push_str("1,2,3\n"));
        assert_eq!(message, "data/aliexpress/NL/nl_user_test.zip/nl_user_test.csv:3: 3 fields where 33 are expected");
        let message = refused("csv", &|texts| texts[0] = texts[0].replacen("9,", "nine,", 1));
        assert!(message.starts_with("data/aliexpress/NL/nl_user_train.csv:"), "{message}");
    }

    #[test]
    fn a_part_is_no_log() {
        let project = Project::new();
        project.write("data/aliexpress/NL/NL_user_train.csv", "1\n");
        let error = dutch().locate(project.root(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "AliExpress NL is incomplete: `NL_user_train.csv` is in `data/aliexpress/NL`, `nl_item_train.zip`, \
             `nl_user_test.zip` and `nl_item_test.zip` is not"
        );
        project.write_bytes("data/aliexpress/NL/aliexpress_nl_datasets.zip", &zipped(&[("es_user_train.zip", b"")]));
        let error = project.read(&dutch(), None).err().unwrap();
        assert!(error.to_string().contains("holds no `nl_user_train.zip`, but es_user_train.zip"), "{error}");
    }
}
