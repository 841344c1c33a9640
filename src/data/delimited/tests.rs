//! Reading in blocks against the `csv` crate, which reads record by record.

use proptest::prelude::*;

use super::*;
use crate::data::error::RowProblem;
use crate::data::fixtures::Project;
use crate::data::log::{Categories, dictionary_fields};
use crate::data::source::{FoundFile, Role};

/// What reading gives: the rows' texts, or the message.
type Outcome = Result<Vec<Vec<String>>, String>;

fn note(project: &Project, file: &str) -> SourceFile {
    project.note(vec![FoundFile { role: Role::Train, path: file.into() }]).remove(0)
}

/// The rows of a file of these columns, every field a text, read in blocks of this many bytes.
fn in_blocks(project: &Project, file: &str, columns: usize, size: usize) -> Outcome {
    let found = note(project, file);
    let mut log = RawLog::new(dictionary_fields((0..columns).map(|at| at.to_string())), vec![], vec!["like".into()]);
    let mut rows = 0;
    let mut watch = |advance: Advance| {
        rows = advance.rows;
        Ok(())
    };
    let mut reading = Reading::new(project.root(), None, None, &mut watch);
    reading.block = size;
    let layout = Layout::by_extension(Path::new(file));
    let read = |columns: &usize, row: &Row, piece: &mut Piece| {
        piece.parts.labels.push(0);
        (0..*columns).try_for_each(|at| {
            piece.push_category(at, row.text(at)?);
            Ok(())
        })
    };
    reading
        .file(&found, layout, &mut log, |header| Ok(header.names().len()), read)
        .map_err(|error| error.to_string())?;
    assert_eq!(rows as usize, log.rows());
    for (at, field) in log.fields.iter().enumerate() {
        let Categories::Dictionary(names) = &field.categories else { panic!("texts") };
        let ids: Vec<u32> = log.parts.categorical.iter().skip(at).step_by(columns).copied().collect();
        let mut first: Vec<u32> = Vec::new();
        ids.iter().for_each(|id| {
            if !first.contains(id) {
                first.push(*id)
            }
        });
        assert_eq!(first, (0..names.len() as u32).collect::<Vec<_>>(), "numbered by first appearance");
    }
    let name = |(at, id): (usize, &u32)| match &log.fields[at].categories {
        Categories::Dictionary(names) => names[*id as usize].clone(),
        _ => panic!("texts"),
    };
    Ok(log.parts.categorical.chunks(columns).map(|row| row.iter().enumerate().map(name).collect()).collect())
}

/// The same by the `csv` crate, with the number of columns.
fn by_record(text: &str, file: &str) -> (usize, Outcome) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let columns = reader.byte_headers().unwrap().len();
    let mut rows = Vec::new();
    for record in reader.byte_records() {
        let record = record.unwrap();
        if record.len() != columns {
            let start = record.position().unwrap().byte() as usize;
            let blank = text[start..].len() - text[start..].trim_start_matches(['\n', '\r']).len();
            let line = 1 + text[..start + blank].matches('\n').count();
            let problem = RowProblem::FieldCount { expected: columns, found: record.len() };
            return (columns, Err(format!("{file}:{line}: {problem}")));
        }
        rows.push(record.iter().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect());
    }
    (columns, if rows.is_empty() { Err(format!("`{file}` has no rows")) } else { Ok(rows) })
}

fn check(text: &str) {
    let (columns, expected) = by_record(text, "rows.csv");
    let project = Project::new();
    project.write("rows.csv", text);
    for size in [1, 5, 64, BLOCK] {
        assert_eq!(in_blocks(&project, "rows.csv", columns, size), expected, "{text:?} in blocks of {size}");
    }
    project.pack("rows.csv");
    let (_, expected) = by_record(text, "rows.csv.gz");
    assert_eq!(in_blocks(&project, "rows.csv.gz", columns, 64), expected, "{text:?}, packed");
}

#[test]
fn blocks_give_what_records_give() {
    check("a,b\n1,2\n\n\n3,4\n");
    check("a,b\r\n1,2\r\n\r\n3,4\r\n5,6");
    check("a,b\r1,2\r3,4\r");
    check("\u{feff}a,b\n\u{feff}1,2\n3,\u{feff}4\n");
    check("\n\n a , b \n 1 ,\t2 \n");
    check("a,b\n1,\n,2\n,\n");
    check("a\n1\n\"\"\n2\n");
    check("");
    check("\n\r\n");
    check("a,b");
}

#[test]
fn quotes_hold_delimiters_line_ends_and_quotes() {
    check("a,\"b,\nb\"\n\"1\n1\",2\n\"3,\"\"3\"\"\",4\n\" 5 \" ,6\n7\"7,\"8\"8\n");
    check("a,b\n1,\"2\r\n2\"\n3,\"4\n5,6\n");
    check(&format!("a,b\n{}", "x,\"y\ny\"\n1,2\n".repeat(100)));
    check(&format!("a,b\n{}\"{}\",2\n3,4\n", "1,2\n".repeat(50), "long\n".repeat(100)));
}

#[test]
fn the_first_wrong_row_is_the_one_named() {
    let wrong = format!("a,b\n{}\"\n\",1\n\n5\n{}6\n", "1,2\n".repeat(200), "3,4\n".repeat(200));
    check(&wrong);
    check(&wrong.replace('\n', "\r\n"));
}

#[test]
fn a_second_file_goes_on_where_the_first_ends() {
    let project = Project::new();
    project.write("one.csv", "a\nx\ny\n");
    project.write("two.csv", "a\nz\ny\nx\n");
    let mut log = RawLog::new(dictionary_fields(["a"]), vec![], vec!["like".into()]);
    let mut heard = Vec::new();
    let mut watch = |advance| {
        heard.push(advance);
        Ok(())
    };
    let mut reading = Reading::new(project.root(), None, None, &mut watch);
    for file in ["one.csv", "two.csv"] {
        let file = note(&project, file);
        let read = |(): &(), row: &Row, piece: &mut Piece| {
            piece.push_category(0, row.text(0)?);
            piece.push_group_name(row.text(0)?);
            Ok(())
        };
        reading.file(&file, Layout::by_extension(&file.path), &mut log, |_| Ok(()), read).unwrap();
    }
    assert_eq!(log.parts.categorical, [0, 1, 2, 1, 0]);
    assert_eq!(log.parts.group, Some(vec![0, 1, 2, 1, 0]));
    assert_eq!(heard, [Advance { bytes: 6, rows: 2 }, Advance { bytes: 14, rows: 5 }]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_text_reads_the_same(header in "[a,]{1,3}\n", rows in "[ab ,,\"\n\n\r]{0,300}") {
        check(&(header + &rows));
    }
}
