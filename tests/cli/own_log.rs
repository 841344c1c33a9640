//! A log of one's own: split by time, with missing numbers, wrong rows and a label that is constant.

use std::fmt::Write;
use std::fs;

use serde_json::json;

use crate::project::Project;

/// Twenty days, one row each, of which the eighth is wrong; there are 19 rows, of which 4 are tested on (a fifth), 4 more
/// decide when to stop (a quarter of the other 15), and 11 are trained on. Of the third the views are missing.
fn project(preprocess: &str) -> Project {
    let project = Project::new();
    let mut text = "at,user,shop,views,like\n".to_owned();
    for day in 1..=20 {
        let views = if day == 3 { String::new() } else { (day * 10).to_string() };
        let like = match day {
            8 => "yes",
            17.. => "1",
            _ if day % 2 == 0 => "1",
            _ => "0",
        };
        writeln!(text, "2024-03-{day:02},u{},s{},{views},{like}", day / 2, day % 3).unwrap();
    }
    fs::write(project.path("log.csv"), text).unwrap();
    let log = r#"Csv(train: "log.csv", categorical: ["shop"], numerical: ["views"], labels: ["like"], group: "user",
        time: "at", transforms: {"views": Standardise}, hashed: {"shop": 7})"#;
    project.edit("Simulated(rows: 2000, seed: 7)", log);
    project.edit("valid: FromTest(0.5)", preprocess);
    project
}

#[test]
fn the_latest_rows_are_tested_on() {
    let by_time = "test: Latest(0.2), valid: Latest(0.25), fill: Mean, max_bad_rows: 1";
    let project = project(by_time);
    let run = project.call(&["run", "pipelines/small.ron", "--until", "preprocess"]).expect(0);
    for expected in [
        "left out: log.csv:9: column `like`: `yes` is not a label, which is 0 or 1",
        "1 wrong row is left out",
        "the label `like` is 1 in every test row, which leaves its AUC there undefined",
    ] {
        assert!(run.err.contains(expected), "{expected}: {run:?}");
    }
    let json = project.call(&["describe", "pipelines/small.ron", "preprocess", "--json"]).expect(0).json();
    let rows = &json["stages"][0]["rows"];
    let count = |split: &str| rows["splits"][split]["rows"].clone();
    assert_eq!((count("train"), count("valid"), count("test")), (json!(11), json!(4), json!(4)));
    let views = &rows["numerical"][0]["values"];
    let close = |found: &serde_json::Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-4;
    // the days 1 to 12 without the eighth; the mean of the others stands for the third
    assert!(close(&views["train"]["min"], 10.0) && close(&views["train"]["max"], 120.0), "{views}");
    assert!(close(&views["train"]["mean"], 67.0), "{views}");
    assert!(close(&views["valid"]["min"], 130.0) && close(&views["valid"]["max"], 160.0), "{views}");
    assert!(close(&views["test"]["min"], 170.0) && close(&views["test"]["max"], 200.0), "{views}");
    let missing = &rows["numerical"][0]["missing"];
    assert_eq!((&missing["train"]["rows"], &missing["valid"]["rows"]), (&json!(1), &json!(0)), "{missing}");
    assert_eq!(rows["fields"][0]["embedding_rows"], 7);

    // a day's user is the next day's as well, so groups cannot be kept together
    let divided =
        project.call(&["run", "pipelines/small.ron", "--until", "preprocess", "--set", "preprocess.by=Group"]);
    let divided = divided.expect(1);
    assert!(divided.err.contains("`by: Group` keeps a group in one split"), "{divided:?}");
}

#[test]
fn wrong_rows_and_missing_numbers_stop_a_run_unless_told() {
    let project = project("test: Random(0.2), by: Group");
    let run = |settings: &[&str]| {
        let arguments = ["run", "pipelines/small.ron", "--until", "preprocess"];
        project.call(&[&arguments[..], settings].concat())
    };
    let stopped = run(&[]).expect(1);
    assert!(stopped.err.contains("log.csv:4: column `views`: no number"), "{stopped:?}");
    assert!(stopped.err.contains("`fill: 0.0` or `fill: Mean`"), "{stopped:?}");
    let stopped = run(&["--set", "preprocess.fill=0"]).expect(1);
    assert!(stopped.err.contains("log.csv:9: column `like`"), "{stopped:?}");
    run(&["--set", "preprocess.fill=0", "--set", "preprocess.max_bad_rows=1"]).expect(0);
}
