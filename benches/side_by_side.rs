//! Ours and PyTorch side by side: the same work, in turn, in one go; prints medians, ratios and peak memory.
//!
//! `cargo bench --bench side_by_side -- --python PYTHON` (a Python with torch, numpy and pandas; see `benches/README.md`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use mtorec::balance::Balancer;
use mtorec::balance::gram::NashMtl;
use mtorec::balance::loss::Ls;
use mtorec::balance::update::Pub;
use mtorec::data::{Field, Parts, RawBatch, Rows, Schema, batches, epoch_order};
use mtorec::model::{Aitm, Arch, Mmoe, Network, Ple, SharedBottom, Sizes, Stem};
use mtorec::optim::Adam;
use mtorec::stage::evaluate::predict;
use mtorec::stage::loading::for_each_batch;
use mtorec::stage::train::Trainer;
#[cfg(feature = "cuda")]
use mtorec::tensor::Cuda;
use mtorec::tensor::{Cpu, Kernels, Workspace};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Rows of a batch, and what a row holds: the sizes of the processed AliExpress log.
const BATCH: usize = 2048;
const FIELDS: usize = 16;
const IDS: usize = 31;
const NUMERICAL: usize = 63;
/// Ids of the one field that some cases add.
const WIDE: usize = 1_000_000;
const WARM_UP: usize = 3;
const STEPS: usize = 12;
/// Rows of a batch on a GPU, and steps there: short ones, so more of them.
const GPU_BATCHES: [usize; 2] = [2048, 16384];
const GPU_STEPS: usize = 100;
/// Rows of an epoch, and of an evaluation.
const ROWS: usize = 40 * BATCH;
/// Rows of the logs to preprocess: a short one, and one in which what is done once for any log no longer counts.
const LOGS: [usize; 2] = [80_000, 800_000];

/// Times mtorec against PyTorch.
#[derive(Parser)]
struct Arguments {
    /// A Python with torch, numpy and pandas; without one only our side is timed.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only works whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// How often the two sides take turns; medians over all turns are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Also preprocess a log of this many rows.
    #[arg(long, value_name = "N")]
    log_rows: Option<usize>,
    /// Also time PyTorch's steps under `torch.compile`, which takes a minute to compile each.
    #[arg(long)]
    compile: bool,
    /// Where both sides compute: `cpu`, or `cuda` in a build with that feature.
    #[arg(long, default_value = "cpu", value_parser = if cfg!(feature = "cuda") { vec!["cpu", "cuda"] } else { vec!["cpu"] })]
    device: String,
    /// Times one work in this process and prints JSON.
    #[arg(long, hide = true)]
    one: Option<String>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// One training step, the batch in memory.
    Step,
    /// One epoch: shuffling, loading, training steps.
    Epoch,
    /// Scores of many rows.
    Evaluation,
    /// CSV files of this many rows to an encoded data set on disk.
    Preprocessing(usize),
}

#[derive(Debug, Clone)]
struct Work {
    kind: Kind,
    model: &'static str,
    method: &'static str,
    wide: usize,
    weight_decay: f64,
    batch: usize,
    gpu: bool,
}

impl Work {
    fn name(&self) -> String {
        let wide = if self.wide > 0 { ", +1M ids" } else { "" };
        let decay = if self.weight_decay == 0.0 { ", no decay" } else { "" };
        match self.kind {
            Kind::Step if self.gpu => format!("{} {} step, batch {}", self.model, self.method, self.batch),
            Kind::Step => format!("{} {} step{wide}{decay}", self.model, self.method),
            Kind::Epoch => format!("{} {} epoch of {ROWS} rows", self.model, self.method),
            Kind::Evaluation => format!("{} evaluation of {ROWS} rows", self.model),
            Kind::Preprocessing(rows) => format!("preprocessing of {rows} rows"),
        }
    }

