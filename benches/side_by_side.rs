//! Ours and PyTorch side by side: the same training step, in turn, in one go; prints median times and ratios.
//!
//! `cargo bench --bench side_by_side -- --python PYTHON` (a Python with torch; see `benches/README.md`). Without
//! `--python` only our side is timed. `--only TEXT` picks cases by name.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mtorec::balance::Balancer;
use mtorec::balance::gram::NashMtl;
use mtorec::balance::loss::Ls;
use mtorec::data::{Field, RawBatch, Schema};
use mtorec::model::{Arch, Mmoe, Network, SharedBottom, Sizes};
use mtorec::optim::Adam;
use mtorec::stage::train::Trainer;
use mtorec::tensor::{Cpu, Workspace};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Rows of a batch, and what a row holds: the sizes of the processed AliExpress log.
const BATCH: usize = 2048;
const FIELDS: usize = 16;
const IDS: usize = 31;
const NUMERICAL: usize = 63;
const WARM_UP: usize = 3;
const STEPS: usize = 15;

struct Case {
    name: &'static str,
    arch: Arch,
    balancer: Balancer,
}

fn cases() -> Vec<Case> {
    let arches: [(Arch, &str); 2] =
        [(SharedBottom::default().into(), "SharedBottom"), (Mmoe::default().into(), "Mmoe")];
    let mut cases = Vec::new();
    for (arch, model) in arches {
        let balancers: [(Balancer, &str); 2] = [(Ls::default().into(), "Ls"), (NashMtl::default().into(), "NashMtl")];
        for (balancer, method) in balancers {
            let name = format!("{model} {method}").leak();
            cases.push(Case { name, arch: arch.clone(), balancer });
        }
    }
    cases
}

fn schema() -> Schema {
    Schema {
        fields: (0..FIELDS).map(|f| Field { name: format!("f{f}"), size: IDS, out_of_vocabulary: None }).collect(),
        numerical: (0..NUMERICAL).map(|j| format!("x{j}")).collect(),
        tasks: vec!["click".into(), "conversion".into()],
    }
}

fn random_batch(rows: usize) -> RawBatch {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    RawBatch {
        rows,
        categorical: (0..rows * FIELDS).map(|_| rng.random_range(0..IDS as u32)).collect(),
        numerical: (0..rows * NUMERICAL).map(|_| rng.random()).collect(),
        labels: (0..rows * 2).map(|_| f32::from(rng.random_bool(0.05))).collect(),
    }
}

/// Median seconds of one of our steps, batch indexing included.
fn ours(case: &Case) -> f64 {
    let (device, schema, raw) = (Cpu::default(), schema(), random_batch(BATCH));
    let network = Network::build(&case.arch, &Sizes::Paper, &schema, 1, &device).expect("a model that fits");
    let method = case.balancer.build(network.tasks()).expect("a balancer for two tasks");
    let mut slot = network.batch_slot(&schema);
    let workspace = Workspace::new(&device);
    let mut trainer = Trainer::new(network, Adam::default(), method, 1);
    let mut times: Vec<f64> = (0..WARM_UP + STEPS)
        .map(|_| {
            let start = Instant::now();
            let report = trainer.step(slot.load(&raw), 0, &workspace);
            assert!(report.losses.iter().all(|loss| loss.is_finite()));
            start.elapsed().as_secs_f64()
        })
        .skip(WARM_UP)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs a work in a process of its own and returns the JSON object it prints.
fn in_process(program: &Path, arguments: &[String]) -> Value {
    let output = Command::new(program).args(arguments).output().expect("a program that starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object on stdout")
}

/// Peak resident memory of this process in MiB (Linux).
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|i| arguments.get(i + 1));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(name) = value("--one") {
        let case = cases().into_iter().find(|case| case.name == name).expect("a case of this name");
        println!("{}", serde_json::json!({ "seconds": ours(&case), "peak_mib": peak_mib() }));
        return;
    }
    let only = value("--only").cloned().unwrap_or_default();
    let peer = format!("{}/benches/peer/peer.py", env!("CARGO_MANIFEST_DIR"));
    println!(
        "one training step, Paper sizes, batch {BATCH}, {FIELDS} fields of {IDS} ids, {NUMERICAL} numericals, {threads} threads"
    );
    println!(
        "{:<22} {:>10} {:>10} {:>8} {:>12} {:>12}",
        "case", "ours (ms)", "torch (ms)", "ratio", "ours (MiB)", "torch (MiB)"
    );
    let this = std::env::current_exe().expect("the path of this program");
    for case in cases().into_iter().filter(|case| case.name.contains(&only)) {
        let us = in_process(&this, &["--one".into(), case.name.into()]);
        let seconds = |value: &Value| value["seconds"].as_f64().unwrap_or(f64::NAN);
        let memory = |value: &Value| value["peak_mib"].as_f64().unwrap_or(f64::NAN);
        let ours = format!("{:<22} {:>10.1}", case.name, seconds(&us) * 1e3);
        let Some(python) = value("--python") else {
            println!("{ours} {:>10} {:>8} {:>12.0}", "-", "-", memory(&us));
            continue;
        };
        let (model, method) = case.name.split_once(' ').expect("a model and a method");
        let step = [
            peer.clone(),
            "step".into(),
            format!("--model={model}"),
            format!("--method={method}"),
            format!("--threads={threads}"),
            format!("--warmup={WARM_UP}"),
            format!("--steps={STEPS}"),
        ];
        let them = in_process(Path::new(python), &step);
        let ratio = seconds(&them) / seconds(&us);
        println!("{ours} {:>10.1} {ratio:>7.1}x {:>12.0} {:>12.0}", seconds(&them) * 1e3, memory(&us), memory(&them));
    }
}
