//! Data sets that are fetched: from the pipeline's `fetch` to the run after.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::project::{Called, Project, wait_until};
use crate::server::{Answer, Server, asked_from};

const HEADER: &str = "shop,price,like\n";

fn rows(count: usize) -> String {
    let row = |at: usize| format!("s{},{}.5,{}\n", at % 7, at % 10, at % 3 / 2);
    (0..count).map(row).fold(HEADER.to_owned(), |text, row| text + &row)
}

/// A project whose one log is fetched from these addresses.
fn project(train: &str, test: &str) -> Project {
    let project = Project::new();
    let text = format!(
        r#"Pipeline(name: "small", stages: {{
            "download": Download(
                dataset: Csv(train: "train.csv", test: "test.csv", categorical: ["shop"], numerical: ["price"], labels: ["like"]),
                path: "logs",
                fetch: [{train}, {test}],
            ),
            "preprocess": Preprocess(from: "download"),
        }})"#
    );
    fs::write(project.pipeline(), text).unwrap();
    project
}

fn fetch(url: &str) -> String {
    format!("Fetch(url: {url:?})")
}

fn part(project: &Project) -> PathBuf {
    project.path("logs/.train.csv.part")
}

/// Hangs in the middle of the first answer for the training rows, and is sound after that.
fn hanging_once() -> Server {
    Server::start(|nth, head| {
        let train = rows(5000).into_bytes();
        let (length, tag) = (train.len(), "ETag: \"1\"");
        match (head.contains("GET /train.csv"), asked_from(head)) {
            (true, None) if nth == 0 => {
                Answer::new("200 OK", &[&format!("Content-Length: {length}"), tag], &train[..20_000]).hanging()
            }
            (true, Some(from)) => {
                let range = format!("Content-Range: bytes {from}-{}/{length}", length - 1);
                let rest = format!("Content-Length: {}", length - from);
                Answer::new("206 Partial Content", &[&rest, &range, tag], &train[from..])
            }
            (true, None) => Answer::new("200 OK", &[&format!("Content-Length: {length}"), tag], &train),
            _ => Answer::new("200 OK", &[], rows(600).as_bytes()),
        }
    })
}

#[test]
fn a_killed_fetch_goes_on_and_a_second_run_does_nothing() {
    let server = hanging_once();
    let project = project(&fetch(&server.url("/train.csv")), &fetch(&server.url("/test.csv")));
    let plan = project.call(&["plan", "pipelines/small.ron", "--json"]).expect(0).json();
    assert_eq!(
        plan["stages"][0]["reasons"],
        serde_json::json!(["fetches `logs/train.csv`", "fetches `logs/test.csv`"]),
    );
    assert!(!project.path("logs").exists() && server.requests().is_empty(), "planning fetches nothing");

    let offline = project.call(&["run", "pipelines/small.ron", "--offline"]).expect(1);
    assert!(offline.err.contains("`logs/train.csv` (from http://127.0.0.1:"), "{offline:?}");
    assert!(offline.err.contains("`--offline` forbids to fetch them"), "{offline:?}");
    assert!(server.requests().is_empty());

    let running = project.start(&["run", "pipelines/small.ron"]);
    wait_until("first bytes", || fs::metadata(part(&project)).is_ok_and(|found| found.len() == 20_000));
    running.signal("KILL");
    assert_eq!(running.end().code, None);

    let again = project.run(&[]);
    assert_eq!(again.ran(), ["download", "preprocess"]);
    assert!(again.err.contains("goes on after 20000 bytes of http://127.0.0.1:"), "{again:?}");
    assert_eq!(fs::read_to_string(project.path("logs/train.csv")).unwrap(), rows(5000));
    assert_eq!(fs::read_to_string(project.path("logs/test.csv")).unwrap(), rows(600));
    let asked = server.requests();
    assert_eq!(asked.iter().map(|head| asked_from(head)).collect::<Vec<_>>(), [None, Some(20_000), None]);

    assert!(project.run(&["--offline"]).ran().is_empty(), "the key is that of the files");
    assert_eq!(server.requests().len(), 3);
    assert_eq!(fs::read_dir(project.path("logs")).unwrap().count(), 2, "no leftovers");
}

