//! What a user's own log may look like, and what is wrong with others.

use super::*;
use crate::data::Dataset;
use crate::data::FieldEncoding;
use crate::data::fixtures::{Project, encode};
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
    assert_eq!(refused(with_test, Some("logs")), "the log is incomplete: `rows.csv` is in `logs`, `other.csv` is not");
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
    let log = read(timed(), "rows.csv", b"at,like,price,colour,shop\n2,1,2,x,s\n1e1,0,2,x,s\n-3,1,2,x,s\n").unwrap();
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

fn rows(csv: Csv, text: &str) -> Result<RawLog, DataError> {
    read(csv, "rows.csv", format!("user,like,price,colour,shop\n{text}").as_bytes())
}

#[test]
fn hashed_columns_keep_no_dictionary() {
    let hashed = BTreeMap::from([("colour".to_owned(), 1000)]);
    let log = rows(Csv { hashed, ..csv() }, "a,1,2,red,x\na,1,2,blue,y\na,1,2,red,x\n").unwrap();
    let [red, blue] = ["red", "blue"].map(|text| bucket(text, 1000));
    assert_eq!(log.parts.categorical, [red, 0, blue, 1, red, 0]);
    assert!(matches!(log.fields[0].categories, Categories::Dense));
    let encoded = encode(log, &[0]);
    assert_eq!(encoded.encoding.fields[0], FieldEncoding::Hashed { buckets: 1000 });
    assert_eq!((encoded.schema.fields[0].size, encoded.schema.fields[0].out_of_vocabulary), (1000, None));
    // no training row has blue and y: the one is hashed, the other out of vocabulary
    assert_eq!(encoded.rows.categorical(), [red, 0, blue, 1, red, 0]);
}

#[test]
fn logarithms_of_negative_numbers_are_refused() {
    let transforms = BTreeMap::from([("price".to_owned(), Transform::Log1p)]);
    let logs = || Csv { transforms: transforms.clone(), ..csv() };
    let encoded = encode(rows(logs(), "a,1,0,red,x\na,1,1.7182818,red,x\n").unwrap(), &[0, 1]);
    let logarithms = encoded.rows.numerical();
    assert!(logarithms[0] == 0.0 && (logarithms[1] - 1.0).abs() < 1e-6, "{logarithms:?}");
    let error = rows(logs(), "a,1,0,red,x\na,1,-0.5,red,x\n").err().unwrap();
    assert_eq!(error.to_string(), "rows.csv:3: column `price`: `-0.5` is negative, and ln(1 + x) is to be taken of it");
}

#[test]
fn transforms_and_hashes_of_other_columns_are_refused() {
    let refused = |csv: Csv| Dataset::from(csv).locate(Path::new("."), None).unwrap_err().to_string();
    let transforms = BTreeMap::from([("prize".to_owned(), Transform::Log1p)]);
    assert_eq!(
        refused(Csv { transforms, ..csv() }),
        "`transforms` of `Csv(..)` names `prize`, which `numerical` does not"
    );
    let hashed = |column: &str, buckets| BTreeMap::from([(column.to_owned(), buckets)]);
    assert_eq!(
        refused(Csv { hashed: hashed("price", 9), ..csv() }),
        "`hashed` of `Csv(..)` names `price`, which `categorical` does not"
    );
    assert_eq!(refused(Csv { hashed: hashed("shop", 0), ..csv() }), "`shop` cannot be hashed to 0 ids");
}

/// What a tolerated log holds, with its complaints.
fn tolerated(most: usize, text: &str) -> Result<(RawLog, Vec<String>), DataError> {
    let project = Project::new();
    project.write("rows.csv", &format!("user,like,price,colour,shop\n{text}"));
    let dataset = Dataset::from(csv());
    let files = project.examine(&dataset);
    let mut watch = |_| Ok(());
    let mut reading = Reading::new(project.root(), None, None, &mut watch);
    reading.bad.tolerated = most;
    let log = dataset.read(&files, &mut reading)?;
    Ok((log, reading.bad.warnings()))
}

