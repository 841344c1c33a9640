//! Sweeps: the same table to the bit as locally, whatever happens in between.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Cluster;
use crate::project::{Project, wait_until};

/// The shape of `pipelines/table2_small.ron`.
const SWEEP: &str = r#"Sweep(
    pipeline: "pipelines/small.ron",
    over: [
        Country([ES, US]),
        Arch([SingleTask(), Mmoe(experts: 2)]),
        Balancer([Ls(), Famo()]),
        Seed([SEEDS]),
    ],
    only: [Only(value: Arch(SingleTask()), with: [Balancer(Ls())])],
    baseline: [Balancer(Ls())],
    single_task: [Arch(SingleTask()), Balancer(Ls())],
)
"#;

const CALL: [&str; 5] = ["sweep", "pipelines/grid.ron", "--on", "slurm", "--json"];

fn prepare(project: &Project, epochs: &str, seeds: &str) {
    project.edit("Simulated(rows", "Simulated(like: AliExpress, country: ES, rows");
    project.edit("epochs: 2, batch: 256, patience: 2", epochs);
    fs::write(project.path("pipelines/grid.ron"), SWEEP.replace("SEEDS", seeds)).unwrap();
}

/// The table that the same sweep gives on this machine.
fn here(epochs: &str, seeds: &str) -> String {
    let project = Project::new();
    prepare(&project, epochs, seeds);
    project.call(&["sweep", "pipelines/grid.ron", "--json", "--jobs", "2"]).expect(0).out
}

#[test]
fn a_sweep_gives_the_same_table_and_only_runs_what_it_must() {
    let Some(cluster) = Cluster::new() else { return };
    prepare(&cluster, "epochs: 2, batch: 256", "1, 2");
    let swept = cluster.call(&CALL).expect(0);
    assert_eq!(swept.out, here("epochs: 2, batch: 256", "1, 2"));
    // two logs and their encodings; a model for each country, architecture and seed; a training and an evaluation a cell
    assert!(swept.err.contains("slurm: 36 jobs in "), "{swept:?}");
    for (what, number) in [(": done in ", 36), ("cell ", 12)] {
        let lines = swept.err.lines().filter(|line| line.contains(what)).count();
        assert_eq!(lines, number, "{what}: {}", swept.err);
    }
    cluster.expect_nothing_left();

    let ever = cluster.ever();
    let again = cluster.call(&CALL).expect(0);
    assert_eq!((&again.out, again.err.contains("slurm:")), (&swept.out, false), "{again:?}");
    // one more seed of one architecture
    let more = SWEEP.replace("SEEDS", "1, 2, 3").replace("Mmoe(experts: 2)", "SharedBottom()");
    fs::write(cluster.path("pipelines/grid.ron"), more.replace("Country([ES, US])", "Country([ES])")).unwrap();
    cluster.call(&CALL).expect(0);
    let submitted = cluster.submitted();
    assert_eq!(cluster.ever(), ever + submitted.len());
    assert!(submitted.iter().all(|stage| stage.contains("SharedBottom") || stage.contains("seed 3")), "{submitted:?}");
}

/// The manifests of all artifacts, which say when each was made.
fn manifests(cluster: &Cluster) -> BTreeMap<String, Value> {
    let artifacts = fs::read_dir(cluster.path(".mtorec/artifacts")).unwrap().flatten();
    let manifest = |entry: fs::DirEntry| {
        let text = fs::read(entry.path().join("manifest.json")).ok()?;
        Some((entry.file_name().into_string().unwrap(), serde_json::from_slice(&text).unwrap()))
    };
    artifacts.filter_map(manifest).collect()
}

#[test]
fn a_sweep_that_everything_befalls_ends_in_the_same_table() {
    let Some(cluster) = Cluster::alone() else { return };
    let epochs = "epochs: 200, batch: 256, patience: 200";
    prepare(&cluster, epochs, "1");
    let mut running = cluster.start(&CALL);
    // a job is killed, and starts again by itself
    cluster.kill_process();
    wait_until("restart", || {
        cluster.logs().contains("ended with 137; it has started itself again 0 of at most 3 times")
    });
    wait_until("restart", || cluster.restarts() == 1);
    // the controller goes; another job is killed and cannot tell it; the controller comes back
    let home = std::env::var("SLURM_HOME").unwrap();
    let controller = fs::read_to_string(format!("{home}/slurmctld.pid")).unwrap().trim().to_owned();
    let (other, _) = cluster.process();
    assert!(Command::new("kill").arg(&controller).status().unwrap().success());
    assert!(Command::new("kill").args(["-KILL", &other]).status().unwrap().success());
    wait_until("end of the controller", || {
        fs::read_to_string(format!("/proc/{controller}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    wait_until("death", || cluster.logs().matches("ended with 137").count() == 2);
    running.wait_for("its jobs go on, and it is asked again");
    // a daemon that kept this output would keep whoever reads it
    let mut controller = Command::new("slurmctld");
    controller.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(controller.status().unwrap().success());
    running.wait_for("slurm: answers again");
    cluster.wait_for_resumption(2);
    // the user goes, and wants nothing left
    running.signal("INT");
    let stopped = running.end().expect(130);
    assert!(stopped.err.contains("interrupted: finished stages and checkpoints are kept"), "{stopped:?}");
    cluster.expect_nothing_left();
    let before = manifests(&cluster);
    assert!(before.len() >= 5, "{before:?}");
    let done: Vec<&str> = stopped.err.lines().filter_map(|line| Some(line.split_once(": done in ")?.0)).collect();

    let ended = cluster.call(&CALL).expect(0);
    assert_eq!(ended.out, here(epochs, "1"));
    let after = manifests(&cluster);
    assert!(before.iter().all(|(key, manifest)| after[key] == *manifest), "nothing finished is made again");
    let submitted = cluster.submitted();
    assert!(done.iter().all(|stage| !submitted.iter().any(|other| other == stage)), "{done:?} {submitted:?}");
    assert_eq!(after.len(), 20, "{after:?}");
    assert_eq!(submitted.len(), 20 - before.len(), "no job for what is finished");
    cluster.expect_nothing_left();
}
