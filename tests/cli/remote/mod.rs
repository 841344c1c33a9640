//! Stores that machines share: an S3 server and folders.

mod dialects;
mod failing;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use mtorec::store::{Draft, Finished, LockAttempt, Recipe, Store};
use serde_json::{Value, json};

use crate::project::{Called, Project, Running};
use crate::s3::{BUCKET, KEY, S3, SECRET};

const RUN: [&str; 3] = ["run", "pipelines/small.ron", "--json"];
const STAGES: [&str; 5] = ["download", "preprocess", "model", "train", "evaluate"];

/// One server for all tests, each of which has a prefix of its own.
fn s3() -> &'static S3 {
    static SERVER: OnceLock<S3> = OnceLock::new();
    SERVER.get_or_init(S3::start)
}

fn address(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

/// A call with the right credentials, to a service at this place.
fn at(project: &Project, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    command
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ALLOW_HTTP", "true");
    command
}

fn ended(mut command: Command) -> Called {
    let called: Called = command.output().expect("the program starts").into();
    assert!(!format!("{called:?}").contains(SECRET), "{called:?}");
    called
}

/// A call with a remote on the S3 server.
fn shared(project: &Project, prefix: &str, arguments: &[&str]) -> Called {
    let remote = address(prefix);
    ended(at(project, &s3().url(), &[arguments, &["--remote", &remote]].concat()))
}

fn all(result: &str) -> Vec<String> {
    STAGES.iter().map(|stage| format!("{stage}={result}")).collect()
}

fn warnings(called: &Called) -> Vec<&str> {
    let of_remote = |line: &&str| line.starts_with("warning") && line.contains("remote");
    called.err.lines().filter(of_remote).collect()
}

/// What a stage's artifact is called, in a run's JSON.
fn key(run: &Value, stage: &str) -> String {
    let stages = run["stages"].as_array().expect("a run lists its stages");
    let stage = stages.iter().find(|found| found["name"] == stage).expect("a stage");
    stage["key"].as_str().expect("a key").to_owned()
}

/// The largest file of an artifact, as the remote names it.
fn largest(project: &Project, key: &str) -> String {
    let manifest = fs::read(project.path(&format!(".mtorec/artifacts/{key}/manifest.json"))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let files = manifest["manifest"]["files"].as_array().unwrap();
    let file = files.iter().max_by_key(|file| file["size"].as_u64()).unwrap();
    format!("v1/files/{}", file["digest"].as_str().unwrap())
}

#[test]
fn a_fresh_checkout_with_a_filled_remote_trains_nothing() {
    let (here, there) = (Project::new(), Project::new());
    let made = shared(&here, "fresh", &RUN).expect(0);
    assert_eq!(made.results(), all("ran"));
    assert!(made.err.contains(&format!("5 artifacts put to {}, ", address("fresh"))), "{made:?}");

    let got = shared(&there, "fresh", &RUN).expect(0);
    assert_eq!(got.results(), all("pulled"));
    let (made, got) = (made.json(), got.json());
    assert_eq!(made["metrics"], got["metrics"]);
    for field in ["key", "content", "simulated", "summary"] {
        let of = |run: &Value| -> Vec<Value> {
            run["stages"].as_array().unwrap().iter().map(|stage| stage[field].clone()).collect()
        };
        assert_eq!(of(&made), of(&got), "{field}");
    }
    there.call(&["cache", "verify"]).expect(0);
    let asked = s3().requests("fresh");
    assert!(!asked.is_empty());
    assert_eq!(shared(&there, "fresh", &RUN).expect(0).results(), all("up-to-date"));
    assert_eq!(s3().requests("fresh"), asked, "what is here is not asked for");

    // one stage changes: it is made, and what it reads is not asked for
    let changed = shared(&there, "fresh", &[&RUN[..], &["--set", "train.seed=2"]].concat()).expect(0);
    assert_eq!(changed.ran(), ["train", "evaluate"]);
    let third = Project::new();
    let text = shared(&third, "fresh", &["run", "pipelines/small.ron", "--set", "train.seed=2"]).expect(0);
    assert!(text.out.starts_with("small: 0 of 5 stages ran, 5 came from the remote\n"), "{text:?}");
    assert!(text.out.contains("from the remote"), "{text:?}");
}

#[test]
fn goldens_and_sweeps_share_too() {
    let (here, there) = (Project::new(), Project::new());
    here.run(&[]);
    here.call(&["golden", "bless", "pipelines/small.ron"]).expect(0);
    shared(&here, "golden", &["cache", "push"]).expect(0);
    fs::create_dir(there.path("golden")).unwrap();
    fs::copy(here.path("golden/small.ron"), there.path("golden/small.ron")).unwrap();
    let held = shared(&there, "golden", &["golden", "check", "pipelines/small.ron", "--remote-required"]).expect(0);
    assert!(held.err.contains("train: from the remote") && !held.err.contains("runs ("), "{held:?}");

    let sweep = r#"Sweep(pipeline: "pipelines/small.ron", over: [Seed([1, 2])])"#;
    let table = |project: &Project| {
        fs::write(project.path("pipelines/grid.ron"), sweep).unwrap();
        shared(project, "golden", &["sweep", "pipelines/grid.ron", "--jobs", "2", "--json"]).expect(0)
    };
    let (made, got) = (table(&here), table(&Project::new()));
    assert!(made.err.contains("runs (") && !got.err.contains("runs ("), "{made:?} {got:?}");
    assert_eq!(made.json(), got.json());
}

#[test]
fn a_folder_needs_no_network() {
    let (here, there, folder) = (Project::new(), Project::new(), tempfile::tempdir().unwrap());
    let remote = format!("file://{}", folder.path().join("not/there/yet").display());
    let run = |project: &Project| {
        let arguments = [&RUN[..], &["--offline", "--remote-required"]].concat();
        let mut command = project.command(&arguments);
        ended({
            command.env("MTOREC_REMOTE", &remote);
            command
        })
        .expect(0)
    };
    assert_eq!(run(&here).results(), all("ran"));
    assert_eq!(run(&there).results(), all("pulled"));
}

#[test]
fn two_that_put_the_same_keys_at_once_leave_whole_artifacts() {
    let projects = [Project::new(), Project::new(), Project::new()];
    let remote = address("crowd");
    let arguments = [&RUN[..], &["--remote", &remote, "--jobs", "2"]].concat();
    let running: Vec<Running> =
        projects.iter().map(|project| Running::start(at(project, &s3().url(), &arguments))).collect();
    let runs: Vec<Value> = running.into_iter().map(|run| run.end().expect(0).json()).collect();
    assert!(runs.iter().all(|run| run["metrics"] == runs[0]["metrics"]));
    let fresh = Project::new();
    let got = shared(&fresh, "crowd", &RUN).expect(0);
    assert_eq!((got.results(), &got.json()["metrics"]), (all("pulled"), &runs[0]["metrics"]));
    fresh.call(&["cache", "verify"]).expect(0);
}

#[test]
fn a_large_file_goes_in_parts() {
    let (here, there) = (Project::new(), Project::new());
    let bytes: Vec<u8> = (0..20_000_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let store = Store::open(&here.path("")).unwrap();
    let recipe = Recipe {
        kind: "Fake".into(),
        revision: 1,
        device: None,
        parameters: BTreeMap::new(),
        inputs: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let LockAttempt::Held(lock) = store.try_lock(recipe.key(), "a test").unwrap() else { panic!("nobody holds it") };
    let draft = Draft::new(&store, &lock).unwrap();
    draft.write("large", &bytes).unwrap();
    let finished = Finished { recipe, simulated: false, summary: "large".into(), took: Duration::ZERO };
    let key = draft.commit(&lock, finished).unwrap().manifest().key;
    shared(&here, "large", &["cache", "push"]).expect(0);
    let parts = s3().requests("large").iter().filter(|asked| asked.starts_with("PUT /bucket/large/v1/files/")).count();
    assert_eq!(parts, 3);
    shared(&there, "large", &["cache", "pull"]).expect(0);
    assert!(fs::read(there.path(&format!(".mtorec/artifacts/{key}/files/large"))).unwrap() == bytes);
}

#[test]
fn a_plan_says_what_would_come() {
    let here = Project::new();
    shared(&here, "plan", &RUN).expect(0);
    let there = Project::new();
    let arguments = ["plan", "pipelines/small.ron", "--set", "evaluate.metrics=[Auc]"];
    let plan = shared(&there, "plan", &arguments).expect(0);
    assert!(plan.out.starts_with("small: 1 of 5 stages to run, 4 to come from the remote\n"), "{plan:?}");
    assert!(plan.out.contains("will come from the remote") && plan.out.contains("will run: never run"), "{plan:?}");
    let json = shared(&there, "plan", &[&arguments[..], &["--json"]].concat()).expect(0).json();
    let verdicts: Vec<&Value> = json["stages"].as_array().unwrap().iter().map(|stage| &stage["verdict"]).collect();
    assert_eq!(verdicts, ["pull", "pull", "pull", "pull", "run"]);
    assert!(!there.path(".mtorec/artifacts").exists(), "a plan gets nothing");
    let run = shared(&there, "plan", &[&["run"], &arguments[1..], &["--json"]].concat()).expect(0);
    assert_eq!(run.ran(), ["evaluate"]);

    let fresh = Project::new();
    let unasked = shared(&fresh, "plan", &[&arguments[..2], &["--offline"]].concat()).expect(0);
    assert!(unasked.out.starts_with("small: 5 of 5 stages to run\n"), "{unasked:?}");
    let mut command = at(&fresh, "http://127.0.0.1:9", &[&arguments[..2], &["--remote", "s3://bucket/x"]].concat());
    command.env("MTOREC_REMOTE_TIMEOUT", "1");
    let down = ended(command).expect(0);
    assert_eq!((warnings(&down).len(), down.out), (1, unasked.out), "{:?}", down.err);
}

#[test]
fn what_is_here_is_put_and_what_is_there_comes_by_command() {
    let (here, there) = (Project::new(), Project::new());
    here.run(&[]);
    here.run(&["--set", "train.seed=2"]);
    let put = shared(&here, "commands", &["cache", "push", "--json"]).expect(0).json();
    assert_eq!((put["put"].as_array().unwrap().len(), &put["present"]), (7, &json!(0)));
    let again = shared(&here, "commands", &["cache", "push"]).expect(0);
    assert_eq!(again.out, format!("0 artifacts put to {}, 0 B; 7 were there\n", address("commands")));

    let pulled = shared(&there, "commands", &["cache", "pull", "pipelines/small.ron", "--json"]).expect(0).json();
    let results: Vec<&Value> = pulled[0]["stages"].as_array().unwrap().iter().map(|stage| &stage["result"]).collect();
    assert_eq!(results, ["pulled"; 5]);
    assert_eq!(there.run(&[]).results(), all("up-to-date"));
    there.edit("seed: 7", "seed: 8");
    let text = shared(&there, "commands", &["cache", "pull", "pipelines/small.ron"]).expect(0);
    assert_eq!(text.out.matches("is not there").count(), 5, "{text:?}");

    let everything = shared(&there, "commands", &["cache", "pull"]).expect(0);
    assert!(
        everything.out.starts_with("2 artifacts from ") && everything.out.ends_with("; 5 were here\n"),
        "{everything:?}"
    );
    there.edit("seed: 8", "seed: 7");
    assert_eq!(there.run(&["--set", "train.seed=2"]).results(), all("up-to-date"));

    // a damaged one is not spread
    let path = here.largest_file("train");
    fs::write(&path, b"short").unwrap();
    let refused = shared(&here, "elsewhere", &["cache", "push"]).expect(1);
    assert!(refused.out.contains("damaged, not put") && refused.out.contains("6 artifacts put"), "{refused:?}");
}

#[test]
fn garbage_in_a_remote_is_collected_only_when_it_is_named() {
    let here = Project::new();
    let first = shared(&here, "garbage", &[&RUN[..], &["--set", "train.seed=2"]].concat()).expect(0).json();
    let second = shared(&here, "garbage", &RUN).expect(0).json();
    for folder in ["artifacts", "files"] {
        for entry in fs::read_dir(s3().object(&format!("garbage/v1/{folder}"))).unwrap() {
            let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(40 * 86400)).unwrap();
        }
    }
    let manifest = |run: &Value, stage| s3().object(&format!("garbage/v1/artifacts/{}.json", key(run, stage)));
    let mut local = at(&here, &s3().url(), &["cache", "gc", "--keep-days", "0"]);
    local.env("MTOREC_REMOTE", address("garbage"));
    let local = ended(local).expect(0);
    assert!(local.out.starts_with("key") && local.out.contains("2 removed"), "{local:?}");
    assert!(manifest(&first, "train").exists(), "the variable does not name a remote to collect in");

    let gc = |more: &[&str]| shared(&here, "garbage", &[&["cache", "gc"], more].concat()).expect(0);
    assert!(gc(&["--keep-days", "60"]).out.starts_with("0 artifacts and 0 files removed"));
    let dry = gc(&["--keep-days", "30", "--dry-run", "--json"]).json();
    assert!(manifest(&first, "train").exists());
    let gone = gc(&["--keep-days", "30", "--json"]).json();
    assert_eq!((&dry["removed"], &dry["bytes"]), (&gone["removed"], &gone["bytes"]));
    let keys: BTreeSet<&str> =
        gone["removed"].as_array().unwrap().iter().filter_map(|gone| gone["key"].as_str()).collect();
    assert_eq!(keys, BTreeSet::from([key(&first, "train").as_str(), key(&first, "evaluate").as_str()]));
    assert!(!manifest(&first, "train").exists() && manifest(&second, "train").exists());
    assert_eq!(shared(&Project::new(), "garbage", &RUN).expect(0).results(), all("pulled"));
}