    fn first() -> Self {
        let (batch, weight_decay) = (BATCH, 1e-6);
        Self { kind: Kind::Step, model: "Mmoe", method: "Ls", wide: 0, weight_decay, batch, gpu: false }
    }

    /// What is timed on a GPU.
    fn on_gpu() -> Vec<Self> {
        let mut all = Vec::new();
        for batch in GPU_BATCHES {
            for model in ["SharedBottom", "Mmoe", "Ple"] {
                all.extend(["Ls", "NashMtl"].map(|method| Self { model, method, batch, gpu: true, ..Self::first() }));
            }
        }
        all
    }

    /// What is timed on the processor.
    fn on_cpu(log_rows: Option<usize>) -> Vec<Self> {
        let mut all = Vec::new();
        let step = Self::first();
        for model in ["SharedBottom", "Mmoe", "Ple", "Aitm", "Stem"] {
            for method in ["Ls", "NashMtl"] {
                all.push(Self { model, method, ..step });
            }
        }
        for model in ["SharedBottom", "Mmoe"] {
            all.push(Self { model, method: "Pub", ..step });
        }
        all.push(Self { wide: WIDE, ..step });
        all.push(Self { wide: WIDE, weight_decay: 0.0, ..step });
        all.push(Self { kind: Kind::Epoch, ..step });
        all.push(Self { kind: Kind::Evaluation, ..step });
        let logs = LOGS.into_iter().chain(log_rows);
        all.extend(logs.map(|rows| Self { kind: Kind::Preprocessing(rows), ..step }));
        all
    }

    fn arch(&self) -> Arch {
        match self.model {
            "SharedBottom" => SharedBottom::default().into(),
            "Ple" => Ple::default().into(),
            "Aitm" => Aitm::default().into(),
            "Stem" => Stem::default().into(),
            _ => Mmoe::default().into(),
        }
    }

    fn balancer(&self) -> Balancer {
        match self.method {
            "Ls" => Ls::default().into(),
            "Pub" => Pub::default().into(),
            _ => NashMtl::default().into(),
        }
    }

    fn schema(&self) -> Schema {
        let sizes = std::iter::repeat_n(IDS, FIELDS).chain((self.wide > 0).then_some(self.wide));
        Schema {
            fields: sizes
                .enumerate()
                .map(|(f, size)| Field { name: format!("f{f}"), size, out_of_vocabulary: None })
                .collect(),
            numerical: (0..NUMERICAL).map(|j| format!("x{j}")).collect(),
            tasks: vec!["click".into(), "conversion".into()],
        }
    }

    /// Random rows in row-major order; labels task after task of a row.
    fn rows(&self, rows: usize) -> Parts {
        let schema = self.schema();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let ids = |_| schema.fields.iter().map(|field| rng.random_range(0..field.size as u32)).collect::<Vec<_>>();
        let categorical = (0..rows).flat_map(ids).collect();
        let numerical = (0..rows * NUMERICAL).map(|_| rng.random()).collect();
        let labels = (0..rows * 2).map(|_| u8::from(rng.random_bool(0.05))).collect();
        Parts { categorical, numerical, labels, ..Parts::default() }
    }

    fn network<D: Kernels>(&self, device: &D) -> Network<D> {
        Network::build(&self.arch(), &Sizes::Paper, &self.schema(), 1, device).expect("a model that fits")
    }

    fn trainer<D: Kernels>(&self, device: &D) -> Trainer<D> {
        let network = self.network(device);
        let method = self.balancer().build(network.tasks()).expect("a balancer for two tasks");
        Trainer::new(network, Adam { weight_decay: self.weight_decay, ..Adam::default() }, method, 1)
    }

    /// Seconds of our side.
    fn ours(&self) -> f64 {
        match self.kind {
            Kind::Step if self.gpu => self.our_step_on_gpu(),
            Kind::Step => self.our_step(&Cpu::default()),
            Kind::Epoch => self.our_epoch(),
            Kind::Evaluation => self.our_evaluation(),
            Kind::Preprocessing(_) => panic!("runs the binary"),
        }
    }

