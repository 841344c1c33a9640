//! What is disturbed: runs from several beginnings, so that every point is passed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Passings;
use crate::project::{Ended, Project};
use crate::server::{Answer, Server, asked_from};

const RUN: [&str; 3] = ["run", "pipelines/faults.ron", "--json"];
/// A remote in the project's own folder, so that it is copied with it.
const SHARED: &str = "file://{root}/shared";

/// A project at some beginning, and what is done with it.
pub struct Scenario {
    pub name: &'static str,
    pub template: Project,
    pub command: Vec<&'static str>,
    /// Whether the command ends well when nothing is disturbed.
    pub succeeds: bool,
    /// A stage whose artifact is there and must be there after an error too.
    keeps: Option<&'static str>,
    /// What is done afterwards, before the last run.
    then: Vec<Vec<&'static str>>,
    /// Metrics and contents of a run that nothing disturbed.
    expected: Value,
}

impl Scenario {
    /// Runs it undisturbed, and counts the passings of every point.
    pub fn count(&self) -> BTreeMap<String, Passings> {
        let project = self.template.copy();
        let ended = project.call(&self.command, Some(""));
        assert_eq!(ended.code, Some(if self.succeeds { 0 } else { 1 }), "{}: {ended:?}", self.name);
        let mut points: BTreeMap<String, Passings> = BTreeMap::new();
        for line in project.passings() {
            let mut words = line.split(' ');
            let passings = points.entry(words.next().unwrap_or_default().to_owned()).or_default();
            passings.count += 1;
            passings.writes |= words.next() == Some("write");
        }
        self.recover(&project).unwrap_or_else(|what| panic!("{}, undisturbed: {what}", self.name));
        points
    }

    /// Runs what comes after, and looks for what was lost.
    pub fn recover(&self, project: &Project) -> Result<(), String> {
        for command in &self.then {
            let ended = project.call(command, None);
            if ended.code != Some(0) {
                return Err(format!("{command:?} fails: {ended:?}"));
            }
        }
        let again = project.call(&RUN, None);
        if again.code != Some(0) {
            return Err(format!("the next run fails: {again:?}"));
        }
        self.same_results(&again)?;
        let verified = project.call(&["cache", "verify"], None);
        if verified.code != Some(0) {
            return Err(format!("the store is damaged: {verified:?}"));
        }
        for (name, text) in [("train", train()), ("test", test())] {
            if fs::read_to_string(project.path(&format!("data/log/{name}.csv"))).ok().as_deref() != Some(text) {
                return Err(format!("data/log/{name}.csv is not what the server has"));
            }
        }
        match project.leftovers() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} stay after the next run: {again:?}")),
        }
    }

    /// Whether an error left what was there.
    pub fn has_kept(&self, project: &Project) -> bool {
        self.keeps.is_none_or(|stage| project.artifact(stage).is_dir())
    }

    /// Whether a run came to the same metrics and artifacts as one that nothing disturbed; other commands say nothing.
    pub fn same_results(&self, ended: &Ended) -> Result<(), String> {
        match ended.json() {
            Some(document) if document["ending"] == "done" && document["stages"].as_array().is_some() => {
                let found = results(&document);
                let same = found["stages"].as_array().into_iter().flatten().all(|stage| {
                    let expected = self.expected["stages"].as_array().into_iter().flatten();
                    stage["content"].is_null() || expected.clone().any(|other| other == stage)
                });
                let whole = found["metrics"] == self.expected["metrics"] || self.command.contains(&"--until");
                if same && whole { Ok(()) } else { Err(format!("it came to {found}, not to {}", self.expected)) }
            }
            _ => Ok(()),
        }
    }
}

/// What must be the same to the bit.
fn results(document: &Value) -> Value {
    let stages = document["stages"].as_array().expect("a run lists its stages");
    let stages: Vec<Value> =
        stages.iter().map(|stage| json!({ "name": stage["name"], "content": stage["content"] })).collect();
    json!({ "metrics": document["metrics"], "comparisons": document["comparisons"], "stages": stages })
}

/// Some rows; a column that nobody reads makes them so long that they come in several pieces.
fn rows(count: usize, pad: usize) -> String {
    let mut text = "shop,price,remark,like,buy\n".to_owned();
    for at in 0..count {
        let (like, buy) = (at * 7 % 5 / 3, at * 11 % 7 / 5);
        let _ = writeln!(text, "s{},{}.5,{},{like},{buy}", at % 7, at % 10, "x".repeat(pad));
    }
    text
}

fn train() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| rows(640, 500))
}

fn test() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| rows(160, 10))
}

/// Gives both files, from the middle when asked to; it runs until the process ends.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::start(|_, head| {
            let text = if head.contains("/train.csv") { train() } else { test() }.as_bytes();
            let from = asked_from(head).unwrap_or(0);
            let length = format!("Content-Length: {}", text.len() - from);
            let range = format!("Content-Range: bytes {from}-{}/{}", text.len() - 1, text.len());
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            Answer::new(status, &["ETag: \"1\"", &length, &range], &text[from..])
        })
    })
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pipeline(sha256: &str) -> String {
    let columns = r#"categorical: ["shop"], numerical: ["price"], labels: ["like", "buy"]"#;
    let (train, test) = (server().url("/train.csv"), server().url("/test.csv"));
    format!(
        r#"Pipeline(name: "faults", stages: {{
            "download": Download(
                dataset: Csv(train: "train.csv", test: "test.csv", {columns}),
                path: "data/log",
                fetch: [Fetch(url: {train:?}, sha256: {sha256:?}), Fetch(url: {test:?})],
            ),
            "preprocess": Preprocess(from: "download"),
            "model": BuildModel(data: "preprocess", arch: SharedBottom(), sizes: Tiny, seed: 1),
            "train": Train(model: "model", data: "preprocess", balancer: Famo(), epochs: 3, batch: 128, patience: 3, seed: 1),
            "evaluate": Evaluate(model: "train", data: "preprocess"),
            "compare": Compare(rows: [Row(name: "Famo", runs: ["evaluate"])]),
            "predict": Predict(model: "train", data: "preprocess", rows: "data/new.csv"),
            "published": Download(dataset: AliExpress(country: NL), path: "data/nl"),
            "joined": Preprocess(from: "published"),
        }})"#
    )
}

