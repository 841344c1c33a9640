//! The first rows of a file, looked at once.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use super::column::{Column, Part, Seen, names_a_group, words};
use crate::data::{DataError, Header, Layout, Row, each_row};
use crate::spec::did_you_mean;

/// Rows looked at, at most.
const ROWS: usize = 100_000;
/// Cells looked at, at most: their values are kept to be counted.
const CELLS: usize = 10_000_000;
/// So many columns of zeros and ones are taken for labels without a look at their names.
const LABELS: usize = 3;

/// What was seen of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The columns in their order.
    pub columns: Vec<Column>,
    /// Rows looked at.
    pub rows: usize,
    /// Whether these are all.
    pub all: bool,
    /// Whether the labels were named by the caller.
    pub labels_given: bool,
    /// What stands between two fields, where the file's name suggests something else.
    pub delimiter: Option<char>,
    /// Whether there are two labels, and the second is 1 only where the first is, if not in all of these rows.
    pub second_needs_first: bool,
}

impl Look {
    /// Names of the columns that play a part.
    pub fn names(&self, part: Part) -> Vec<&str> {
        self.columns.iter().filter(|column| column.part == part).map(|column| column.name.as_str()).collect()
    }

    /// A feature that looks like the group of its rows, going by the name.
    pub fn group(&self) -> Option<&str> {
        let feature = |column: &&Column| matches!(column.part, Part::Categorical | Part::Numerical);
        self.columns.iter().filter(feature).map(|column| column.name.as_str()).find(|name| names_a_group(name))
    }
}

struct Rows {
    names: Vec<String>,
    seen: Vec<Seen>,
    most: usize,
    rows: usize,
}

/// Looks at the first rows of a file with a header line; `labels` are the columns that are labels, to be found out if there
/// is none.
///
/// # Errors
/// When the file cannot be read, has no header or a single column, or no column can be a label.
pub fn look(path: &Path, labels: &[String]) -> Result<Look, DataError> {
    let layout = Layout::sniffed(path);
    let suggested = Layout::by_extension(path).delimiter;
    let (found, end) = each_row(
        Path::new(""),
        path,
        layout,
        None,
        |header| {
            check_header(header)?;
            let names = header.names().to_vec();
            let seen = names.iter().map(|_| Seen::default()).collect();
            let most = ROWS.min(CELLS / names.len()).max(1000);
            Ok(Rows { names, seen, most, rows: 0 })
        },
        |found: &mut Rows, row: &Row| {
            if found.rows < found.most {
                found.rows += 1;
                for (at, seen) in found.seen.iter_mut().enumerate() {
                    seen.note(row.text(at)?);
                }
            }
            Ok(())
        },
        |found, _| {
            let enough = found.rows >= found.most;
            Ok::<_, DataError>(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        },
    )?;
    let Rows { names, seen, rows, .. } = found;
    let unusable: Vec<Option<&str>> = (0..names.len()).map(|at| unusable(&names, at)).collect();
    let mut columns: Vec<Column> = names.iter().zip(&seen).map(|(name, seen)| seen.column(name)).collect();
    for (column, why) in columns.iter_mut().zip(&unusable) {
        if let Some(why) = why {
            (column.part, column.why) = (Part::LeftOut, (*why).to_owned());
        }
    }
    let may: Vec<Result<(), &str>> =
        unusable.iter().zip(&seen).map(|(why, seen)| why.map_or(seen.may_be_label(), Err)).collect();
    if labels.is_empty() {
        choose_labels(path, &mut columns, &may)?;
    } else {
        give_labels(path, labels, &mut columns, &may)?;
    }
    one_time(&mut columns);
    if columns.iter().all(|column| matches!(column.part, Part::Label | Part::Time | Part::LeftOut)) {
        return Err(request(
            format!("`{}` has no column to learn from", path.display()),
            "every column but the labels is the same in all rows, counts or dates them, or hardly has a value twice",
        ));
    }
    let found = columns.iter().zip(&seen).filter(|(column, _)| column.part == Part::Label).map(|(_, seen)| seen);
    let second_needs_first = match found.collect::<Vec<_>>()[..] {
        [first, second] => second.needs(first),
        _ => false,
    };
    let delimiter = Some(layout.delimiter).filter(|found| *found != suggested).map(char::from);
    Ok(Look { columns, rows, all: end.is_some(), labels_given: !labels.is_empty(), delimiter, second_needs_first })
}

fn request(message: String, remedy: impl Into<String>) -> DataError {
    DataError::Request { message, remedy: remedy.into() }
}

/// The first line must name columns.
fn check_header(header: &Header) -> Result<(), DataError> {
    let names = header.names();
    if let [_] = names {
        return Err(header.wrong(
            "there is only one column",
            "a label and something to learn it from are needed, with commas, tabs, semicolons or bars between them",
        ));
    }
    let numbers = names.iter().filter(|name| name.parse::<f64>().is_ok()).count();
    let twice = names.iter().collect::<HashSet<_>>().len() < names.len();
    if 2 * numbers >= names.len() || (numbers > 0 && twice) {
        return Err(header.wrong(
            "there is no header: the first line holds numbers where names are expected",
            "put a line with a name for each column before it",
        ));
    }
    Ok(())
}

/// Why a pipeline, which finds columns by their names, cannot name this one.
fn unusable(names: &[String], at: usize) -> Option<&'static str> {
    match &names[at] {
        name if name.is_empty() => Some("it has no name"),
        name if names.iter().filter(|other| *other == name).count() > 1 => Some("another column has the same name"),
        _ => None,
    }
}