    /// Seconds of a step, indexing the batch's ids and bringing it to the device included: the median on the processor,
    /// and the mean on a GPU, which works behind the program, so that single steps have no end of their own.
    fn our_step<D: Kernels>(&self, device: &D) -> f64 {
        let workspace = Workspace::new(device);
        let Parts { categorical, numerical, labels, .. } = self.rows(self.batch);
        let by_task = |task: usize| labels.iter().skip(task).step_by(2).map(|label| f32::from(*label));
        let labels = by_task(0).chain(by_task(1)).collect();
        let raw = RawBatch { rows: self.batch, categorical, numerical, labels };
        let mut trainer = self.trainer(device);
        let mut slot = trainer.network.batch_slot(&self.schema());
        let mut step = || {
            let start = Instant::now();
            let report = trainer.step(slot.load(&raw, 1), 0, false, &workspace);
            assert!(report.losses.iter().all(|loss| loss.is_finite()));
            start.elapsed().as_secs_f64()
        };
        if !self.gpu {
            return median(std::iter::repeat_with(step).take(WARM_UP + STEPS).skip(WARM_UP).collect());
        }
        (0..WARM_UP).for_each(|_| _ = step());
        let rest = device.zeros(1);
        device.download(&rest);
        let start = Instant::now();
        (0..GPU_STEPS).for_each(|_| _ = step());
        device.download(&rest);
        assert!(device.fault().is_none(), "{:?}", device.fault());
        start.elapsed().as_secs_f64() / GPU_STEPS as f64
    }

    #[cfg(feature = "cuda")]
    fn our_step_on_gpu(&self) -> f64 {
        let device = Cuda::open(0).unwrap_or_else(|fault| panic!("{}", fault.message));
        self.our_step(&device)
    }

    #[cfg(not(feature = "cuda"))]
    fn our_step_on_gpu(&self) -> f64 {
        unreachable!("`--device cuda` is of builds with that feature")
    }

    fn our_epoch(&self) -> f64 {
        let device = Cpu::default();
        let workspace = Workspace::new(&device);
        let (schema, parts) = (self.schema(), self.rows(ROWS));
        let rows = Rows::from_parts(&schema, parts).expect("rows of this schema");
        let mut trainer = self.trainer(&device);
        let mut slot = trainer.network.batch_slot(&schema);
        let start = Instant::now();
        let order = epoch_order(ROWS, 1, 0);
        for_each_batch(&mut slot, &rows, Some(&order), (&batches(ROWS, BATCH), 1), |batch, _| {
            let report = trainer.step(batch, 0, false, &workspace);
            assert!(report.losses.iter().all(|loss| loss.is_finite()));
            Ok(())
        })
        .expect("an epoch");
        trainer.settle();
        start.elapsed().as_secs_f64()
    }

    fn our_evaluation(&self) -> f64 {
        let device = Cpu::default();
        let workspace = Workspace::new(&device);
        let (schema, parts) = (self.schema(), self.rows(ROWS));
        let rows = Rows::from_parts(&schema, parts).expect("rows of this schema");
        let network = self.network(&device);
        let evaluate = || {
            let start = Instant::now();
            let logits = predict(&network, &schema, &rows, &workspace, |_| Ok(())).expect("scores");
            assert_eq!(logits[1].len(), ROWS);
            start.elapsed().as_secs_f64()
        };
        median(std::iter::repeat_with(evaluate).take(3).collect())
    }

