//! A sweep of twelve small trainings with one stage at a time against as many as there are cores, in turn.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const SWEEP: &str = r#"Sweep(
    pipeline: "pipelines/quickstart.ron",
    over: [
        Country([ES, US]),
        Arch([Mmoe(experts: 4), Ple(shared_experts: 2, task_experts: 2)]),
        Balancer([Ls(), Famo(), NashMtl()]),
        Set("log.dataset.rows", [20000]),
        Set("train.epochs", [4]),
    ],
)
"#;

/// Wall and processor seconds of a sweep from nothing.
struct Taken {
    wall: f64,
    processor: f64,
}

fn sweep(project: &Path, jobs: usize) -> Taken {
    let _ = std::fs::remove_dir_all(project.join(".mtorec"));
    let (before, start) = (children_seconds(), Instant::now());
    let status = Command::new(env!("CARGO_BIN_EXE_mtorec"))
        .args(["sweep", "pipelines/twelve.ron", "--jobs", &jobs.to_string()])
        .current_dir(project)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("our binary starts");
    assert!(status.success());
    Taken { wall: start.elapsed().as_secs_f64(), processor: children_seconds() - before }
}

/// Processor time of ended child processes (Linux, in ticks of a hundredth of a second; elsewhere not a number).
fn children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // the name of the program, in brackets, may hold spaces
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    let rounds: usize = arguments.next().map_or(5, |rounds| rounds.parse().expect("--rounds takes a number"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let project = tempfile::tempdir().expect("a temporary folder");
    let pipelines = project.path().join("pipelines");
    std::fs::create_dir(&pipelines).expect("a new folder");
    std::fs::write(pipelines.join("quickstart.ron"), include_str!("../pipelines/quickstart.ron")).expect("a new file");
    std::fs::write(pipelines.join("twelve.ron"), SWEEP).expect("a new file");

    let mut sides = [(1, Vec::new()), (cores, Vec::new())];
    for _ in 0..rounds.max(1) {
        for (jobs, taken) in &mut sides {
            taken.push(sweep(project.path(), *jobs));
        }
    }
    println!("12 cells, {cores} cores, medians of {} rounds", rounds.max(1));
    let [one, all] = sides.map(|(jobs, taken)| {
        let (wall, processor) = (median(taken.iter().map(|t| t.wall)), median(taken.iter().map(|t| t.processor)));
        println!("--jobs {jobs:<3} {wall:>6.1} s wall  {processor:>6.1} s processor");
        wall
    });
    println!("ratio {:.2}", one / all);
}