fn beginning() -> Project {
    let project = Project::new();
    project.write("pipelines/faults.ron", &pipeline(&sha256(train())));
    project.write("data/new.csv", &rows(40, 10));
    let row = |columns: usize, at: usize| {
        let features: String = (2..columns).map(|column| format!(",{}", (at * column) % 7)).collect();
        format!("{}{features},{}\n", at % 5, at % 3)
    };
    for part in ["user_train", "item_train", "user_test", "item_test"] {
        let columns = if part.starts_with("user") { 33 } else { 49 };
        let text: String = (0..20).map(|at| row(columns, at)).collect();
        project.write(&format!("data/nl/nl_{part}.csv"), &text);
    }
    for entry in fs::read_dir(project.path("data/nl")).expect("a folder") {
        // old enough for its digest to be remembered
        let then = SystemTime::now() - Duration::from_secs(100);
        let file = File::options().write(true).open(entry.expect("a file").path()).expect("a file");
        file.set_modified(then).expect("a time");
    }
    project
}

/// Flips a bit in the middle of the largest file of a stage's artifact.
fn flip(project: &Project, stage: &str) {
    let files = fs::read_dir(project.artifact(stage).join("files")).expect("an artifact");
    let files = files.map(|entry| entry.expect("a file").path());
    let path = files.max_by_key(|path| fs::metadata(path).map_or(0, |found| found.len())).expect("a file");
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let time = fs::metadata(&path).and_then(|found| found.modified()).expect("a time") + Duration::from_secs(1);
    fs::write(&path, bytes).expect("a file");
    File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("a time");
}

/// Gives all files of a stage's artifact a new time, as a copy or a restored backup has.
fn touch(project: &Project, stage: &str) {
    for entry in fs::read_dir(project.artifact(stage).join("files")).expect("an artifact") {
        let file = File::options().write(true).open(entry.expect("a file").path()).expect("a file");
        file.set_modified(SystemTime::now() + Duration::from_secs(5)).expect("a time");
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let finished = beginning();
    finished.expect(&[&RUN[..], &["--set", "train.seed=2"]].concat());
    let ended = finished.expect(&RUN);
    let expected = results(&ended.json().expect("JSON"));
    let scenario = |name, template, command: &[&'static str]| Scenario {
        name,
        template,
        command: command.to_vec(),
        succeeds: true,
        keeps: None,
        then: Vec::new(),
        expected: expected.clone(),
    };

    let halfway = beginning();
    let ended = halfway.call(&RUN, Some("fetch.append:2:cut"));
    assert!(ended.killed && !halfway.path("data/log/train.csv").exists(), "{ended:?}");

    let trained = beginning();
    trained.expect(&["run", "pipelines/faults.ron", "--until", "model"]);
    let ended = trained.call(&["run", "pipelines/faults.ron", "--until", "train"], Some("atomic.rename:2:kill"));
    assert!(ended.killed && !trained.leftovers().is_empty(), "a second checkpoint was written: {ended:?}");

    let damaged = finished.copy();
    flip(&damaged, "preprocess");
    touch(&damaged, "model");
    damaged.write(".mtorec/tmp/.1-1.tmp", "what a process was writing when it died");

    let whole = finished.copy();
    let wrong = beginning();
    wrong.write("pipelines/wrong.ron", &pipeline(&sha256(test())));

    let littered = finished.copy();
    let key = "0123456789abcdef".repeat(4);
    for folder in ["scratch", "incoming", "damaged"] {
        littered.write(&format!(".mtorec/{folder}/{key}/file"), "some bytes");
    }

    // the remote has what comes before training; what comes after is made and put
    let sharing = beginning();
    sharing.expect(&["run", "pipelines/faults.ron", "--until", "model", "--remote", SHARED]);
    fs::remove_dir_all(sharing.path(".mtorec")).expect("a store");

    let gc = ["cache", "gc", "--keep-days", "0"];
    vec![
        scenario("run", beginning(), &RUN),
        scenario("fetch", halfway, &[&RUN[..], &["--until", "download"]].concat()),
        Scenario {
            succeeds: false,
            ..scenario("digest", wrong, &["run", "pipelines/wrong.ron", "--until", "download"])
        },
        scenario("resume", trained, &RUN),
        scenario("mend", damaged, &RUN),
        Scenario { keeps: Some("train"), ..scenario("force", finished, &[&RUN[..], &["--force", "train"]].concat()) },
        Scenario { then: vec![gc.to_vec()], ..scenario("gc", littered, &gc) },
        Scenario {
            then: vec![vec!["cache", "pull", "--remote", SHARED]],
            ..scenario("share", sharing, &[&RUN[..], &["--remote", SHARED, "--remote-required"]].concat())
        },
        Scenario {
            then: vec![vec!["cache", "pull", "--remote", SHARED]],
            ..scenario("put", whole, &["cache", "push", "--remote", SHARED])
        },
    ]
}
