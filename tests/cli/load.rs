//! Many stages and many cells: few open files and little memory. `MTOREC_LOAD_SECONDS`, for the crowd of processes, has
//! all 2,000 stages and 500 cells run too.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::crowd::seconds;
use crate::project::{Called, Project};

/// A pipeline of so many stages, in which one in three trains.
fn many_stages(stages: usize) -> String {
    let mut text = "Pipeline(name: \"many\", stages: {\n\
        \"download\": Download(dataset: Simulated(rows: 200, seed: 7)),\n\
        \"preprocess\": Preprocess(from: \"download\"),\n"
        .to_owned();
    for at in 0..(stages - 2) / 3 {
        text += &format!(
            "\"model_{at}\": BuildModel(data: \"preprocess\", arch: SharedBottom(), sizes: Tiny, seed: {at}),\n\
             \"train_{at}\": Train(model: \"model_{at}\", data: \"preprocess\", epochs: 1, batch: 64),\n\
             \"evaluate_{at}\": Evaluate(model: \"train_{at}\", data: \"preprocess\"),\n"
        );
    }
    text + "})\n"
}

/// A sweep of five times as many cells as seeds.
fn many_cells(seeds: usize) -> String {
    let seeds: Vec<String> = (1..=seeds).map(|seed| seed.to_string()).collect();
    format!(
        "Sweep(pipeline: \"pipelines/tiny.ron\", over: [Balancer([Ls(), Famo(), Dwa(), Uw(), Rlw()]), Seed([{}])])",
        seeds.join(", ")
    )
}

fn project(stages: usize, seeds: usize) -> Project {
    let project = Project::new();
    fs::write(project.path("pipelines/many.ron"), many_stages(stages)).unwrap();
    fs::write(project.path("pipelines/grid.ron"), many_cells(seeds)).unwrap();
    fs::write(project.path("pipelines/tiny.ron"), many_stages(5)).unwrap();
    project
}

/// A call and the most that it held.
struct Held {
    called: Called,
    files: usize,
    kilobytes: usize,
    seconds: f64,
}

fn watch(project: &Project, arguments: &[&str]) -> Held {
    let (out, err) = (project.path("out"), project.path("err"));
    let file = |path: &Path| fs::File::create(path).unwrap();
    let start = Instant::now();
    let mut child = project.command(arguments).stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
    let process = Path::new("/proc").join(child.id().to_string());
    let (mut files, mut kilobytes) = (0, 0);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        files = files.max(fs::read_dir(process.join("fd")).map_or(0, Iterator::count));
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        kilobytes = kilobytes.max(peak.map_or(0, |peak| peak.trim().parse().unwrap()));
        thread::sleep(Duration::from_millis(1));
    };
    let seconds = start.elapsed().as_secs_f64();
    let text = |path| fs::read_to_string(path).unwrap();
    let held =
        Held { called: Called { code: status.code(), out: text(&out), err: text(&err) }, files, kilobytes, seconds };
    println!(
        "{}: {:.2} s, at most {} files and {} MB",
        arguments.join(" "),
        held.seconds,
        held.files,
        held.kilobytes / 1000
    );
    held
}

fn stages(held: Held) -> usize {
    held.called.expect(0).json()["stages"].as_array().unwrap().len()
}

#[test]
fn two_thousand_stages_and_five_hundred_cells_are_planned() {
    let project = project(2000, 100);
    let pipeline = watch(&project, &["plan", "pipelines/many.ron", "--json"]);
    assert!(pipeline.files <= 16, "{}", pipeline.files);
    assert_eq!(stages(pipeline), 2000);
    assert_eq!(stages(watch(&project, &["plan", "pipelines/grid.ron", "--json"])), 2 + 100 + 2 * 500);
    watch(&project, &["check", "pipelines/many.ron", "pipelines/grid.ron"]).called.expect(0);
}

/// The most files and kilobytes of a run of everything, and of one that finds everything done.
fn most(stages: usize, seeds: usize) -> [(usize, usize); 4] {
    let project = project(stages, seeds);
    let run = ["run", "pipelines/many.ron", "--jobs", "2", "--json"];
    let sweep = ["sweep", "pipelines/grid.ron", "--jobs", "2", "--json"];
    let held = [run.as_slice(), &run, &sweep, &sweep].map(|arguments| watch(&project, arguments));
    let most = |held: Held| {
        held.called.expect(0);
        (held.files, held.kilobytes)
    };
    held.map(most)
}

#[test]
fn more_stages_and_cells_hold_no_more_files_and_hardly_more_memory() {
    let (few, many) = ((50, 3), if seconds().is_some() { (2000, 100) } else { (350, 20) });
    let (little, much) = (most(few.0, few.1), most(many.0, many.1));
    for (pair, further) in [(0, many.0 - few.0), (2, 11 * (many.1 - few.1))] {
        let (ran, found) = (much[pair], much[pair + 1]);
        for (files, _) in [ran, found] {
            // one left open by every stage or cell would be hundreds
            assert!(files <= 48, "{files} files are open at once");
        }
        assert!(ran.1 <= found.1 + 20_000, "to run takes {} kB where to find everything done takes {}", ran.1, found.1);
        // what is known of a stage: its recipe, its artifact's manifest, its part of the JSON
        let known = little[pair + 1].1 + 10_000 + 40 * further;
        assert!(found.1 <= known, "{further} further stages take {} kB instead of {}", found.1, little[pair + 1].1);
    }
}