/// A log has one time: the first column that may be it.
fn one_time(columns: &mut [Column]) {
    let mut times = columns.iter_mut().filter(|column| column.part == Part::Time);
    let Some(first) = times.next().map(|column| column.name.clone()) else { return };
    for other in times {
        (other.part, other.why) = (Part::LeftOut, format!("a time as well, of which there is one: `{first}`"));
    }
}

fn choose_labels(path: &Path, columns: &mut [Column], may: &[Result<(), &str>]) -> Result<(), DataError> {
    let candidates: Vec<usize> = (0..columns.len()).filter(|&at| may[at].is_ok()).collect();
    let named: Vec<usize> = candidates.iter().copied().filter(|&at| names_outcome(&columns[at].name)).collect();
    let chosen = match (named.is_empty(), candidates.len()) {
        (false, _) => &named,
        (true, 1..=LABELS) => &candidates,
        (true, _) => {
            let names = |which: &[usize]| {
                which.iter().map(|&at| format!("`{}`", columns[at].name)).collect::<Vec<_>>().join(", ")
            };
            let (message, which) = if candidates.is_empty() {
                let all: Vec<usize> = (0..columns.len()).collect();
                (format!("no column of `{}` can be a label, which is 0 or 1 in every row", path.display()), all)
            } else {
                (
                    format!(
                        "many columns of `{}` hold 0 and 1 only, and none is called like an outcome",
                        path.display()
                    ),
                    candidates,
                )
            };
            return Err(request(
                message,
                format!(
                    "name the columns to predict with `--label COLUMN`, each with 0 and 1 only; the columns are {}",
                    names(&which)
                ),
            ));
        }
    };
    for &at in chosen {
        columns[at].part = Part::Label;
        columns[at].why =
            if named.is_empty() { "0 and 1 only" } else { "0 and 1 only, and called like an outcome" }.to_owned();
    }
    Ok(())
}

fn give_labels(
    path: &Path,
    labels: &[String],
    columns: &mut [Column],
    may: &[Result<(), &str>],
) -> Result<(), DataError> {
    for label in labels {
        let Some(at) = columns.iter().position(|column| column.name == *label) else {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            return Err(request(
                format!("`{}` has no column `{label}`", path.display()),
                did_you_mean(label, &names, "the columns are"),
            ));
        };
        if let Err(why) = may[at] {
            return Err(request(
                format!("column `{label}` of `{}` cannot be a label: {why}", path.display()),
                "a label is 0 or 1 in every row, and not always the same",
            ));
        }
        (columns[at].part, columns[at].why) = (Part::Label, "`--label`".to_owned());
    }
    Ok(())
}

