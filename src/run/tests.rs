//! Planning and running together, on stages that only count how often they run.

mod properties;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, SystemTime};

use super::{Call, Console, Ending, How, Local, Made, Observer, Report, execute};
use crate::plan::{Graph, Plan, Record, Site, plan};
use crate::stage::fake::Fake;
use crate::stage::{Device, Outcome, StageError};
use crate::store::{FileDigests, LockAttempt, Store};

/// A project with some stages, and the names of those that ran, in order.
struct Lab {
    folder: tempfile::TempDir,
    stages: Vec<(String, Fake)>,
    ran: Arc<Mutex<Vec<String>>>,
    cancelled: AtomicBool,
    offline: bool,
    said: Arc<Mutex<Vec<u8>>>,
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lab {
    fn new(stages: &[(&str, &[&str])]) -> Self {
        let mut lab = Self {
            folder: tempfile::tempdir().unwrap(),
            stages: Vec::new(),
            ran: Arc::default(),
            cancelled: AtomicBool::new(false),
            offline: false,
            said: Arc::default(),
        };
        for (name, reads) in stages {
            lab.stages.push(((*name).to_owned(), Fake::reading(reads).with("text", name)));
            lab.act(name, || Ok(Outcome::default()));
        }
        lab
    }

    /// start → left, right → end
    fn diamond() -> Self {
        Self::new(&[("start", &[]), ("left", &["start"]), ("right", &["start"]), ("end", &["left", "right"])])
    }

    fn stage(&mut self, name: &str) -> &mut Fake {
        &mut self.stages.iter_mut().find(|(other, _)| other == name).unwrap().1
    }

    fn set(&mut self, stage: &str, parameter: &str, value: &str) {
        self.stage(stage).parameters.insert(parameter.into(), value.into());
    }

    fn act(&mut self, name: &str, act: impl Fn() -> Result<Outcome, StageError> + Send + Sync + 'static) {
        let (ran, owned) = (self.ran.clone(), name.to_owned());
        let stage = self.stage(name);
        *stage = stage.clone().acting(move |_| {
            ran.lock().unwrap().push(owned.clone());
            act()
        });
    }

    fn graph(&self) -> Graph {
        let stages = self.stages.iter().map(|(name, fake)| (name.clone(), Box::new(fake.clone()) as _));
        Graph::new("lab", stages.collect()).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path()).unwrap()
    }

    fn flags(&self, graph: &Graph, names: &[&str]) -> Vec<bool> {
        graph.nodes().iter().map(|node| names.contains(&node.name.as_str())).collect()
    }

    fn run_with(&self, jobs: usize, forced: &[&str], until: Option<&str>) -> Report {
        self.execute(jobs, forced, until, false, &())
    }

    fn execute(
        &self,
        jobs: usize,
        forced: &[&str],
        until: Option<&str>,
        keep_going: bool,
        observer: &dyn Observer,
    ) -> Report {
        let (graph, store, digests) = (self.graph(), self.store(), FileDigests::default());
        let record = Record::load(&store, "lab").unwrap();
        let call = Call {
            remote: None,
            site: Site { root: self.folder.path(), device: Device::Cpu, digests: &digests, offline: self.offline },
            keep_going,
            forced: self.flags(&graph, forced),
            selected: match until {
                Some(name) => graph.needed_for(graph.find(name).unwrap()),
                None => vec![true; graph.nodes().len()],
            },
            cancelled: &self.cancelled,
            observer,
        };
        let executor = Local { jobs: NonZeroUsize::new(jobs).unwrap() };
        execute(&graph, &store, &record, &executor, &call, &Console::lines(Log(self.said.clone()))).unwrap()
    }

    /// Runs everything and gives the names of the stages that ran.
    fn run(&self) -> Vec<String> {
        assert_eq!(self.run_with(1, &[], None).ending(), Ending::Done);
        self.ran()
    }

    /// The names of the stages that ran since the last call.
    fn ran(&self) -> Vec<String> {
        std::mem::take(&mut self.ran.lock().unwrap())
    }

