//! What happens on the node: resources, threads, time limits, restarts.

use std::fs;

use super::Cluster;
use crate::project::{Called, ENDLESS, Running, wait_until};

const RUN: [&str; 5] = ["run", "pipelines/small.ron", "--on", "slurm", "--json"];

#[test]
fn resources_arrive() {
    let Some(cluster) = Cluster::new() else { return };
    let resources = r#"resources=(cpus: 2, mem_gb: 0.5, hours: 1.5, partition: "main", account: "team", extra: ["--begin=now+1hour"])"#;
    let own = r#"train.resources=(cpus: 1, extra: ["--nice=7"])"#;
    cluster.submit(&["--set", resources, "--set", own, "--detach"]).expect(0);
    let shown = |kind: &str| {
        let job = cluster.queue().into_iter().find(|job| job.name.starts_with(kind)).unwrap();
        cluster.slurm("scontrol", &["show", "job", &job.id])
    };
    let download = shown("download");
    for text in [
        "CPUs/Task=2",
        "MinMemoryNode=512M",
        "TimeLimit=01:30:00",
        "Partition=main",
        "Account=team",
        "Nice=0",
        "Requeue=1",
    ] {
        assert!(download.contains(text), "{text}: {download}");
    }
    let train = shown("train");
    for text in ["CPUs/Task=1", "MinMemoryNode=512M", "TimeLimit=01:30:00", "Nice=7", "Dependency=aftercorr:"] {
        assert!(train.contains(text), "{text}: {train}");
    }
    cluster.call(&["attach", "--cancel"]).expect(0);
    cluster.expect_nothing_left();
}

#[test]
fn within_a_job_of_another_kind_nothing_of_it_is_passed_on() {
    let Some(cluster) = Cluster::new() else { return };
    let mut command = cluster.command(&[&RUN[..], &ENDLESS, &["--set", "resources.cpus=2"]].concat());
    command.envs([
        ("SLURM_JOB_ID", "1"),
        ("SLURM_RESTART_COUNT", "5"),
        ("SLURM_CPUS_PER_TASK", "7"),
        ("RAYON_NUM_THREADS", "7"),
        ("SBATCH_WAIT", "1"),
        ("SQUEUE_STATES", "COMPLETED"),
        ("SCANCEL_STATE", "SUSPENDED"),
    ]);
    let running = Running::start(command);
    let (_, environment) = cluster.process();
    let variables: Vec<&str> = environment.split('\0').collect();
    assert!(variables.contains(&"RAYON_NUM_THREADS=2"), "{variables:?}");
    assert!(!variables.iter().any(|variable| variable.starts_with("SLURM_RESTART_COUNT")), "{variables:?}");
    running.signal("INT");
    running.end().expect(130);
    cluster.expect_nothing_left();
}

#[test]
fn folders_may_be_called_what_they_like() {
    let Some(cluster) = Cluster::new() else { return };
    let folder = cluster.path("100%j of 'a b'/pipelines");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(cluster.pipeline(), folder.join("small.ron")).unwrap();
    let call = ["run", "100%j of 'a b'/pipelines/small.ron", "--on", "slurm", "--json"];
    assert_eq!(cluster.call(&call).expect(0).ran().len(), 5);
    let logs = fs::read_dir(folder.parent().unwrap().join(".mtorec/jobs")).unwrap().flatten().next().unwrap().path();
    assert_eq!(fs::read_dir(logs.join("logs")).unwrap().count(), 5);
}

#[test]
fn a_killed_process_starts_again_but_not_for_ever() {
    let Some(cluster) = Cluster::new() else { return };
    let mut running = cluster.start(&[&RUN[..], &ENDLESS, &["--requeue", "1"]].concat());
    let job = cluster.running("train");
    cluster.kill_process();
    cluster.wait_for_resumption(1);
    // a restart that somebody else wanted does not count
    cluster.slurm("scontrol", &["requeue", &job]);
    cluster.wait_for_resumption(2);
    cluster.kill_process();
    running.wait_for("train: failed");
    let died = running.end().expect(1);
    assert!(died.err.contains(&format!("its job {job} was killed (signal 9), after 1 restart\n")), "{died:?}");
    assert!(
        died.err.contains("the end of `") && died.err.contains("started itself again 1 of at most 1 times"),
        "{died:?}"
    );
    assert!(died.err.contains("give it more `resources.mem_gb`"), "{died:?}");
    cluster.expect_nothing_left();
}

#[test]
fn a_forced_stage_runs_once_and_goes_on_from_its_own_checkpoint() {
    let Some(cluster) = Cluster::new() else { return };
    cluster.edit("epochs: 2, batch: 256, patience: 2", "epochs: 200, batch: 256, patience: 200");
    let content = |called: &Called| called.json()["stages"][3]["content"].clone();
    let first = cluster.run(&[]);
    let running = cluster.start(&[&RUN[..], &["--force", "train"]].concat());
    cluster.kill_process();
    cluster.wait_for_resumption(1);
    let forced = running.end().expect(0);
    assert_eq!(forced.ran(), ["train"], "what reads it finds the same bytes");
    assert_eq!(content(&forced), content(&first));
    assert_eq!(cluster.logs().matches("resuming after epoch").count(), 1, "{}", cluster.logs());
    assert_eq!(cluster.logs().matches("runs (forced)").count(), 2, "{}", cluster.logs());
    cluster.expect_nothing_left();
}

#[test]
fn who_runs_out_of_time_stops_in_time_and_starts_again() {
    let Some(again) = Cluster::whenever() else { return };
    let Some(once) = Cluster::whenever() else { return };
    let endless = [&RUN[..], &ENDLESS, &["--set", "train.resources.hours=0.02"]].concat();
    let mut starts_again = again.start(&endless);
    let given_up = once.start(&[&endless[..], &["--requeue", "0"]].concat());
    let ended = given_up.end().expect(1);
    assert!(ended.err.contains(" ran out of time\n"), "{ended:?}");
    assert!(
        ended.err.contains("ended with 130 as its time ran out; it has started itself again 0 of at most 0 times"),
        "{ended:?}"
    );
    assert!(ended.err.contains("hint: give it more `resources.hours`"), "{ended:?}");
    once.expect_nothing_left();

    starts_again.wait_for("train: job ");
    wait_until("restart", || {
        again.logs().contains("as its time ran out; it has started itself again 0 of at most 3 times")
    });
    again.wait_for_resumption(1);
    starts_again.signal("INT");
    starts_again.end().expect(130);
    again.expect_nothing_left();
}

#[test]
fn a_node_that_sees_another_folder_is_told_at_once() {
    let Some(cluster) = Cluster::new() else { return };
    let later = ["--detach", "--set", "resources.extra=[\"--begin=now+3\"]"];
    cluster.submit(&later).expect(0);
    fs::remove_file(cluster.submission().join("mtorec")).unwrap();
    let failed = cluster.call(&["attach"]).expect(1);
    assert!(failed.err.contains("cannot run this program there (exit code 127)"), "{failed:?}");
    assert!(failed.err.contains("No such file or directory"), "{failed:?}");
    cluster.expect_nothing_left();

    cluster.submit(&later).expect(0);
    fs::remove_dir_all(cluster.submission().join("logs")).unwrap();
    let failed = cluster.call(&["attach"]).expect(1);
    assert!(failed.err.contains(&format!(" could not begin on {} (FAILED)", cluster.node())), "{failed:?}");
    assert!(failed.err.contains("the same folder there, and may you write to it?"), "{failed:?}");
    cluster.expect_nothing_left();
    assert_eq!(cluster.submit(&[]).expect(0).ran().len(), 5);
}