    /// What the peer is called with.
    fn peer(&self, threads: usize, csv: Option<&Csv>) -> Vec<String> {
        let work = match self.kind {
            Kind::Step => "step",
            Kind::Epoch => "epoch",
            Kind::Evaluation => "evaluate",
            Kind::Preprocessing(_) => "preprocess",
        };
        let mut arguments = vec![
            format!("{}/benches/peer/peer.py", env!("CARGO_MANIFEST_DIR")),
            work.into(),
            format!("--model={}", self.model),
            format!("--method={}", self.method),
            format!("--threads={threads}"),
            format!("--wide={}", self.wide),
            format!("--weight-decay={}", self.weight_decay),
            format!("--fields={FIELDS}"),
            format!("--ids={IDS}"),
            format!("--numerical={NUMERICAL}"),
            format!("--batch={}", self.batch),
            format!("--rows={ROWS}"),
            format!("--warmup={WARM_UP}"),
            format!("--steps={}", if self.gpu { GPU_STEPS } else { STEPS }),
            format!("--device={}", if self.gpu { "cuda" } else { "cpu" }),
        ];
        if let Some(csv) = csv {
            arguments.push(format!("--train={}", csv.file("train.csv").display()));
            arguments.push(format!("--test={}", csv.file("test.csv").display()));
            arguments.push(format!("--out={}", csv.folder.path().display()));
        }
        arguments
    }
}

/// Processed AliExpress files of random rows, in a project of their own.
struct Csv {
    folder: tempfile::TempDir,
}

