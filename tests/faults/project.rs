//! A project folder that is copied for every disturbed run, and the program run in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No call takes as long, unless it hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// What a call came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// By a signal.
    pub killed: bool,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.out).ok()
    }
}

pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    pub fn new() -> Self {
        let project = Self::empty();
        fs::create_dir(project.root()).expect("a new folder");
        project
    }

    /// In memory, where that can be had: a kill loses nothing that the system has, flushed or not, and flushes take time.
    fn empty() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.expect("a temporary folder") }
    }

    /// The project's folder; what belongs to the test lies beside it.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// The same files with the same times.
    pub fn copy(&self) -> Self {
        let copy = Self::empty();
        copy_folder(&self.root(), &copy.root());
        copy
    }

    /// Runs the program to its end, with or without something going wrong. `{root}` in an argument is the project's folder.
    pub fn call(&self, arguments: &[&str], fault: Option<&str>) -> Ended {
        let beside = |name: &str| self.folder.path().join(name);
        let file = |name: &str| File::create(beside(name)).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtorec"));
        command
            .current_dir(self.root())
            .args(arguments.iter().map(|argument| argument.replace("{root}", &self.root().display().to_string())))
            .env_remove("MTOREC_LOG")
            .env_remove("MTOREC_REMOTE")
            .env_remove("MTOREC_FAULT")
            .env_remove("MTOREC_FAULT_LOG")
            .env("no_proxy", "127.0.0.1")
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        if let Some(fault) = fault {
            command.env("MTOREC_FAULT_LOG", beside("passings"));
            if !fault.is_empty() {
                command.env("MTOREC_FAULT", fault);
            }
        }
        let mut child = command.spawn().expect("the program starts");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > LONGEST {
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(2));
        };
        let text = |name: &str| fs::read_to_string(beside(name)).expect("UTF-8");
        let hung = start.elapsed() > LONGEST;
        Ended {
            code: status.code(),
            killed: status.code().is_none() && !hung,
            out: text("stdout"),
            err: text("stderr") + if hung { "\n(it hung)" } else { "" },
        }
    }

    /// A call that must end well.
    pub fn expect(&self, arguments: &[&str]) -> Ended {
        let ended = self.call(arguments, None);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended
    }

    /// What the last call with a log of its points passed.
    pub fn passings(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("passings")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The folder of the artifact that a stage came to.
    pub fn artifact(&self, stage: &str) -> PathBuf {
        let record = fs::read(self.path(".mtorec/runs/faults.json")).expect("a record");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        let key = record["stages"][stage]["key"].as_str().expect("a key");
        self.path(&format!(".mtorec/artifacts/{key}"))
    }

    /// Files and folders that are there for a while only.
    pub fn leftovers(&self) -> Vec<String> {
        let root = self.root();
        let mut found = Vec::new();
        walk(&root, &mut |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let temporary = name.contains(".tmp") || name.contains(".part");
            let within = |folder: &str| path.parent() == Some(&root.join(folder));
            if temporary || [".mtorec/tmp", ".mtorec/scratch", ".mtorec/incoming"].into_iter().any(within) {
                found.push(path.strip_prefix(&root).unwrap_or(path).display().to_string());
            }
        });
        found
    }
}

fn walk(folder: &Path, with: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        with(&path);
        if path.is_dir() {
            walk(&path, with);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
            let time = fs::metadata(&path).and_then(|found| found.modified()).expect("a time");
            File::options().write(true).open(&target).and_then(|file| file.set_modified(time)).expect("a time");
        }
    }
}