    fn said(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.said.lock().unwrap())).unwrap()
    }

    fn plan_with(&self, forced: &[&str]) -> Plan {
        let (graph, store, digests) = (self.graph(), self.store(), FileDigests::default());
        let record = Record::load(&store, "lab").unwrap();
        let site = Site { root: self.folder.path(), device: Device::Cpu, digests: &digests, offline: self.offline };
        let everything = vec![true; graph.nodes().len()];
        plan(&graph, &store, &record, site, &self.flags(&graph, forced), &everything, &|_| None).unwrap()
    }

    /// The plan, a line a stage.
    fn plan(&self) -> String {
        lines(&self.plan_with(&[]))
    }

    fn words(report: &Report) -> BTreeMap<&str, &'static str> {
        report.stages.iter().map(|stage| (stage.name.as_str(), stage.result.word())).collect()
    }

    /// The file of a stage's artifact.
    fn file(&self, stage: &str) -> PathBuf {
        let record = Record::load(&self.store(), "lab").unwrap();
        let key = record.stages[stage].key.to_string();
        self.store().folder().join("artifacts").join(key).join("files").join("out")
    }

    /// Changes the first byte of a stage's file and puts its time of modification back, or an hour before.
    fn damage(&self, stage: &str, keep_time: bool) {
        let path = self.file(stage);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        let time = if keep_time { time } else { time - Duration::from_secs(3600) };
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
}

fn lines(plan: &Plan) -> String {
    plan.stages.iter().map(|stage| format!("{}: {}\n", stage.name, stage.verdict)).collect()
}