#[test]
fn wrong_rows_are_left_out_up_to_a_number() {
    let wrong = [
        "a,1,2,red",            // too few fields
        "a,yes,2,red,x",        // no label, after everything else was read
        "a,1,two,violet,x",     // no number, after the categories were read
        "b,1,2,red,x,1",        // too many fields
        "\"a\nb\",1,,red,x",    // no number, on two lines
        "a,1,2,red,x,,,,,,,,,", // too many fields
    ];
    let right: Vec<String> = (0..9).map(|at| format!("u{at},{},{at},c{},s{}", at % 2, at % 3, at % 4)).collect();
    let mut mixed: Vec<&str> = Vec::new();
    for (at, row) in right.iter().enumerate() {
        mixed.extend(wrong.get(at));
        mixed.push(row);
    }
    let text = mixed.join("\n");
    let expected = rows(csv(), &right.join("\n")).unwrap();
    for most in [6, 7, 1000] {
        let (found, warnings) = tolerated(most, &text).unwrap();
        let texts = |log: &RawLog| -> Vec<String> {
            let rows = log.parts.categorical.chunks(2);
            let name = |field: usize, id: u32| match &log.fields[field].categories {
                Categories::Dictionary(names) => names[id as usize].clone(),
                Categories::Dense => panic!("texts"),
            };
            rows.map(|row| format!("{},{}", name(0, row[0]), name(1, row[1]))).collect()
        };
        assert_eq!(texts(&found), texts(&expected));
        assert_eq!(found.parts.numerical, expected.parts.numerical);
        assert_eq!(found.parts.labels, expected.parts.labels);
        assert_eq!(found.parts.group, expected.parts.group);
        assert_eq!(
            warnings,
            [
                "left out: rows.csv:2: 4 fields where 5 are expected",
                "left out: rows.csv:4: column `like`: `yes` is not a label, which is 0 or 1",
                "left out: rows.csv:6: column `price`: `two` is not a number",
                "left out: rows.csv:8: 6 fields where 5 are expected",
                "left out: rows.csv:10: column `price`: no number",
                "6 wrong rows are left out, 1 more than are shown here",
            ]
        );
    }
    let refused = |most| {
        let error = tolerated(most, &text).err().unwrap();
        (error.to_string(), error.hint().unwrap())
    };
    assert_eq!(refused(0).0, "rows.csv:2: 4 fields where 5 are expected");
    let (message, hint) = refused(1);
    assert_eq!(
        message,
        "rows.csv:4: column `like`: `yes` is not a label, which is 0 or 1 (`max_bad_rows` tolerates 1 wrong rows, and \
         this is one more)"
    );
    assert!(hint.starts_with("correct the file"));
    assert!(refused(5).0.starts_with("rows.csv:13: 14 fields where 5 are expected ("), "{:?}", refused(5));
}

#[test]
fn wrong_rows_are_counted_across_blocks() {
    // every tenth row is wrong, over several blocks
    let text: String = (0..50_000).map(|at| format!("u,{},{at},c,s\n", if at % 10 == 3 { 7 } else { 1 })).collect();
    let (log, warnings) = tolerated(5000, &text).unwrap();
    assert_eq!(log.rows(), 45_000);
    let right = (0..50_000).filter(|at| at % 10 != 3).map(|at| at as f32);
    assert!(log.parts.numerical.iter().copied().eq(right));
    assert_eq!(warnings[0], "left out: rows.csv:5: column `like`: `7` is not a label, which is 0 or 1");
    assert_eq!(warnings[5], "5000 wrong rows are left out, 4995 more than are shown here");
    let error = tolerated(4999, &text).err().unwrap().to_string();
    assert!(error.starts_with("rows.csv:49995: "), "{error}");
}

#[test]
fn a_log_of_wrong_rows_alone_is_refused() {
    let error = tolerated(9, "a,2,2,red,x\n").err().unwrap().to_string();
    assert_eq!(
        error,
        "all 1 rows of `rows.csv` are wrong; rows.csv:2: column `like`: `2` is not a label, which is 0 or 1"
    );
}

