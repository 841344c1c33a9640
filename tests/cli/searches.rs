//! `Predict` on AliExpress' searches: a log read from the archive as it is published, and one in the processed form.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use mtorec::data::EncodedDataset;
use mtorec::model::{ModelCard, Network, read_checkpoint};
use mtorec::stage::evaluate::predict;
use mtorec::tensor::{Cpu, Workspace};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::project::Project;

/// Columns of the published files, from 0: the categories of users and of items, and how many columns there are.
const USERS: (&[usize], usize) = (&[1, 2, 3, 4, 5, 6, 7, 31, 32], 33);
const ITEMS: (&[usize], usize) = (&[18, 33, 34, 35, 39, 40, 41], 49);

/// A row as it is published, by columns.
type Cells = Vec<String>;

/// Draws by a fixed recurrence.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Rows of one side, of searches in no order, some of them several times; categories below `ids`.
    fn side(&mut self, rows: usize, searches: u64, ids: u64, (categorical, columns): (&[usize], usize)) -> Vec<Cells> {
        let row = |_| {
            let mut cells = vec![(self.below(searches) + 1000).to_string()];
            for at in 1..columns {
                cells.push(match at {
                    _ if categorical.contains(&at) => self.below(ids).to_string(),
                    // 0 is shown, 1 clicked, 2 bought
                    48 => [0, 0, 1, 2][self.below(4) as usize].to_string(),
                    _ => format!("0.{}", self.below(1000)),
                });
            }
            cells
        };
        (0..rows).map(row).collect()
    }
}

/// Users and items joined by the definition, in the processed form: the search, categories, numbers and labels.
fn joined(users: &[Cells], items: &[Cells]) -> Vec<Cells> {
    let mut rows = Vec::new();
    for user in users {
        for item in items.iter().filter(|item| item[0] == user[0]) {
            let pick = |wanted: bool| {
                let of = move |cells: &Cells, (categorical, columns): (&[usize], usize)| -> Vec<String> {
                    let end = columns.min(48);
                    (1..end).filter(|at| categorical.contains(at) == wanted).map(|at| cells[at].clone()).collect()
                };
                [of(user, USERS), of(item, ITEMS)].concat()
            };
            let labels = match item[48].as_str() {
                "0" => ["0", "0"],
                "1" => ["1", "0"],
                _ => ["1", "1"],
            };
            rows.push([vec![user[0].clone()], pick(true), pick(false), labels.map(str::to_owned).to_vec()].concat());
        }
    }
    rows
}

fn processed(rows: &[Cells]) -> String {
    let mut text = "search_id".to_owned();
    (1..=16).for_each(|at| write!(text, ",categorical_{at}").unwrap());
    (1..=63).for_each(|at| write!(text, ",numerical_{at}").unwrap());
    text += ",click,conversion\n";
    rows.iter().for_each(|row| text += &(row.join(",") + "\n"));
    text
}

