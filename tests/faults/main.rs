//! Every touch of the disk and the network by the store, the trainer's checkpoints, the spooled rows and the downloader, made
//! to go wrong in a run of the real program. Afterwards nothing may be lost: the next run completes, comes to the same bits,
//! the store verifies, and no temporary files stay.
//!
//! `cargo test --release --features faults --test faults -- --nocapture`: a spread of the passings of every point.
//! `MTOREC_FAULTS=all` takes every passing instead.

mod project;
mod scenarios;
#[path = "../server/mod.rs"]
#[allow(dead_code)]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use project::{Ended, Project};
use scenarios::Scenario;

/// Processes at a time.
const PROCESSES: usize = 2;
/// Passings of a point in a scenario that are tried, spread evenly from the first to the last, unless all are.
const SPREAD: usize = 4;

/// Points at which a failure is one to get over: the run may end well (and then to the same bits). Why:
const HARMLESS: [(&str, &str); 16] = [
    ("artifact.stat", "another look at the file's time only saves reading it again"),
    ("asides.open", "of files that only save time"),
    ("atomic.create", "as above"),
    ("atomic.write", "as above"),
    ("atomic.flush", "as above"),
    ("atomic.rename", "as above"),
    ("store.sync_folder", "as above"),
    ("checkpoint.read", "training starts anew"),
    ("fetch.read_note", "the file is fetched anew"),
    ("fetch.receive", "tried again"),
    ("fetch.request", "tried again"),
    ("file_digests.read", "files outside the store are read again"),
    ("lock.sign", "the lock does not say who holds it"),
    ("lock.truncate", "the same"),
    ("store.mkdir", "digests of files outside the store are not remembered"),
    ("store.remove", "the next run removes it"),
];

/// How a passing goes wrong; see `src/fault.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Fail,
    Tear,
    Cut,
    Kill,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Tear => "tear",
            Self::Cut => "cut",
            Self::Kill => "kill",
        }
    }

    /// The kinds that differ: what writes no bytes cannot tear, and to be killed before it is to be killed after the point
    /// before.
    fn of(writes: bool) -> &'static [Self] {
        if writes { &[Self::Fail, Self::Tear, Self::Cut, Self::Kill] } else { &[Self::Fail, Self::Kill] }
    }
}

/// A point of a scenario.
#[derive(Debug, Clone, Copy, Default)]
struct Passings {
    count: usize,
    writes: bool,
}

/// One disturbed run.
struct Disturbance<'a> {
    scenario: &'a Scenario,
    point: &'a str,
    nth: usize,
    kind: Kind,
}

impl Disturbance<'_> {
    fn name(&self) -> String {
        format!("{}: {}:{}:{}", self.scenario.name, self.point, self.nth, self.kind.name())
    }

    /// Runs it and what comes after; how the disturbed run ended, or what was lost.
    fn run(&self) -> Result<End, String> {
        let project = self.scenario.template.copy();
        let fault = format!("{}:{}:{}", self.point, self.nth, self.kind.name());
        let ended = project.call(&self.scenario.command, Some(&fault));
        let end = self.judge(&project, &ended).map_err(|what| format!("{what}\n{ended:?}"))?;
        self.scenario.recover(&project)?;
        Ok(end)
    }

    /// How the disturbed run ended, if as it may.
    fn judge(&self, project: &Project, ended: &Ended) -> Result<End, String> {
        if ended.err.contains("panicked") || ended.err.contains("a mistake in mtorec") {
            return Err("it panicked".into());
        }
        let well = ended.code == Some(if self.scenario.succeeds { 0 } else { 1 });
        if !project.passings().iter().any(|line| line.ends_with(" !")) {
            return if well { Ok(End::NotReached) } else { Err("undisturbed, it failed".into()) };
        }
        if matches!(self.kind, Kind::Cut | Kind::Kill) {
            return if ended.killed { Ok(End::Killed) } else { Err("it was not killed".into()) };
        }
        if !self.scenario.has_kept(project) {
            return Err("the artifact that was there is gone".into());
        }
        match ended.code {
            Some(0) if HARMLESS.iter().any(|(point, _)| *point == self.point) => {
                self.scenario.same_results(ended).map(|()| End::Well)
            }
            Some(1) if ended.err.contains("error") && ended.err.contains("a fault on purpose") => Ok(End::Failed),
            Some(1) if !self.scenario.succeeds => Ok(End::Failed),
            Some(1) => Err("it does not say what went wrong".into()),
            _ => Err("it neither ended well where it may nor with exit code 1".into()),
        }
    }
}