#[test]
fn a_first_run_runs_all_and_a_second_nothing() {
    let lab = Lab::diamond();
    insta::assert_snapshot!(lab.plan(), @r"
    start: will run: never run
    left: will run after `start`: never run
    right: will run after `start`: never run
    end: will run after `left`, `right`: never run
    ");
    assert_eq!(lab.run(), ["start", "left", "right", "end"]);
    insta::assert_snapshot!(lab.plan(), @r"
    start: up to date
    left: up to date
    right: up to date
    end: up to date
    ");
    assert!(lab.run().is_empty());
    assert_eq!(fs::read_to_string(lab.file("end")).unwrap(), "endleftstartrightstart");
}

#[test]
fn names_and_order_are_no_part_of_a_key() {
    let mut lab = Lab::diamond();
    lab.run();
    lab.stages.reverse();
    for (name, _) in &mut lab.stages {
        if name == "left" {
            *name = "renamed".to_owned();
        }
    }
    lab.stage("end").reads[0] = "renamed".to_owned();
    assert!(lab.run().is_empty());
    let record = Record::load(&lab.store(), "lab").unwrap();
    assert!(record.stages.contains_key("renamed") && !record.stages.contains_key("left"));
}

#[test]
fn a_change_runs_what_depends_on_it_and_the_plan_says_why() {
    let mut lab = Lab::diamond();
    lab.set("left", "seed", "1");
    lab.run();
    lab.set("left", "seed", "2");
    lab.set("left", "text", "LEFT");
    insta::assert_snapshot!(lab.plan(), @r"
    start: up to date
    left: will run: seed: 1 → 2, text: left → LEFT
    right: up to date
    end: will run if `left` changes
    ");
    assert_eq!(lab.run(), ["left", "end"]);
    lab.set("left", "seed", "1");
    lab.set("left", "text", "left");
    assert!(lab.run().is_empty(), "the artifacts of earlier parameters are still there");
}

#[test]
fn a_change_that_yields_the_same_bytes_stops_there() {
    let mut lab = Lab::diamond();
    lab.run();
    lab.stage("start").revision = 2;
    insta::assert_snapshot!(lab.plan(), @r"
    start: will run: implementation revision: 1 → 2
    left: will run if `start` changes
    right: will run if `start` changes
    end: will run if `left`, `right` change
    ");
    assert_eq!(lab.run(), ["start"]);
}

#[test]
fn files_outside_the_store_are_watched() {
    let mut lab = Lab::diamond();
    let csv = lab.folder.path().join("train.csv");
    fs::write(&csv, "1").unwrap();
    lab.stage("start").external = Some(csv.clone());
    lab.run();
    fs::write(&csv, "2").unwrap();
    let plan = lab.plan();
    assert!(plan.starts_with("start: will run: file train: "), "{plan}");
    assert_eq!(lab.run(), ["start"]);

    fs::remove_file(&csv).unwrap();
    let plan = lab.plan();
    assert!(plan.starts_with("start: cannot run: cannot read"), "{plan}");
    assert!(plan.ends_with("end: cannot run without `start`\n"), "{plan}");
    let report = lab.run_with(1, &[], None);
    assert_eq!(report.ending(), Ending::Failed);
    assert_eq!(Lab::words(&report)["end"], "blocked");
}

#[test]
fn what_is_not_there_is_fetched_before_its_key_is_known() {
    let mut lab = Lab::new(&[("data", &[]), ("use", &["data"])]);
    let file = lab.folder.path().join("train.csv");
    let data = lab.stage("data");
    (data.external, data.fetched) = (Some(file.clone()), Some(file.clone()));

    let fetches = format!("data: will run: fetches `{}`\nuse: will run after `data`: never run\n", file.display());
    assert_eq!(lab.plan(), fetches);
    assert!(!file.exists(), "planning fetches nothing");
    lab.offline = true;
    assert!(
        lab.plan().starts_with("data: cannot run: ") && lab.plan().contains("`--offline` forbids"),
        "{}",
        lab.plan()
    );
    assert_eq!(lab.run_with(1, &[], None).ending(), Ending::Failed);
    assert!(!file.exists() && lab.ran().is_empty());

    lab.offline = false;
    assert_eq!(lab.run(), ["data", "use"]);
    assert!(lab.run().is_empty(), "the key is that of the file");
    // once more to the same bytes: the artifacts are there already
    fs::remove_file(&file).unwrap();
    assert!(lab.plan().starts_with("data: will run: fetches"), "{}", lab.plan());
    assert!(lab.run().is_empty() && file.exists());
    lab.offline = true;
    assert!(lab.run().is_empty(), "what is there needs no network");
}

#[test]
fn a_file_that_changes_under_a_running_stage_fails_it() {
    let mut lab = Lab::new(&[("start", &[])]);
    let csv = lab.folder.path().join("train.csv");
    fs::write(&csv, "1").unwrap();
    lab.stage("start").external = Some(csv.clone());
    lab.act("start", move || {
        fs::write(&csv, "22").unwrap();
        Ok(Outcome::default())
    });
    let report = lab.run_with(1, &[], None);
    assert_eq!(report.ending(), Ending::Failed);
    assert!(lab.store().keys().unwrap().is_empty(), "no artifact under a key that is not its own");
}

#[test]
fn forced_stages_run_from_their_beginning_and_equal_bytes_stop_there() {
    let lab = Lab::diamond();
    lab.run();
    insta::assert_snapshot!(lines(&lab.plan_with(&["left"])), @r"
    start: up to date
    left: will run: forced
    right: up to date
    end: will run if `left` changes
    ");
    assert_eq!(lab.run_with(1, &["left"], None).ending(), Ending::Done);
    assert_eq!(lab.ran(), ["left"]);
}

#[test]
fn until_leaves_out_what_is_not_needed() {
    let lab = Lab::diamond();
    let report = lab.run_with(1, &[], Some("right"));
    assert_eq!(report.ending(), Ending::Done);
    assert_eq!(lab.ran(), ["start", "right"]);
    assert_eq!(Lab::words(&report)["left"], "left-out");
    assert_eq!(lab.run(), ["left", "end"]);
}

#[test]
fn visible_damage_is_said_and_mended() {
    let lab = Lab::diamond();
    lab.run();
    let good = fs::read(lab.file("left")).unwrap();
    lab.damage("left", false);
    insta::assert_snapshot!(lab.plan(), @r"
    start: up to date
    left: will run: artifact damaged: the bytes of `out` have changed
    right: up to date
    end: will run if `left` changes
    ");
    assert_eq!(lab.run(), ["left"]);
    assert!(lab.said().contains("warning: left: its artifact is damaged"));
    assert_eq!(fs::read(lab.file("left")).unwrap(), good);
    assert!(lab.run().is_empty());
}

#[test]
fn hidden_damage_is_found_and_mended_when_a_stage_reads_it() {
    let mut lab = Lab::diamond();
    lab.run();
    lab.damage("left", true);
    assert!(lab.run().is_empty(), "nobody reads it");
    lab.set("end", "text", "END");
    assert_eq!(lab.run(), ["left", "end"]);
    assert!(lab.said().contains("warning: left: its artifact is damaged (the bytes of `out` have changed)"));
    assert_eq!(fs::read_to_string(lab.file("end")).unwrap(), "ENDleftstartrightstart");
}

#[test]
fn a_failure_stops_what_depends_on_it_and_on_request_nothing_else() {
    let mut lab = Lab::diamond();
    lab.act("left", || Err(StageError::failed("row 7 is no number").hint("look at it")));
    let report = lab.run_with(1, &[], None);
    assert_eq!(report.ending(), Ending::Failed, "nobody interrupted it");
    let mut expected =
        BTreeMap::from([("end", "blocked"), ("left", "failed"), ("right", "not-started"), ("start", "ran")]);
    assert_eq!(Lab::words(&report), expected);
    let json = report.stages_json();
    let left = json.as_array().unwrap().iter().find(|stage| stage["name"] == "left").unwrap();
    assert_eq!(left["error"], serde_json::json!(["row 7 is no number"]));
    assert_eq!(left["hint"], "look at it");
    let tmp = lab.store().folder().join("tmp");
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "nothing half-written stays");

    let report = lab.execute(1, &[], None, true, &());
    assert_eq!(report.ending(), Ending::Failed);
    expected.extend([("right", "ran"), ("start", "up-to-date")]);
    assert_eq!(Lab::words(&report), expected);
    lab.ran();
    lab.act("left", || Ok(Outcome::default()));
    assert_eq!(lab.run(), ["left", "end"]);
}

#[test]
fn after_a_failure_stages_that_run_come_to_their_end() {
    let mut lab = Lab::new(&[("bad", &[]), ("good", &[]), ("late", &["good"]), ("other", &[])]);
    // `bad` fails once `good` runs, and `good` ends once the failure has been said
    let both = Arc::new(Barrier::new(2));
    let (here, said) = (both.clone(), lab.said.clone());
    lab.act("bad", move || {
        here.wait();
        Err(StageError::failed("as it must"))
    });
    lab.act("good", move || {
        both.wait();
        let deadline = SystemTime::now() + Duration::from_secs(20);
        while !String::from_utf8_lossy(&said.lock().unwrap()).contains("bad: failed") {
            assert!(SystemTime::now() < deadline, "the failure is not said");
            std::thread::sleep(Duration::from_millis(5));
        }
        // the other worker finds out that nothing more starts
        std::thread::sleep(Duration::from_millis(100));
        Ok(Outcome::default())
    });
    let report = lab.run_with(2, &[], None);
    assert_eq!(report.ending(), Ending::Failed);
    let expected = [("bad", "failed"), ("good", "ran"), ("late", "not-started"), ("other", "not-started")];
    assert_eq!(Lab::words(&report), BTreeMap::from(expected));
}

#[test]
fn an_observer_hears_of_every_stage_that_is_settled() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Observer for Heard {
        fn made(&self, stage: &str, made: &Made) {
            let how = if matches!(made.how, How::Ran { .. }) { "ran" } else { "was there" };
            self.0.lock().unwrap().push(format!("{stage} {how}"));
        }
        fn failed(&self, stage: &str) {
            self.0.lock().unwrap().push(format!("{stage} failed"));
        }
    }
    let mut lab = Lab::diamond();
    lab.run_with(1, &[], Some("left"));
    lab.act("right", || Err(StageError::failed("as it must")));
    let heard = Heard::default();
    lab.execute(1, &[], None, false, &heard);
    assert_eq!(*heard.0.lock().unwrap(), ["start was there", "left was there", "right failed"]);
    heard.0.lock().unwrap().clear();
    lab.act("right", || Err(StageError::Interrupted));
    lab.execute(1, &[], None, true, &heard);
    assert_eq!(*heard.0.lock().unwrap(), ["start was there", "left was there"], "an interruption is no failure");
}

#[test]
fn an_interrupted_stage_keeps_its_checkpoints_and_the_next_run_goes_on() {
    let mut lab = Lab::diamond();
    let resumed = Arc::new(AtomicBool::new(false));
    let seen = resumed.clone();
    let stage = lab.stage("left");
    *stage = stage.clone().acting(move |cx| {
        let checkpoint = cx.scratch.join("checkpoint");
        seen.store(checkpoint.exists(), Ordering::SeqCst);
        fs::write(&checkpoint, "epoch 3").unwrap();
        if !seen.load(Ordering::SeqCst) {
            // As if the user pressed Ctrl-C just now.
            return Err(StageError::Interrupted);
        }
        Ok(Outcome::default())
    });
    let report = lab.run_with(1, &[], None);
    assert_eq!(report.ending(), Ending::Interrupted);
    assert_eq!(Lab::words(&report)["left"], "interrupted");
    insta::assert_snapshot!(lab.plan(), @r"
    start: up to date
    left: will run: never run, goes on from a checkpoint
    right: up to date
    end: will run after `left`: never run
    ");
    lab.run();
    assert!(resumed.load(Ordering::SeqCst));
    let scratch = lab.store().folder().join("scratch");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "checkpoints go when the artifact is complete");
    assert_eq!(lab.run_with(1, &["left"], None).ending(), Ending::Interrupted, "a forced stage starts afresh");
}

#[test]
fn a_cancelled_run_starts_nothing_more() {
    let lab = Lab::diamond();
    lab.cancelled.store(true, Ordering::SeqCst);
    let report = lab.run_with(2, &[], None);
    assert_eq!(report.ending(), Ending::Interrupted);
    assert!(lab.ran().is_empty());
    assert_eq!(Lab::words(&report)["start"], "not-started");
}

#[test]
fn independent_stages_run_side_by_side_and_come_to_the_same() {
    let mut alone = Lab::diamond();
    alone.run();
    let mut lab = Lab::diamond();
    // Each of the two waits until the other runs too.
    let both = Arc::new(Barrier::new(2));
    for name in ["left", "right"] {
        let both = both.clone();
        lab.act(name, move || {
            both.wait();
            Ok(Outcome::default())
        });
    }
    assert_eq!(lab.run_with(4, &[], None).ending(), Ending::Done);
    assert_eq!(fs::read(lab.file("end")).unwrap(), fs::read(alone.file("end")).unwrap());
    let ran = lab.ran();
    assert_eq!((ran[0].as_str(), ran[3].as_str()), ("start", "end"));
    alone.set("end", "text", "x");
    assert_eq!(alone.run_with(3, &[], None).ending(), Ending::Done);
}

#[test]
fn equal_stages_are_made_once_even_side_by_side() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut lab = Lab::new(&[("one", &[]), ("two", &[]), ("three", &[])]);
    for name in ["one", "two", "three"] {
        lab.set(name, "text", "same");
        let count = count.clone();
        lab.act(name, move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(150));
            Ok(Outcome::default())
        });
    }
    assert_eq!(lab.run_with(3, &[], None).ending(), Ending::Done);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(lab.said().contains("waits for process"));
}

#[test]
fn a_run_that_waits_for_a_lock_says_so_and_can_be_stopped() {
    let lab = Lab::new(&[("start", &[])]);
    lab.run();
    let key = Record::load(&lab.store(), "lab").unwrap().stages["start"].key;
    let LockAttempt::Held(_lock) = lab.store().try_lock(key, "other/train").unwrap() else { panic!("nobody holds it") };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.run_with(1, &["start"], None).ending());
        let deadline = SystemTime::now() + Duration::from_secs(20);
        while !String::from_utf8_lossy(&lab.said.lock().unwrap()).contains("which makes it as `other/train`") {
            assert!(SystemTime::now() < deadline, "it does not say what it waits for");
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.cancelled.store(true, Ordering::SeqCst);
        assert_eq!(waiting.join().unwrap(), Ending::Interrupted);
    });
}