fn zipped(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Training rows; test rows with more ids, a few of which no training row has.
struct Log {
    train: [Vec<Cells>; 2],
    test: [Vec<Cells>; 2],
}

impl Log {
    fn new() -> Self {
        let mut draw = Draw(5);
        let mut sides = |rows, searches, ids| [USERS, ITEMS].map(|side| draw.side(rows, searches, ids, side));
        Self { train: sides(120, 60, 6), test: sides(300, 60, 7) }
    }

    /// The archive as it is published: four archives of one file each.
    fn archive(&self) -> Vec<u8> {
        let parts = [("user_train", &self.train[0]), ("item_train", &self.train[1])];
        let tests = [("user_test", &self.test[0]), ("item_test", &self.test[1])];
        let inner = parts.into_iter().chain(tests).map(|(part, rows)| {
            let text: String = rows.iter().map(|row| row.join(",") + "\n").collect();
            (format!("nl_{part}.zip"), zipped(&[(format!("nl_{part}.csv"), text.into_bytes())]))
        });
        zipped(&inner.collect::<Vec<_>>())
    }
}

fn project(rows: &str) -> Project {
    let project = Project::new();
    fs::create_dir_all(project.path("data/aliexpress/NL")).unwrap();
    project.edit("Simulated(rows: 2000, seed: 7)", "AliExpress(country: NL)");
    project.edit("FromTest(0.5)", "FromTrain(0.2)");
    let stage = format!(
        "\"score\": Predict(model: \"train\", data: \"preprocess\", rows: \"{rows}\", keep: [\"search_id\"]),\n    }},\n    golden"
    );
    project.edit("},\n    golden", &stage);
    project
}

/// Runs the pipeline and holds every line of the predictions to the scores of the test rows that `Preprocess` wrote, and to
/// their searches; the ids that no training row has, to a count by hand.
fn check(project: &Project, train: &[Cells], test: &[Cells]) {
    let run = project.call(&["run", "pipelines/small.ron"]).expect(0);
    let path = run.out.lines().find_map(|line| line.strip_prefix("predictions: ")).unwrap();
    let text = fs::read_to_string(project.path(path)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("search_id,p_click,p_conversion", test.len() + 1));

    let folder = |stage: &str| project.largest_file(stage).parent().map(Path::to_path_buf).unwrap();
    let data = EncodedDataset::open(&folder("preprocess")).unwrap();
    let card: ModelCard = serde_json::from_slice(&fs::read(folder("train").join("model.json")).unwrap()).unwrap();
    let device = Cpu::default();
    let mut network = Network::build(&card.arch, &card.sizes, &card.schema, 0, &device).unwrap();
    read_checkpoint(&mut network, &folder("train").join("model.safetensors")).unwrap();
    let logits = predict(&network, &data.schema, &data.test, &Workspace::new(&device), |_| Ok(())).unwrap();
    let searches = data.test.group().unwrap();
    for (at, line) in lines[1..].iter().enumerate() {
        let p = |task: usize| (1.0 / (1.0 + (-f64::from(logits[task][at])).exp())) as f32;
        assert_eq!(*line, format!("{},{:?},{:?}", searches[at], p(0), p(1)), "row {at}");
        assert_eq!(test[at][0], searches[at].to_string(), "row {at}");
    }

    // those that decide when to stop are drawn from the training rows, and hold no id that the others do not
    let json = project.call(&["metrics", "pipelines/small.ron", "--json"]).expect(0).json();
    let unseen = json["predictions"][0]["unseen"].as_array().unwrap();
    for (field, found) in unseen.iter().enumerate() {
        let known: BTreeSet<&String> = train.iter().map(|row| &row[1 + field]).collect();
        let expected = test.iter().filter(|row| !known.contains(&row[1 + field])).count();
        assert_eq!(
            (&found["field"], found["rows"].as_u64()),
            (&format!("categorical_{}", field + 1).into(), Some(expected as u64))
        );
        assert!(expected > 0, "{found}");
    }
}

#[test]
fn rows_of_an_archive_are_scored_from_the_processed_form() {
    let log = Log::new();
    let project = project("new.csv");
    fs::write(project.path("data/aliexpress/NL/AliExpress_NL_datasets.zip"), log.archive()).unwrap();
    let [train, test] = [&log.train, &log.test].map(|[users, items]| joined(users, items));
    fs::write(project.path("new.csv"), processed(&test)).unwrap();
    check(&project, &train, &test);
}

/// Its test rows, in the order in which they are joined.
#[test]
fn an_archive_is_scored_as_it_is_published() {
    let log = Log::new();
    let archive = "data/aliexpress/NL/AliExpress_NL_datasets.zip";
    let project = project(archive);
    fs::write(project.path(archive), log.archive()).unwrap();
    let [train, test] = [&log.train, &log.test].map(|[users, items]| joined(users, items));
    check(&project, &train, &test);

    let refused = |set: &str| project.call(&["run", "pipelines/small.ron", "--set", set]).expect(1).err;
    let err = refused("score.keep=[\"click\"]");
    assert!(err.contains("the rows of an archive have no column `click`") && err.contains("keep `search_id`"), "{err}");
    fs::write(project.path("other.zip"), zipped(&[("es_user_test.csv".to_owned(), Vec::new())])).unwrap();
    let err = refused("score.rows=\"other.zip\"");
    assert!(err.contains("`other.zip` holds no `nl_user_test.zip`, but es_user_test.csv"), "{err}");
    // ids of the processed form may be others
    fs::write(project.path("data/aliexpress/NL/train.csv"), processed(&train)).unwrap();
    fs::write(project.path("data/aliexpress/NL/test.csv"), processed(&test)).unwrap();
    let err = project.call(&["run", "pipelines/small.ron"]).expect(1).err;
    assert!(err.contains("has other ids than the processed form that the model learned from"), "{err}");
}

#[test]
fn a_processed_test_file_is_scored_as_it_lies() {
    let log = Log::new();
    let project = project("data/aliexpress/NL/test.csv");
    let [train, test] = [&log.train, &log.test].map(|[users, items]| joined(users, items));
    fs::write(project.path("data/aliexpress/NL/train.csv"), processed(&train)).unwrap();
    fs::write(project.path("data/aliexpress/NL/test.csv"), processed(&test)).unwrap();
    check(&project, &train, &test);
}