/// How a disturbed run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With exit code 1 and a word on what went wrong.
    Failed,
    Killed,
    /// It got over it.
    Well,
    /// It passed the point less often than the run that counted: how often a file that has just come is hashed depends on
    /// the clock, and how many pieces it comes in on the system.
    NotReached,
}

/// Which passings of a point are tried.
fn spread(count: usize, all: bool) -> Vec<usize> {
    if all || count <= SPREAD {
        return (1..=count).collect();
    }
    (0..SPREAD).map(|at| 1 + at * (count - 1) / (SPREAD - 1)).collect()
}

#[test]
fn nothing_is_lost_whatever_goes_wrong() {
    let start = Instant::now();
    let all = std::env::var("MTOREC_FAULTS").is_ok_and(|value| value == "all");
    let scenarios = scenarios::all();
    let counted: Vec<BTreeMap<String, Passings>> = scenarios.iter().map(Scenario::count).collect();

    let passed: BTreeSet<&str> = counted.iter().flat_map(|points| points.keys().map(String::as_str)).collect();
    let written = points_of_the_source();
    let missed: Vec<_> = written.iter().filter(|point| !passed.contains(point.as_str())).collect();
    assert!(missed.is_empty(), "no scenario passes {missed:?}");

    let mut todo = Vec::new();
    for (scenario, points) in scenarios.iter().zip(&counted) {
        for (point, passings) in points {
            for nth in spread(passings.count, all) {
                todo.extend(Kind::of(passings.writes).iter().map(|&kind| Disturbance { scenario, point, nth, kind }));
            }
        }
    }
    let (next, ends, lost) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                while let Some(disturbance) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match disturbance.run() {
                        Ok(end) => ends.lock().expect("no thread panicked").push((disturbance.point, end)),
                        Err(what) => {
                            let what = format!("{}: {what}", disturbance.name());
                            println!("LOST {what}");
                            lost.lock().expect("no thread panicked").push(what);
                        }
                    }
                }
            });
        }
    });

    for (scenario, points) in scenarios.iter().zip(&counted) {
        let runs = todo.iter().filter(|one| std::ptr::eq(one.scenario, scenario)).count();
        let passings: usize = points.values().map(|point| point.count).sum();
        println!(
            "{:<12} {:>3} points passed {passings:>4} times, {runs:>4} disturbed runs",
            scenario.name,
            points.len()
        );
    }
    let of = |kind: Kind| todo.iter().filter(|one| one.kind == kind).count();
    let passings: usize = counted.iter().flat_map(BTreeMap::values).map(|point| point.count).sum();
    let (ends, lost) = (ends.into_inner().expect("no panic"), lost.into_inner().expect("no panic"));
    let ended = |end: End| ends.iter().filter(|(_, other)| *other == end).count();
    println!(
        "{} points, {passings} passings{}; {} disturbed runs: {} failed, {} torn, {} cut and killed, {} killed; \
         {} ended with an error, {} were killed, {} got over it, {} did not reach the point; lost: {}, in {:.0} s",
        passed.len(),
        if all { "" } else { ", of which a spread" },
        todo.len(),
        of(Kind::Fail),
        of(Kind::Tear),
        of(Kind::Cut),
        of(Kind::Kill),
        ended(End::Failed),
        ended(End::Killed),
        ended(End::Well),
        ended(End::NotReached),
        lost.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(lost.is_empty(), "{} of {} disturbed runs lost something", lost.len(), todo.len());
    let needless: Vec<_> = HARMLESS.iter().filter(|(point, _)| !ends.contains(&(*point, End::Well))).collect();
    // a spread may leave out the one passing that counts
    assert!(!all || needless.is_empty(), "no run gets over {needless:?}: an error is expected there");
    assert!(20 * ended(End::NotReached) < todo.len(), "most disturbed runs reach their point");
}

/// The names of all points in the source.
fn points_of_the_source() -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the source") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                for call in ["fault::at(", "fault::write(", "fault::write_file("] {
                    let names = text.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
                    points.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
                }
            }
        }
    }
    assert!(points.len() > 20, "the points are found: {points:?}");
    points
}