#[test]
fn the_simulated_mark_reaches_everything_made_from_it() {
    let mut lab = Lab::diamond();
    lab.act("left", || Ok(Outcome { simulated: true, summary: "made up".into() }));
    let report = lab.run_with(1, &[], None);
    let marks: Vec<bool> = report.stages.iter().map(|s| s.made().unwrap().artifact.manifest().simulated).collect();
    assert_eq!(marks, [false, true, false, true]);
    assert!(report.simulated());
    // The same bytes from real data: what was made from them loses its mark.
    lab.ran();
    lab.stage("left").revision = 2;
    lab.act("left", || Ok(Outcome::default()));
    assert_eq!(lab.run(), ["left", "end"]);
}

#[test]
fn a_full_disk_fails_the_stage_and_leaves_nothing() {
    let mut lab = Lab::diamond();
    lab.act("left", || {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        Err(StageError::Io { action: "cannot write", path: "out".into(), source })
    });
    assert_eq!(lab.run_with(1, &[], None).ending(), Ending::Failed);
    assert_eq!(fs::read_dir(lab.store().folder().join("tmp")).unwrap().count(), 0);
    assert_eq!(lab.store().keys().unwrap().len(), 1, "what was made before stays");
}

#[test]
fn a_record_that_cannot_be_written_hides_nothing_else() {
    let mut lab = Lab::diamond();
    let runs = lab.store().folder().join("runs");
    lab.act("left", move || {
        fs::remove_dir_all(&runs).unwrap();
        fs::write(&runs, "in the way").unwrap();
        Err(StageError::failed("its own trouble"))
    });
    let report = lab.run_with(1, &[], Some("left"));
    assert_eq!(report.ending(), Ending::Failed);
    assert!(report.unrecorded.is_some());
    assert_eq!(Lab::words(&report)["left"], "failed");
}