#[test]
fn rows_of_another_length_and_quotes_across_lines_are_named() {
    let refused = |text: &str| rows(csv(), text).err().unwrap().to_string();
    assert_eq!(refused("a,1,2,x,s\n\na,1,2,x\n"), "rows.csv:4: 4 fields where 5 are expected");
    assert_eq!(refused("a,1,2,x,s,\n"), "rows.csv:2: 6 fields where 5 are expected");
    // the quote that opens is never closed, so that all that follows is one field
    let open = format!("a,1,2,\"x,s\n{}", "a,1,2,x,s\n".repeat(10));
    assert_eq!(refused(&open), "rows.csv:2: 4 fields where 5 are expected");
    // and a text over three lines is a category like any other
    let log = rows(csv(), "a,1,2,\"x\n\ny\",s\na,0,3,x,s\n").unwrap();
    let Categories::Dictionary(names) = &log.fields[0].categories else { panic!("texts") };
    assert_eq!(names.get_index(0).unwrap(), "x\n\ny");
    assert_eq!(log.rows(), 2);
}

#[test]
fn files_without_rows_are_refused() {
    for text in ["", "\n\n", "user,like,price,colour,shop", "user,like,price,colour,shop\n\n"] {
        let error = read(csv(), "rows.csv", text.as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), "`rows.csv` has no rows", "{text:?}");
        assert!(error.hint().unwrap().contains("cut short"));
    }
}

#[test]
fn latin_1_is_no_utf_8() {
    let error = read(csv(), "rows.csv", b"user,like,price,colour,shop\na,1,2,caf\xe9,s\n").err().unwrap();
    assert!(error.to_string().starts_with("rows.csv:2: column `colour`: `caf"), "{error}");
    assert_eq!(error.hint().unwrap(), "save the file as UTF-8");
    let named = Csv { categorical: vec!["café".into(), "shop".into()], ..csv() };
    let error = read(named, "rows.csv", b"user,like,price,caf\xe9,shop\na,1,2,x,s\n").err().unwrap();
    assert_eq!(error.to_string(), "rows.csv:1: column `café` is missing");
    assert_eq!(error.hint().unwrap(), "the first line is not UTF-8 text: save the file as UTF-8");
}

#[test]
fn a_packed_file_that_breaks_off_is_refused() {
    let project = Project::new();
    let text: String = (0..20_000).map(|at| format!("u{at},1,{at},c{},s\n", at * 7919 % 1000)).collect();
    project.write("rows.csv", &format!("user,like,price,colour,shop\n{text}"));
    project.pack("rows.csv");
    let packed = std::fs::read(project.root().join("rows.csv.gz")).unwrap();
    let dataset = Dataset::from(csv());
    assert_eq!(project.read(&dataset, None).unwrap().rows(), 20_000);
    for length in [30, packed.len() / 2, packed.len() - 1] {
        project.write_bytes("rows.csv.gz", &packed[..length]);
        let error = project.read(&dataset, None).err().unwrap();
        assert_eq!(error.to_string(), "cannot read `rows.csv.gz`", "{length}");
        assert!(error.hint().is_none());
    }
}

#[test]
fn numbers_beyond_an_id_are_categories() {
    let log = rows(csv(), "4294967296,1,2,99999999999999999999,s\n18446744073709551616,1,2,-1,s\n").unwrap();
    assert_eq!(log.parts.categorical, [0, 0, 1, 0]);
    assert_eq!(log.parts.group, Some(vec![0, 1]));
}

#[test]
fn ten_thousand_columns_are_read_quickly() {
    let names = |kind: &str| (0..5000).map(|at| format!("{kind}{at}")).collect::<Vec<_>>();
    let (categorical, numerical) = (names("c"), names("n"));
    let mut text = format!("{},{},like\n", numerical.join(","), categorical.join(","));
    for row in 0..20 {
        (0..10_000).for_each(|at| text.push_str(&format!("{},", at + row)));
        text.push_str("1\n");
    }
    let wide = Csv { categorical, numerical, group: None, ..csv() };
    let start = std::time::Instant::now();
    let log = read(wide, "rows.csv", text.as_bytes()).unwrap();
    let encoded = encode(log, &[0, 1, 2]);
    // far more than it takes, and far less than anything quadratic in the columns would
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((encoded.schema.fields.len(), encoded.schema.numerical.len()), (5000, 5000));
    assert_eq!(encoded.rows.numerical()[5000 * 19 + 4999], 5018.0);
}
