//! `sweep`: grids, killed and taken up again.

use std::collections::HashSet;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::project::{Called, Project};

const SWEEP: &str = r#"Sweep(
    pipeline: "pipelines/small.ron",
    over: [
        Arch([SingleTask(), Mmoe(experts: 2)]),
        Balancer([Ls(), Famo()]),
        Seed([1, 2, 3]),
    ],
    only: [Only(value: Arch(SingleTask()), with: [Balancer(Ls())])],
    baseline: [Balancer(Ls())],
    single_task: [Arch(SingleTask()), Balancer(Ls())],
)
"#;

fn project() -> Project {
    let project = Project::new();
    fs::write(project.path("pipelines/grid.ron"), SWEEP).unwrap();
    project
}

#[test]
fn a_grid_runs_shared_stages_once_and_gives_a_table() {
    let project = project();
    let checked = project.call(&["check", "pipelines/grid.ron"]).expect(0);
    // a log and its encoding; a model for each architecture and seed; a training and an evaluation for each cell
    assert_eq!(checked.out, "pipelines/grid.ron: ok, 9 cells, 26 stages\n");
    let table = project.call(&["sweep", "pipelines/grid.ron"]).expect(0);
    assert!(table.out.starts_with("SIMULATED DATA"), "{table:?}");
    for text in ["SingleTask", "Mmoe(experts: 2)", "Famo", "click", "conversion", "mean", "Δm%", "±", "0.00"] {
        assert!(table.out.contains(text), "{text}: {table:?}");
    }
    let again = project.call(&["sweep", "pipelines/grid.ron", "--jobs", "2"]).expect(0);
    assert_eq!(again.out, table.out);
    assert!(!again.err.contains("runs (") && !again.err.contains("cell "), "nothing runs twice: {again:?}");
    let json = project.call(&["sweep", "pipelines/grid.ron", "--json"]).expect(0).json();
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["rows"][0]["entries"][0]["n"], 3);
    let markdown =
        project.call(&["sweep", "pipelines/grid.ron", "--format", "markdown", "--metric", "log-loss"]).expect(0);
    assert!(markdown.out.contains("| class | arch | balancer |") && markdown.out.contains("**0."), "{markdown:?}");
    let csv = project.call(&["sweep", "pipelines/grid.ron", "--format", "csv"]).expect(0);
    assert_eq!(csv.out.lines().count(), 1 + 3 * 3, "{csv:?}");
}

#[test]
fn a_sweep_and_a_pipeline_are_not_mistaken_for_each_other() {
    let project = project();
    for command in ["run", "metrics", "describe"] {
        let refused = project.call(&[command, "pipelines/grid.ron"]).expect(2);
        assert!(refused.err.contains("pipelines/grid.ron:1:1: this is a sweep, not a pipeline"), "{refused:?}");
        assert!(refused.err.contains("`mtorec sweep pipelines/grid.ron` runs it"), "{refused:?}");
        assert!(!refused.err.contains("write `Pipeline("), "{refused:?}");
    }
    let refused = project.call(&["sweep", "pipelines/small.ron"]).expect(2);
    assert!(refused.err.contains("this is a pipeline, not a sweep"), "{refused:?}");
    assert!(refused.err.contains("`mtorec run pipelines/small.ron` runs it"), "{refused:?}");
    assert!(!project.path(".mtorec").exists());
}