/// Whether a column of this name says what came of a row.
fn names_outcome(name: &str) -> bool {
    const OUTCOMES: [&str; 32] = [
        "label",
        "labels",
        "target",
        "y",
        "outcome",
        "response",
        "click",
        "clicked",
        "clicks",
        "conversion",
        "converted",
        "ctr",
        "cvr",
        "ctcvr",
        "buy",
        "bought",
        "purchase",
        "purchased",
        "order",
        "ordered",
        "pay",
        "paid",
        "like",
        "liked",
        "share",
        "shared",
        "follow",
        "followed",
        "churn",
        "churned",
        "default",
        "finish",
    ];
    words(name).iter().any(|word| OUTCOMES.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn look_at(text: &str, labels: &[&str]) -> Look {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        fs::write(&path, text).unwrap();
        look(&path, &labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn only_the_first_rows_of_a_long_file_are_looked_at() {
        let rows = |count: usize| {
            let rows = (0..count).map(|row| format!("{},{}\n", row % 2, if row < ROWS { "a" } else { "b" }));
            "y,x\n".to_owned() + &rows.collect::<String>()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        fs::write(&path, rows(ROWS + 50_000)).unwrap();
        // the other value of `x` is never seen
        let error = look(&path, &[]).unwrap_err().to_string();
        assert!(error.ends_with("has no column to learn from"), "{error}");
        let long = look_at(&rows(ROWS + 50_000).replace("a", "1.5").replacen("1.5", "2", 1), &[]);
        assert_eq!((long.rows, long.all), (ROWS, false));
        assert_eq!(long.columns[1].why, "numbers from 1.5 to 2");
    }

    #[test]
    fn labels_are_zeros_and_ones_or_called_like_it() {
        let labels = |text: &str| look_at(text, &[]).names(Part::Label).join(",");
        assert_eq!(labels("a,b,c\n0,1,x\n1,0,y\n0,1,y\n"), "a,b");
        assert_eq!(labels("a,isClicked,c\n0,1,x\n1,0,y\n0,1,y\n"), "isClicked");
        let look = look_at("a,b,c\n0,1,x\n1,0,y\n0,1,y\n", &["b"]);
        assert_eq!((look.names(Part::Label), look.names(Part::Categorical)), (vec!["b"], vec!["a", "c"]));
    }

    #[test]
    fn a_second_label_may_need_the_first() {
        let needs = |rows: &str| look_at(&format!("x,click,buy\n{rows}"), &["click", "buy"]).second_needs_first;
        assert!(needs("a,0,0\nb,1,0\na,1,1\nb,0.0,0\n"));
        assert!(!needs("a,0,0\nb,1,0\na,1,1\nb,0,1.0\n"), "once without it");
        assert!(!needs("a,0,0\nb,1,1\na,1,1\nb,0,0\n"), "the same label twice");
        let one = look_at("x,click,buy\na,0,0\nb,1,0\na,1,1\n", &["click"]);
        assert!(!one.second_needs_first);
    }

    #[test]
    fn a_delimiter_is_told_where_the_name_does_not_tell_it() {
        let rows = "y,x\n0,1\n1,2\n0,1\n";
        assert_eq!(look_at(rows, &[]).delimiter, None);
        for delimiter in [";", "|", "\t"] {
            let look = look_at(&rows.replace(',', delimiter), &[]);
            assert_eq!((look.delimiter, look.names(Part::Label)), (delimiter.chars().next(), vec!["y"]));
        }
    }

    #[test]
    fn the_first_time_is_the_time() {
        let look = look_at(
            "y,sent,x,ts\n0,2024-05-31,a,1717199947\n1,2024-05-30,a,1717199948\n0,2024-05-30,b,1717199947\n",
            &[],
        );
        assert_eq!((look.names(Part::Time), look.names(Part::LeftOut)), (vec!["sent"], vec!["ts"]));
        assert_eq!(look.columns[3].why, "a time as well, of which there is one: `sent`");
    }

    #[test]
    fn columns_without_a_name_of_their_own_are_left_out() {
        let look = look_at(",y,x,z,x\n5,0,1.5,a,2.5\n5,1,2.5,b,1\n7,0,1,a,2\n", &[]);
        assert_eq!(look.names(Part::LeftOut), ["", "x", "x"]);
        assert_eq!(look.columns[4].why, "another column has the same name");
        assert_eq!(look.names(Part::Categorical), ["z"]);
    }
}
