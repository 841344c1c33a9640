//! A project whose stages are jobs of a real Slurm, what Slurm knows of them, and stand-ins for Slurm's commands.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::project::{Called, Project, wait_until};

static TURNS: RwLock<()> = RwLock::new(());

enum Turn {
    #[allow(dead_code, reason = "it is held")]
    Beside(RwLockReadGuard<'static, ()>),
    #[allow(dead_code, reason = "it is held")]
    Alone(RwLockWriteGuard<'static, ()>),
    Whenever,
}

/// A small pipeline in a project of its own; its jobs go with it.
pub struct Cluster {
    project: Project,
    _turn: Turn,
}

/// A job that waits or runs.
#[derive(Debug, PartialEq)]
pub struct Queued {
    pub id: String,
    pub name: String,
    pub state: String,
}

impl Cluster {
    /// Beside other tests that leave Slurm as it is.
    pub fn new() -> Option<Self> {
        Self::with(|| Turn::Beside(TURNS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// With nobody else, to do with Slurm what one likes.
    pub fn alone() -> Option<Self> {
        Self::with(|| Turn::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Beside anybody: whatever is done to Slurm only makes it take longer.
    pub fn whenever() -> Option<Self> {
        Self::with(|| Turn::Whenever)
    }

    fn with(turn: impl FnOnce() -> Turn) -> Option<Self> {
        // another Slurm, which others use, is not for tests
        if std::env::var_os("SLURM_HOME").is_none() {
            println!("skipped: no Slurm was started by `.ci/slurm start`");
            return None;
        }
        let turn = turn();
        if !Command::new("sinfo").output().is_ok_and(|output| output.status.success()) {
            println!("skipped: Slurm does not answer");
            return None;
        }
        Some(Self { project: Project::new(), _turn: turn })
    }

    /// `mtorec run --on slurm --json`.
    pub fn submit(&self, arguments: &[&str]) -> Called {
        self.call(&[&["run", "pipelines/small.ron", "--on", "slurm", "--json"], arguments].concat())
    }

    /// What one of Slurm's commands prints, which must end well; beside other tests the controller may be away for a while.
    pub fn slurm(&self, program: &str, arguments: &[&str]) -> String {
        let mut printed = Vec::new();
        wait_until(&format!("good end of {program} {arguments:?}"), || {
            let output = Command::new(program).args(arguments).output().expect("Slurm's commands are there");
            printed = output.stdout;
            output.status.success()
        });
        String::from_utf8(printed).expect("UTF-8")
    }

    fn jobs(&self, states: &str) -> Vec<Queued> {
        let state = format!("--states={states}");
        let printed = self.slurm("squeue", &["--me", "--noheader", "--array", &state, "--format=%F_%K|%j|%T|%Z"]);
        let root = self.path("").to_str().expect("UTF-8").trim_end_matches('/').to_owned();
        let job = |line: &str| {
            let [id, name, state, folder] = line.splitn(4, '|').collect::<Vec<_>>()[..] else { return None };
            let job = Queued { id: id.to_owned(), name: name.to_owned(), state: state.to_owned() };
            folder.starts_with(&root).then_some(job)
        };
        printed.lines().filter_map(job).collect()
    }

    /// This project's jobs that wait, run or are about to end.
    pub fn queue(&self) -> Vec<Queued> {
        self.jobs("PENDING,RUNNING,SUSPENDED,COMPLETING,CONFIGURING")
    }

    /// How many jobs were ever submitted for this project, as far as Slurm remembers.
    pub fn ever(&self) -> usize {
        self.jobs("all").len()
    }

    /// The number of the job of this kind that runs, once one does.
    pub fn running(&self, kind: &str) -> String {
        let mut found = None;
        wait_until("running job", || {
            found = self.queue().into_iter().find(|job| job.state == "RUNNING" && job.name.starts_with(kind));
            found.is_some()
        });
        found.expect("it was found").id
    }

    /// A process of a job of this project that has trained for two epochs, once there is one, and its environment.
    pub fn process(&self) -> (String, String) {
        let jobs = self.path(".mtorec/jobs").to_str().expect("UTF-8").to_owned();
        let training = |process: PathBuf| {
            let line = fs::read_to_string(process.join("cmdline")).ok()?;
            let [program, "job", folder, array, task, ..] = line.split('\0').collect::<Vec<_>>()[..] else {
                return None;
            };
            let log = format!("{folder}/logs/{array}-{task}.log");
            if !program.starts_with(&jobs) || fs::read_to_string(log).ok()?.matches("  train loss ").count() < 2 {
                return None;
            }
            let environment = fs::read_to_string(process.join("environ")).ok()?;
            Some((process.file_name()?.to_str()?.to_owned(), environment))
        };
        let mut found = None;
        wait_until("training", || {
            let processes = fs::read_dir("/proc").expect("processes").flatten();
            found = processes.map(|entry| entry.path()).find_map(training);
            found.is_some()
        });
        found.expect("it was found")
    }

    /// Kills a process that trains, as the kernel does when memory is short.
    pub fn kill_process(&self) {
        let (process, _) = self.process();
        assert!(Command::new("kill").args(["-KILL", &process]).status().expect("`kill` is there").success());
    }

    /// How often jobs of this project were put back into the queue.
    pub fn restarts(&self) -> usize {
        let folder = self.path("");
        let folder = format!("WorkDir={} ", folder.display().to_string().trim_end_matches('/'));
        let jobs = self.slurm("scontrol", &["show", "job", "--oneliner"]);
        let own = jobs.lines().filter(|job| job.contains(&folder));
        own.filter_map(|job| job.split_once(" Restarts=")?.1.split(' ').next()?.parse::<usize>().ok()).sum()
    }

    /// Waits until so many trainings went on from a checkpoint after their jobs were put back into the queue.
    pub fn wait_for_resumption(&self, times: usize) {
        let start = Instant::now();
        wait_until("resumed training", || {
            // Slurm lets jobs wait that were put back, lest a late word of their end be taken for one of their new start: by
            // default for two minutes
            if start.elapsed() > Duration::from_secs(20) {
                for Queued { id, .. } in self.queue().into_iter().filter(|job| job.state == "PENDING") {
                    let _ = Command::new("scontrol").args(["update", &format!("JobId={id}"), "StartTime=now"]).output();
                }
            }
            thread::sleep(Duration::from_millis(200));
            self.logs().matches("resuming after epoch").count() >= times && self.restarts() >= times
        });
    }

    pub fn node(&self) -> String {
        self.slurm("sinfo", &["--noheader", "--format=%n"]).lines().next().expect("a node").trim().to_owned()
    }

    /// Changes the node's state.
    pub fn set_node(&self, state: &str) {
        let (node, state) = (format!("NodeName={}", self.node()), format!("State={state}"));
        self.slurm("scontrol", &["update", &node, &state, "Reason=test"]);
    }

    /// Lets the node work, if it does not already.
    pub fn resume_node(&self) {
        wait_until("node that works", || {
            let (node, state) = (format!("NodeName={}", self.node()), "State=RESUME");
            let _ = Command::new("scontrol").args(["update", &node, state]).output();
            let states = self.slurm("sinfo", &["--noheader", "--format=%T"]);
            states.lines().all(|state| matches!(state, "idle" | "mixed" | "allocated"))
        });
    }

    /// How many artifacts there are.
    pub fn made(&self) -> usize {
        fs::read_dir(self.path(".mtorec/artifacts")).map_or(0, Iterator::count)
    }

    /// The folders of submissions that have not come to an end.
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.path(".mtorec/jobs")).into_iter().flatten().flatten();
        folders.map(|folder| folder.path()).filter(|folder| !folder.join("ended").exists()).collect()
    }

    /// The folder of the one submission that is there.
    pub fn submission(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.path(".mtorec/jobs")).expect("submissions").flatten();
        let folder = folders.next().expect("a submission").path();
        assert!(folders.next().is_none(), "there is one");
        folder
    }

    /// The stages of the one submission that is there.
    pub fn submitted(&self) -> Vec<String> {
        let arrays = fs::read(self.submission().join("arrays.json")).expect("its arrays");
        let arrays: Vec<Value> = serde_json::from_slice(&arrays).expect("JSON");
        let stages = |array: &Value| -> Vec<String> {
            let tasks = array["tasks"].as_object().expect("tasks").values();
            tasks.map(|stage| stage.as_str().expect("a name").to_owned()).collect()
        };
        arrays.iter().flat_map(stages).collect()
    }

    /// All that jobs of this project's submissions printed; those before the last that came to an end are gone.
    pub fn logs(&self) -> String {
        let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = entries(self.path(".mtorec/jobs")).flat_map(|submission| entries(submission.join("logs")));
        // a folder may go while it is read
        logs.filter_map(|log| fs::read_to_string(log).ok()).collect()
    }

    /// Puts a script in the place of one of Slurm's commands for calls that get this search path; `REAL` within it is the
    /// command itself, `COUNT` how often it has been called.
    pub fn stand_in(&self, program: &str, script: &str) -> String {
        let folder = self.path("bin");
        fs::create_dir_all(&folder).expect("a new folder");
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().expect("a shell");
        let real = String::from_utf8(found.stdout).expect("UTF-8");
        let calls = folder.join(format!("{program}.calls"));
        let (calls, real) = (calls.display(), real.trim());
        let text = format!("#!/bin/bash\necho >>'{calls}'\nCOUNT=$(wc -l <'{calls}')\nREAL={real}\n{script}\n");
        fs::write(folder.join(program), text).expect("a new file");
        fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).expect("a program");
        format!("{}:{}", folder.display(), std::env::var("PATH").expect("a search path"))
    }

    /// How often a stand-in was called.
    pub fn calls(&self, program: &str) -> usize {
        fs::read_to_string(self.path("bin").join(format!("{program}.calls"))).map_or(0, |calls| calls.lines().count())
    }

    /// A call with another search path.
    pub fn call_with_path(&self, path: &str, arguments: &[&str]) -> Called {
        self.command(arguments).env("PATH", path).output().expect("the program starts").into()
    }

    /// Nothing of this project waits or runs, in Slurm or on the disk.
    pub fn expect_nothing_left(&self) {
        wait_until("empty queue", || self.queue().is_empty());
        assert_eq!(self.unfinished(), Vec::<PathBuf>::new());
    }
}

impl Deref for Cluster {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.project
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for Queued { id, .. } in self.queue() {
            let _ = Command::new("scancel").arg(id).output();
        }
    }
}