#[test]
fn every_cell_is_told_when_it_is_done() {
    let project = project();
    let done = project.call(&["sweep", "pipelines/grid.ron", "--jobs", "1", "--metric", "log-loss"]).expect(0);
    let cells: Vec<&str> = done.err.lines().filter(|line| line.starts_with("cell ")).collect();
    assert_eq!(cells.len(), 9, "{done:?}");
    assert!(cells[0].starts_with("cell 1 of 9 done: arch=SingleTask balancer=Ls seed=1: mean LogLoss 0."), "{cells:?}");
    assert!(cells[8].starts_with("cell 9 of 9 done: arch=Mmoe(experts: 2) balancer=Famo seed=3: mean"), "{cells:?}");
    // the number is the one of the stage's own line
    let (_, number) = cells[8].rsplit_once(' ').unwrap();
    let stage = done.err.lines().rfind(|line| line.starts_with("evaluate [") && line.contains(": done in ")).unwrap();
    assert!(stage.contains(&format!("mean LogLoss {number}")), "{stage}");

    // a cell that an earlier sweep came to is counted, not told again
    let sweep = SWEEP.replace("Seed([1, 2, 3])", "Seed([1, 2, 3, 4])");
    fs::write(project.path("pipelines/grid.ron"), sweep).unwrap();
    let more = project.call(&["sweep", "pipelines/grid.ron", "--jobs", "1"]).expect(0);
    let cells: Vec<&str> = more.err.lines().filter(|line| line.starts_with("cell ")).collect();
    assert_eq!(cells.len(), 3, "{more:?}");
    assert!(cells[0].starts_with("cell 4 of 12 done: arch=SingleTask balancer=Ls seed=4: mean Auc 0."), "{cells:?}");
}

#[test]
fn jobs_and_cores_make_no_difference() {
    let sweep = |jobs: &str, threads: &str| {
        let project = project();
        // above the size from which kernels are cut for threads
        project.edit("sizes: Tiny", "sizes: Small");
        project.edit("batch: 256", "batch: 512");
        let mut command = project.command(&["sweep", "pipelines/grid.ron", "--json", "--jobs", jobs]);
        let table = Called::from(command.env("RAYON_NUM_THREADS", threads).output().unwrap()).expect(0).out;
        // the keys of evaluations hold the contents of the models they read
        let record: Value = serde_json::from_slice(&fs::read(project.path(".mtorec/runs/grid.json")).unwrap()).unwrap();
        let stages = record["stages"].as_object().unwrap().iter();
        let keys: Vec<(String, Value)> = stages.map(|(name, stage)| (name.clone(), stage["key"].clone())).collect();
        assert_eq!(keys.len(), 26);
        (table, keys)
    };
    let one = sweep("1", "2");
    assert_eq!(one, sweep("2", "2"));
    assert_eq!(one, sweep("3", "5"), "pools of two threads and of one");
}

/// The stages that a call said it was done with.
fn done(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| Some(line.split_once(": done in ")?.0))
}

#[test]
fn a_killed_sweep_goes_on_and_ends_in_the_same_table() {
    let (undisturbed, disturbed) = (project(), project());
    let expected = undisturbed.call(&["sweep", "pipelines/grid.ron", "--json"]).expect(0).out;
    let said = disturbed.path("said");
    let mut attempts = String::new();
    for patience in [150, 400, 700] {
        let mut child = disturbed
            .command(&["sweep", "pipelines/grid.ron", "--jobs", "2"])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(patience) && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        attempts.push_str(&fs::read_to_string(&said).unwrap());
        // the last line may have been cut short
        attempts.push('\n');
    }
    let last = disturbed.call(&["sweep", "pipelines/grid.ron", "--json"]).expect(0);
    assert_eq!(last.out, expected);
    attempts.push_str(&last.err);
    let mut finished = HashSet::new();
    for line in attempts.lines() {
        if let Some((stage, _)) = line.split_once(": runs (") {
            assert!(!finished.contains(stage), "`{stage}` was done and runs again: {attempts}");
        }
        finished.extend(done(line));
    }
    // two jobs may each have been killed three times between making a stage and saying so
    assert!((20..=26).contains(&finished.len()), "{attempts}");
    let verified = disturbed.call(&["cache", "verify"]).expect(0);
    assert!(verified.out.contains(" 0 damaged"), "{verified:?}");
}

