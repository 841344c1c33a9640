//! A project in a temporary folder with one small pipeline on simulated rows.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const PIPELINE: &str = r#"// a pipeline small enough for a test
Pipeline(
    name: "small",
    stages: {
        "download": Download(dataset: Simulated(rows: 2000, seed: 7)),
        "preprocess": Preprocess(from: "download", valid: FromTest(0.5)),
        "model": BuildModel(data: "preprocess", arch: Mmoe(experts: 2), sizes: Tiny, seed: 1),
        "train": Train(model: "model", data: "preprocess", epochs: 2, batch: 256, patience: 2, seed: 1),
        "evaluate": Evaluate(model: "train", data: "preprocess"),
    },
    golden: Golden(file: "golden/small.ron", tolerance: 0.000001),
)
"#;

/// Settings under which training lasts until it is stopped.
pub const ENDLESS: [&str; 4] = ["--set", "train.epochs=10000000", "--set", "train.patience=10000000"];

pub struct Project {
    folder: tempfile::TempDir,
}

/// What a call came to.
#[derive(Debug)]
pub struct Called {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Called {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `stage=result` of every stage, from a run's JSON.
    pub fn results(&self) -> Vec<String> {
        let json = self.json();
        let stages = json["stages"].as_array().expect("a run lists its stages");
        let word = |value: &Value| value.as_str().expect("text").to_owned();
        stages.iter().map(|stage| format!("{}={}", word(&stage["name"]), word(&stage["result"]))).collect()
    }

    /// The names of the stages that ran.
    pub fn ran(&self) -> Vec<String> {
        self.results().iter().filter_map(|text| text.strip_suffix("=ran")).map(str::to_owned).collect()
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.err.contains("panicked") && !self.err.contains("a mistake in mtorec"), "{self:?}");
        self
    }
}

impl From<Output> for Called {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Project {
    pub fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(project.path("pipelines")).expect("a new folder");
        fs::write(project.pipeline(), PIPELINE).expect("a new file");
        project
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn pipeline(&self) -> PathBuf {
        self.path("pipelines/small.ron")
    }

    /// Replaces text in the pipeline file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.pipeline()).expect("the pipeline");
        assert!(text.contains(from), "nothing to replace");
        fs::write(self.pipeline(), text.replace(from, to)).expect("the pipeline");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtorec"));
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .env_remove("MTOREC_LOG")
            .env_remove("MTOREC_REMOTE")
            .env("no_proxy", "127.0.0.1")
            .stdin(Stdio::null());
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Called {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// `mtorec run` with JSON, which must end well.
    pub fn run(&self, arguments: &[&str]) -> Called {
        self.call(&[&["run", "pipelines/small.ron", "--json"], arguments].concat()).expect(0)
    }

    /// The file of a stage's artifact that holds most bytes.
    pub fn largest_file(&self, stage: &str) -> PathBuf {
        let record = fs::read(self.path(".mtorec/runs/small.json")).expect("a record");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        let key = record["stages"][stage]["key"].as_str().expect("a key");
        let files = fs::read_dir(self.path(&format!(".mtorec/artifacts/{key}/files"))).expect("an artifact");
        let files = files.map(|entry| entry.expect("a file").path());
        files.max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("at least one file")
    }

    /// Starts a call whose standard error is followed; see [`Running::wait_for`].
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Waits until training has written a checkpoint.
    pub fn wait_for_checkpoint(&self) {
        let scratch = self.path(".mtorec/scratch");
        // under its own name: what is still being written aside is none
        wait_until("a checkpoint", || {
            let of = |key: fs::DirEntry| key.path().join("checkpoint.safetensors").exists();
            fs::read_dir(&scratch).is_ok_and(|keys| keys.flatten().any(of))
        });
    }
}

/// A call that has not ended yet.
pub struct Running {
    child: Child,
    said: std::sync::mpsc::Receiver<String>,
    heard: String,
}

impl Running {
    /// Starts a call whose standard error is followed.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (tell, said) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, said, heard: String::new() }
    }

    /// Waits until a line of standard error contains this.
    pub fn wait_for(&mut self, text: &str) {
        while let Ok(line) = self.said.recv_timeout(Duration::from_secs(60)) {
            self.heard.push_str(&line);
            self.heard.push('\n');
            if line.contains(text) {
                return;
            }
        }
        panic!("`{text}` was not said:\n{}", self.heard);
    }

    /// Sends a signal: `INT`, `KILL`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("`kill` is there").success());
    }

    pub fn end(mut self) -> Called {
        let mut out = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("UTF-8");
        let status = self.child.wait().expect("it was started");
        self.heard.extend(self.said.iter().map(|line| line + "\n"));
        Called { code: status.code(), out, err: self.heard }
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "no {what} after a minute");
        thread::sleep(Duration::from_millis(10));
    }
}
