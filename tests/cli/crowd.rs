//! Ten processes on one store, killed at random: nothing is lost, and every number is the one of an undisturbed run.
//!
//! `MTOREC_LOAD_SECONDS=300 cargo test --release --test cli -- --nocapture crowd` for longer than the usual moment.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::project::{Called, Project};

/// How long the processes share a store, unless told otherwise.
const SECONDS: u64 = 6;
/// As many processes at a time.
const PROCESSES: u64 = 10;
/// Projects in which the same is run without any harm, to compare with.
const UNDISTURBED: usize = 4;
/// So long they ask for the same; then for what nobody has made yet.
const ROUND: Duration = Duration::from_secs(2);

/// The seconds that `MTOREC_LOAD_SECONDS` asks for.
pub fn seconds() -> Option<u64> {
    std::env::var("MTOREC_LOAD_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"))
}

/// What the processes of a round are asked to do; all that are asked the same come to the same.
fn calls(round: u64) -> Vec<Vec<String>> {
    let of = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let run = |seed: u64| {
        let settings = [format!("train.seed={seed}"), "train.epochs=40".into(), "train.patience=40".into()];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]).collect::<Vec<_>>();
        of(&[&["run", "pipelines/small.ron", "--json"], &settings[..]].concat())
    };
    let sweep = of(&["sweep", &format!("pipelines/round_{round}.ron"), "--json"]);
    (1..4).map(|at| run(3 * round + at)).chain([sweep]).collect()
}

/// A sweep whose cells train with seeds of their own.
fn sweep(round: u64) -> String {
    let seeds: Vec<String> = (1..4).map(|at| (1000 + 3 * round + at).to_string()).collect();
    format!(
        "Sweep(pipeline: \"pipelines/small.ron\", over: [Balancer([Famo(), PcGrad()]), Seed([{}]), \
         Set(\"train.epochs\", [20]), Set(\"train.patience\", [20])])",
        seeds.join(", ")
    )
}

fn project(rounds: u64) -> Project {
    let project = Project::new();
    for round in 0..rounds {
        fs::write(project.path(&format!("pipelines/round_{round}.ron")), sweep(round)).unwrap();
    }
    project
}

/// The numbers that a call came to.
fn numbers(arguments: &[String], called: &Called) -> Value {
    let json = called.json();
    if arguments[0] == "sweep" { json } else { json["metrics"].clone() }
}

fn call(project: &Project, arguments: &[String], more: &[&str]) -> Called {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    project.call(&arguments).expect(0)
}

/// How the processes ended, and what those came to that ended well.
#[derive(Default)]
struct Ends {
    well: usize,
    killed: usize,
    interrupted: usize,
    found: BTreeMap<Vec<String>, Value>,
}

/// Starts a process, and kills or interrupts it while it runs, or not.
fn one_of_the_crowd(project: &Project, round: u64, random: &mut ChaCha8Rng, ends: &Mutex<Ends>) {
    let verify = || ["cache", "verify"].map(str::to_owned).to_vec();
    let arguments = if random.random_ratio(1, 20) { verify() } else { calls(round).choose(random).unwrap().clone() };
    let [threads, jobs] = [(); 2].map(|()| random.random_range(1..4).to_string());
    let mut command: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if command[0] != "cache" {
        command.extend(["--jobs", &jobs]);
    }
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = project
        .command(&command)
        .env("RAYON_NUM_THREADS", threads)
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let signal = *[None, Some("KILL"), Some("KILL"), Some("INT")].choose(random).unwrap();
    let patience = Duration::from_millis(random.random_range(1..600));
    let start = Instant::now();
    while signal.is_some() && start.elapsed() < patience && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(2));
    }
    if let Some(signal) = signal.filter(|_| child.try_wait().unwrap().is_none()) {
        let process = child.id().to_string();
        let _ = Command::new("kill").args([&format!("-{signal}"), &process]).stderr(Stdio::null()).status();
    }
    let status = child.wait().unwrap();
    let text = |path| fs::read_to_string(path).unwrap();
    let called = Called { code: status.code(), out: text(&out), err: text(&err) };
    let mut ends = ends.lock().unwrap();
    match called.code {
        None => ends.killed += 1,
        Some(130) => ends.interrupted += 1,
        Some(_) => {
            let called = called.expect(0);
            ends.well += 1;
            if arguments[0] != "cache" {
                let numbers = numbers(&arguments, &called);
                let first = ends.found.entry(arguments).or_insert_with(|| numbers.clone());
                assert_eq!(numbers, *first, "{called:?}");
            }
        }
    }
}

#[test]
fn ten_processes_share_a_store_and_kills_lose_nothing() {
    let time = Duration::from_secs(seconds().unwrap_or(SECONDS));
    let rounds = time.as_secs().div_ceil(ROUND.as_secs());
    let shared = project(rounds);
    let ends = Mutex::new(Ends::default());
    let start = Instant::now();
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (shared, ends) = (&shared, &ends);
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(process);
                while start.elapsed() < time {
                    let round = start.elapsed().as_secs() / ROUND.as_secs();
                    one_of_the_crowd(shared, round.min(rounds - 1), &mut random, ends);
                }
            });
        }
    });
    let took = start.elapsed().as_secs();
    let ends = ends.into_inner().unwrap();
    let within = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(shared.path(".mtorec").join(folder)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    println!(
        "{PROCESSES} processes at a time for {took} s: {} ended well, {} were killed, {} interrupted; {} different calls; \
         {} artifacts, {} checkpoints to go on from",
        ends.well,
        ends.killed,
        ends.interrupted,
        rounds * calls(0).len() as u64,
        within("artifacts").len(),
        within("scratch").len(),
    );
    assert!(ends.killed > 0 && ends.well > 0, "some are killed, and some come to their end");
    assert!(within("damaged").is_empty(), "nobody harmed the store, so nothing in it was damaged");

    // each in the company of as many others as there are undisturbed projects
    let todo: Vec<Vec<String>> = (0..rounds).flat_map(calls).collect();
    thread::scope(|scope| {
        for part in todo.chunks(todo.len().div_ceil(UNDISTURBED)) {
            let (shared, found) = (&shared, &ends.found);
            scope.spawn(move || {
                let alone = project(rounds);
                for arguments in part {
                    let undisturbed = numbers(arguments, &call(&alone, arguments, &[]));
                    if let Some(found) = found.get(arguments) {
                        assert_eq!(*found, undisturbed, "{arguments:?}");
                    }
                    let at_last = numbers(arguments, &call(shared, arguments, &["--jobs", "2"]));
                    assert_eq!(at_last, undisturbed, "{arguments:?}");
                }
            });
        }
    });
    let verified = shared.call(&["cache", "verify"]).expect(0);
    assert!(verified.out.contains(" 0 damaged"), "{verified:?}");
    for folder in ["tmp", "scratch", "damaged"] {
        assert!(within(folder).is_empty(), "{folder} holds {:?}", within(folder));
    }
    let aside: Vec<String> = ["", "runs", "locks", "artifacts"].into_iter().flat_map(within).collect();
    assert!(!aside.iter().any(|name| name.contains(".tmp")), "{aside:?}");
}