impl Csv {
    /// Three quarters of the rows are for training.
    fn write(rows: usize) -> Self {
        let csv = Self { folder: tempfile::tempdir().expect("a folder for the files") };
        std::fs::create_dir_all(csv.file("")).expect("a folder for the files");
        let columns = |kind: &str, count| (1..=count).map(move |j| format!("{kind}_{j}")).collect::<Vec<_>>().join(",");
        let header = format!(
            "search_id,{},{},click,conversion\n",
            columns("categorical", FIELDS),
            columns("numerical", NUMERICAL)
        );
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (name, rows) in [("train.csv", rows / 4 * 3), ("test.csv", rows / 4)] {
            let mut out = BufWriter::new(File::create(csv.file(name)).expect("a new file"));
            out.write_all(header.as_bytes()).expect("room for the files");
            for row in 0..rows {
                let mut line = row.to_string();
                (0..FIELDS).for_each(|_| line += &format!(",{}", rng.random_range(0..IDS)));
                (0..NUMERICAL).for_each(|_| line += &format!(",{}", rng.random::<f32>()));
                let click = rng.random_bool(0.1);
                line += &format!(",{},{}\n", u8::from(click), u8::from(click && rng.random_bool(0.1)));
                out.write_all(line.as_bytes()).expect("room for the files");
            }
            // so that no side's disk is busy with these
            out.into_inner().expect("room for the files").sync_all().expect("a disk that works");
        }
        let pipeline = r#"Pipeline(name: "bench", stages: {
            "log": Download(dataset: AliExpress(country: ES)),
            "data": Preprocess(from: "log", valid: FromTest(0.5)),
        })"#;
        std::fs::write(csv.folder.path().join("bench.ron"), pipeline).expect("room for the pipeline");
        csv
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("data/aliexpress/ES").join(name)
    }

    /// Seconds of the whole program, from CSV files to a verified artifact, and the most memory of its own it held, looked
    /// at every few milliseconds: pages of the files it maps belong to the system and are not counted (Linux).
    fn ours(&self) -> Value {
        let root = self.folder.path();
        let _ = std::fs::remove_dir_all(root.join(".mtorec"));
        let start = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mtorec"))
            .args(["run", "bench.ron"])
            .current_dir(root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("our binary starts");
        let status = format!("/proc/{}/status", child.id());
        let mut peak = f64::NAN;
        let ended = loop {
            peak = peak.max(mib(&status, "RssAnon:"));
            match child.try_wait().expect("our binary is a child") {
                Some(ended) => break ended,
                None => std::thread::sleep(Duration::from_millis(4)),
            }
        };
        assert!(ended.success(), "`mtorec run bench.ron` fails in {}", root.display());
        json!({ "seconds": start.elapsed().as_secs_f64(), "peak_mib": peak })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs a work in a process of its own and returns the JSON object it prints.
fn in_process(program: &Path, arguments: &[String]) -> Value {
    let output = Command::new(program).args(arguments).output().expect("a program that starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object on stdout")
}

/// Peak resident memory of this process in MiB (Linux).
fn peak_mib() -> f64 {
    mib("/proc/self/status", "VmHWM:")
}

/// A line of a process's status in MiB (Linux).
fn mib(status: &str, name: &str) -> f64 {
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}

/// The medians of one work.
struct Measured {
    seconds: f64,
    mib: f64,
}

impl Measured {
    fn of(runs: &[Value]) -> Self {
        let all = |name: &str| median(runs.iter().filter_map(|run| run[name].as_f64()).collect());
        Self { seconds: all("seconds"), mib: all("peak_mib") }
    }
}

fn main() {
    let arguments = Arguments::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let gpu = arguments.device == "cuda";
    let all = if gpu { Work::on_gpu() } else { Work::on_cpu(arguments.log_rows) };
    if let Some(name) = &arguments.one {
        let work = all.into_iter().find(|work| work.name() == *name).expect("a work of this name");
        // memory of a GPU is not this process's
        let seconds = work.ours();
        let peak = (!work.gpu).then(peak_mib);
        println!("{}", json!({ "seconds": seconds, "peak_mib": peak }));
        return;
    }
    let this = std::env::current_exe().expect("the path of this program");
    println!(
        "Paper sizes, batch {BATCH}, {FIELDS} fields of {IDS} ids, {NUMERICAL} numericals, {threads} threads, {} rounds",
        arguments.rounds
    );
    // on a GPU the peer's second way is to let its products round to TF32; ours do not
    let (flag, second) = if gpu { ("--tf32", "TF32 (ms)") } else { ("--compile", "compile (ms)") };
    println!(
        "{:<34} {:>10} {:>11} {:>6} {:>13} {:>6} {:>10} {:>11}",
        "", "ours (ms)", "eager (ms)", "ratio", second, "ratio", "ours (MiB)", "eager (MiB)"
    );
    let mut version = String::new();
    for work in all.into_iter().filter(|work| work.name().contains(&arguments.only)) {
        let (mut ours, mut eager, mut compiled) = (Vec::new(), Vec::new(), Vec::new());
        let csv = match work.kind {
            Kind::Preprocessing(rows) => Some(Csv::write(rows)),
            _ => None,
        };
        let peer = work.peer(threads, csv.as_ref());
        for round in 0..arguments.rounds {
            ours.push(match &csv {
                Some(csv) => csv.ours(),
                None => in_process(&this, &["--one".into(), work.name(), format!("--device={}", arguments.device)]),
            });
            let Some(python) = &arguments.python else { continue };
            let run = in_process(python, &peer);
            let said = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
            version = [said("version"), said("gpu")].join(" ");
            eager.push(run);
            if work.kind == Kind::Step && (gpu || arguments.compile && round == 0) {
                compiled.push(in_process(python, &[&peer[..], &[flag.into()]].concat()));
            }
        }
        let (ours, eager, compiled) = (Measured::of(&ours), Measured::of(&eager), Measured::of(&compiled));
        let number = |value: f64, digits: usize, unit: &str| {
            if value.is_finite() { format!("{value:.digits$}{unit}") } else { "-".to_owned() }
        };
        println!(
            "{:<34} {:>10} {:>11} {:>6} {:>13} {:>6} {:>10} {:>11}",
            work.name(),
            number(ours.seconds * 1e3, 1, ""),
            number(eager.seconds * 1e3, 1, ""),
            number(eager.seconds / ours.seconds, 1, "x"),
            number(compiled.seconds * 1e3, 1, ""),
            number(compiled.seconds / ours.seconds, 1, "x"),
            number(ours.mib, 0, ""),
            number(eager.mib, 0, ""),
        );
    }
    if !version.is_empty() {
        println!("torch {version}");
    }
}