#[test]
fn a_hanging_fetch_can_be_stopped() {
    let server = hanging_once();
    let project = project(&fetch(&server.url("/train.csv")), &fetch(&server.url("/test.csv")));
    let running = project.start(&["run", "pipelines/small.ron"]);
    wait_until("first bytes", || fs::metadata(part(&project)).is_ok_and(|found| found.len() == 20_000));
    let stopped = Instant::now();
    running.signal("INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(stopped.elapsed().as_secs() < 20, "it does not wait for the server");
    assert_eq!(fs::metadata(part(&project)).unwrap().len(), 20_000, "what has come is kept");
}

#[test]
fn a_wrong_digest_stops_the_run_wherever_the_file_came_from() {
    let server = Server::start(|_, _| Answer::new("200 OK", &[], b"other\n"));
    let zeros = "0".repeat(64);
    // sha256sum of `other` and a line feed
    let got = "7e4fa2eb8c7ac089739d5defc4489fad68a100d92082ca35c6b40a4524821f87";
    let entry = format!("Fetch(url: {:?}, sha256: {zeros:?})", server.url("/train.csv"));
    let project = project(&entry, &fetch(&server.url("/test.csv")));
    let wrong = project.call(&["run", "pipelines/small.ron"]).expect(1);
    assert!(wrong.err.contains(&format!("expected SHA-256 {zeros}, got {got}")), "{wrong:?}");
    assert_eq!(fs::read_dir(project.path("logs")).unwrap().count(), 0, "the file is removed");

    for name in ["train.csv", "test.csv"] {
        fs::write(project.path("logs").join(name), "other\n").unwrap();
    }
    let wrong = project.call(&["run", "pipelines/small.ron"]).expect(1);
    assert!(wrong.err.contains(&format!("`logs/train.csv` should have SHA-256 {zeros} and has {got}")), "{wrong:?}");
    assert!(wrong.err.contains("small.ron:5:24"), "{wrong:?}");
    assert!(project.path("logs/train.csv").exists(), "what the user put there stays");
}

#[test]
fn the_usual_variables_name_a_proxy() {
    let server = Server::start(|_, head| {
        Answer::new("200 OK", &[], rows(if head.contains("/train") { 900 } else { 600 }).as_bytes())
    });
    let project = project(&fetch("http://data.invalid/train.csv"), &fetch("http://data.invalid/test.csv"));
    let mut command = project.command(&["run", "pipelines/small.ron", "--json"]);
    let called = Called::from(command.env("http_proxy", server.url("")).output().unwrap()).expect(0);
    assert_eq!(called.ran(), ["download", "preprocess"]);
    let asked = server.requests();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|head| head.starts_with("connect data.invalid:80 ")), "{asked:?}");
}

#[test]
fn no_command_that_runs_fetches_when_told_not_to() {
    let server = hanging_once();
    let project = Project::new();
    let log = r#"Csv(train: "train.csv", labels: ["like"], numerical: ["price"]), fetch: [FETCH]"#;
    project.edit("Simulated(rows: 2000, seed: 7)", &log.replace("FETCH", &fetch(&server.url("/train.csv"))));
    project.edit("valid: FromTest(0.5)", "test: Random(0.5)");
    let sweep = r#"Sweep(pipeline: "pipelines/small.ron", over: [Seed([1, 2])])"#;
    fs::write(project.path("pipelines/sweep.ron"), sweep).unwrap();
    fs::create_dir(project.path("golden")).unwrap();
    let blessed = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/quickstart.ron");
    fs::copy(blessed, project.path("golden/small.ron")).unwrap();
    for call in [
        &["run", "pipelines/small.ron"][..],
        &["sweep", "pipelines/sweep.ron"],
        &["golden", "check", "pipelines/small.ron"],
        &["golden", "bless", "pipelines/small.ron"],
    ] {
        let refused = project.call(&[call, &["--offline"]].concat()).expect(1);
        assert!(refused.err.contains("`--offline` forbids to fetch it"), "{call:?}: {refused:?}");
    }
    for look in ["plan", "graph"] {
        let seen = project.call(&[look, "pipelines/small.ron", "--offline"]).expect(0);
        assert!(seen.out.contains("cannot run"), "{look}: {seen:?}");
    }
    assert!(server.requests().is_empty());
}