#[test]
fn two_sweeps_share_a_store_and_the_work() {
    let (alone, shared) = (project(), project());
    let expected = alone.call(&["sweep", "pipelines/grid.ron", "--json"]).expect(0).out;
    let arguments = ["sweep", "pipelines/grid.ron", "--json", "--jobs", "2"];
    let (first, second) = (shared.start(&arguments), shared.start(&arguments));
    let (first, second) = (first.end().expect(0), second.end().expect(0));
    assert_eq!((&first.out, &second.out), (&expected, &expected));
    let mut made: Vec<&str> = done(&first.err).chain(done(&second.err)).collect();
    assert_eq!(made.len(), 26, "every stage is made");
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), 26, "and none twice: {} {}", first.err, second.err);
}

#[test]
fn one_failing_branch_leaves_the_others_their_results_on_request() {
    let project = project();
    let sweep = SWEEP.replace("Seed([1, 2, 3])", "Set(\"train.optimizer.lr\", [1e30, 1e-3])");
    fs::write(project.path("pipelines/grid.ron"), sweep).unwrap();
    let stopped = project.call(&["sweep", "pipelines/grid.ron", "--jobs", "1"]).expect(1);
    assert!(stopped.err.contains("is not finite"), "{stopped:?}");
    // a log, its encoding, two models; of a training and an evaluation a cell, the first training fails
    assert!(stopped.err.contains("\n1 of 16 stages failed, 1 need them, "), "{stopped:?}");
    assert!(stopped.err.contains("\nhint: `--keep-going` "), "{stopped:?}");
    assert!(!stopped.out.contains("click"), "nothing starts after the failure: {stopped:?}");
    assert!(stopped.err.contains("\n1 of 6 cells failed\n"), "{stopped:?}");

    let table = project.call(&["sweep", "pipelines/grid.ron", "--keep-going"]).expect(1);
    assert_eq!(table.err.matches("is not finite").count(), 3, "every failure is told: {table:?}");
    assert!(table.err.contains("\n3 of 16 stages failed, 3 need them, 0 not started\n"), "{table:?}");
    assert!(!table.err.contains("--keep-going"), "{table:?}");
    assert_eq!(table.err.lines().filter(|line| line.starts_with("cell ")).count(), 3, "{table:?}");
    assert!(table.err.contains("\n3 of 6 cells failed\n") && table.out.contains("0.001"), "{table:?}");
}

#[test]
fn a_metric_that_nothing_measures_is_refused_before_anything_runs() {
    let project = project();
    let refused = project.call(&["sweep", "pipelines/grid.ron", "--metric", "gauc"]).expect(2);
    assert!(refused.err.contains("no stage of `pipelines/grid.ron` measures `Gauc`"), "{refused:?}");
    assert!(refused.err.contains("it measures Auc, LogLoss"), "{refused:?}");
    assert!(!project.path(".mtorec/artifacts").exists() && refused.out.is_empty(), "nothing runs: {refused:?}");
    let unknown = project.call(&["sweep", "pipelines/grid.ron", "--metric", "accuracy"]).expect(2);
    assert!(unknown.err.contains("the metrics are Auc, LogLoss, Gauc"), "{unknown:?}");

    project.edit("data: \"preprocess\"),\n    },", "data: \"preprocess\", metrics: [Gauc, CalibrationRatio]),\n    },");
    let table =
        project.call(&["sweep", "pipelines/grid.ron", "--metric", "calibration-ratio", "--json"]).expect(0).json();
    assert_eq!(table["metric"], "CalibrationRatio");
    let entries =
        |column: usize| table["rows"].as_array().unwrap().iter().map(move |row| row["entries"][column].clone());
    for column in 0..3 {
        let off = |entry: &serde_json::Value| (entry["mean"].as_f64().unwrap() - 1.0).abs();
        let best = entries(column).map(|entry| off(&entry)).fold(f64::INFINITY, f64::min);
        assert!(entries(column).all(|entry| (off(&entry) == best) == entry["best"].as_bool().unwrap()), "{table}");
    }
    let gauc = project.call(&["sweep", "pipelines/grid.ron", "--metric", "Gauc"]).expect(0);
    assert!(!gauc.err.contains("runs (") && gauc.out.contains("Gauc: mean over seeds"), "{gauc:?}");
}
