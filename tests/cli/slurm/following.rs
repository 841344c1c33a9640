//! Jobs are followed, left, come back to; what fails is told as it is locally.

use std::fs;

use super::Cluster;
use crate::project::{Called, ENDLESS, Project, wait_until};
use crate::server::{Answer, Server};

/// Stages whose jobs do not start while a test lasts.
const LATER: [&str; 2] = ["--set", "resources.extra=[\"--begin=now+3hours\"]"];

#[test]
fn jobs_are_left_and_come_back_to() {
    let Some(cluster) = Cluster::new() else { return };
    let expected = Project::new().run(&[]);
    let away = cluster.submit(&["--detach"]).expect(0);
    assert_eq!(away.json()["ending"], "away");
    assert!(away.results().iter().all(|result| result.ends_with("=away")), "{away:?}");
    assert!(away.err.contains("5 stages are under way: `mtorec attach pipelines/small.ron` comes back"), "{away:?}");
    let attached = cluster.call(&["attach", "--json"]).expect(0);
    assert!(attached.err.contains("small.ron`: 5 jobs, submitted "), "{attached:?}");
    assert_eq!(attached.json()["ending"], "done");
    assert_eq!(attached.results(), expected.results(), "as if it had run here");
    assert_eq!(attached.json()["metrics"], expected.json()["metrics"]);
    cluster.expect_nothing_left();
    cluster.call(&["attach"]).expect(2);

    // what has ended is there without a job
    let again = cluster.submit(&[]).expect(0);
    assert!(again.ran().is_empty() && !again.err.contains("slurm"), "{again:?}");
    assert_eq!((again.json()["metrics"].clone(), cluster.ever()), (expected.json()["metrics"].clone(), 5));
    // and of what is early cut off, one job looks, as a run here would
    let forced = cluster.submit(&["--until", "model", "--force", "model"]).expect(0);
    assert_eq!((forced.ran(), cluster.ever()), (vec!["model".to_owned()], 6));
}

#[test]
fn the_same_call_follows_the_same_jobs_and_another_is_refused() {
    let Some(cluster) = Cluster::new() else { return };
    cluster.submit(&[&LATER[..], &["--detach"]].concat()).expect(0);
    let again = cluster.submit(&[&LATER[..], &["--detach"]].concat()).expect(0);
    assert!(again.err.contains("slurm: its jobs stand already, submission "), "{again:?}");
    assert_eq!((again.json()["ending"].as_str(), cluster.ever()), (Some("away"), 5));

    for other in [&["--set", "train.seed=2"][..], &["--keep-going"], &["--until", "model"]] {
        let refused = cluster.submit(&[&LATER[..], other].concat()).expect(1);
        assert!(refused.err.contains("jobs of another version of it, or of other options"), "{refused:?}");
        assert!(refused.err.contains(" --cancel` ends them"), "{refused:?}");
    }
    // another pipeline of the project is none of its business
    let text = fs::read_to_string(cluster.pipeline()).unwrap().replace("\"small\"", "\"other\"");
    fs::write(cluster.path("pipelines/other.ron"), text).unwrap();
    let other = ["run", "pipelines/other.ron", "--on", "slurm", "--detach", LATER[0], LATER[1]];
    cluster.call(&other).expect(0);
    let several = cluster.call(&["attach"]).expect(2);
    assert!(several.err.contains("several submissions are under way"), "{several:?}");

    let cancelled = cluster.call(&["attach", "pipelines/small.ron", "--cancel", "--json"]).expect(0);
    assert_eq!(cancelled.json()["ending"], "interrupted");
    assert_eq!((cluster.queue().len(), cluster.unfinished().len()), (5, 1), "those of the other");
    let id = cluster.unfinished()[0].file_name().unwrap().to_str().unwrap().to_owned();
    cluster.call(&["attach", &id, "--cancel"]).expect(0);
    cluster.expect_nothing_left();
}

#[test]
fn who_comes_back_to_a_sweep_gets_its_table() {
    let Some(cluster) = Cluster::new() else { return };
    let sweep = "Sweep(pipeline: \"pipelines/small.ron\", over: [Seed([1, 2])])";
    fs::write(cluster.path("pipelines/grid.ron"), sweep).unwrap();
    let away = cluster.call(&["sweep", "pipelines/grid.ron", "--on", "slurm", "--detach"]).expect(0);
    assert!(away.err.contains("8 stages are under way: `mtorec attach pipelines/grid.ron` comes back"), "{away:?}");
    // whatever has become of the file
    fs::write(cluster.path("pipelines/grid.ron"), "no sweep").unwrap();
    let attached = cluster.call(&["attach", "pipelines/grid.ron", "--format", "csv"]).expect(0);
    fs::write(cluster.path("pipelines/grid.ron"), sweep).unwrap();
    let here = cluster.call(&["sweep", "pipelines/grid.ron", "--format", "csv"]).expect(0);
    assert_eq!(attached.out, here.out);
    assert!(!here.err.contains("runs ("), "{here:?}");
    cluster.expect_nothing_left();
}

#[test]
fn what_jobs_made_and_others_will_read_is_no_garbage() {
    let Some(cluster) = Cluster::new() else { return };
    cluster.edit("model: \"model\"", "resources: (extra: [\"--begin=now+3hours\"]), model: \"model\"");
    cluster.submit(&["--detach"]).expect(0);
    wait_until("what comes before training", || cluster.made() == 3);
    // no run has come to these artifacts yet
    let kept = cluster.call(&["cache", "gc", "--keep-days", "0", "--json"]).expect(0).json();
    assert_eq!((kept["removed"].as_array().unwrap().len(), kept["awaited"].as_u64()), (0, Some(3)), "{kept}");
    let told = cluster.call(&["cache", "gc", "--keep-days", "0"]).expect(0);
    assert!(told.out.contains("; 3 written since submission "), "{told:?}");
    cluster.call(&["attach", "--cancel"]).expect(0);
    cluster.expect_nothing_left();
}

/// What is said of errors, without what a run says of its progress.
fn errors(called: &Called) -> String {
    let from = called.err.find("error: ").unwrap_or_else(|| panic!("{called:?}"));
    called.err[from..].to_owned()
}

#[test]
fn a_stage_that_fails_on_its_node_is_told_as_here() {
    let Some(cluster) = Cluster::new() else { return };
    let here = Project::new();
    for project in [&*cluster, &here] {
        let rows: String = (0..900).map(|row| format!("s{},{},{}\n", row % 7, row % 10, row % 3 / 2)).collect();
        fs::write(project.path("train.csv"), format!("shop,price,like\n{rows}")).unwrap();
        let log = r#"Csv(train: "train.csv", categorical: ["shop"], numerical: ["price"], labels: ["like"])"#;
        project.edit("Simulated(rows: 2000, seed: 7)", log);
        project.edit("valid: FromTest(0.5)", "test: Random(0.3), valid: FromTrain(0.2)");
        // of two evaluations one cannot be
        project.edit("data: \"preprocess\"),\n    },", "data: \"preprocess\"),\n        \"groups\": Evaluate(model: \"train\", data: \"preprocess\", metrics: [Gauc]),\n    },");
    }
    let expected = here.call(&["run", "pipelines/small.ron", "--keep-going"]).expect(1);
    let failed = cluster.call(&["run", "pipelines/small.ron", "--on", "slurm", "--keep-going"]).expect(1);
    assert_eq!(errors(&failed), errors(&expected));
    assert!(failed.err.contains("small.ron:10:") && failed.err.contains("hint: leave it out, or name"), "{failed:?}");
    assert!(failed.out.contains("evaluate: "), "the other evaluation ran: {failed:?}");
    cluster.expect_nothing_left();
}

#[test]
fn after_a_failure_nothing_more_begins_unless_it_is_to_keep_going() {
    let Some(cluster) = Cluster::new() else { return };
    // the second training waits for its time: it has not begun when the first fails
    let more = "},\n    golden";
    let stages = r#"    "wild": Train(model: "model", data: "preprocess", epochs: 2, optimizer: Adam(lr: 1e30)),
        "judged": Evaluate(model: "wild", data: "preprocess"),
        "late": Train(model: "model", data: "preprocess", epochs: 2, seed: 9, resources: (extra: ["--begin=now+WAIT"])),
    },
    golden"#;
    cluster.edit(more, &stages.replace("WAIT", "3hours"));
    let failed = cluster.submit(&[]).expect(1);
    let results = failed.results();
    for result in ["wild=failed", "judged=blocked", "late=not-started"] {
        assert!(results.iter().any(|found| found == result), "{result}: {failed:?}");
    }
    assert!(failed.err.contains("is not finite") && failed.err.contains("hint: `--keep-going`"), "{failed:?}");
    cluster.expect_nothing_left();
    cluster.edit("3hours", "5");
    let failed = cluster.submit(&["--keep-going"]).expect(1);
    assert!(failed.ran().contains(&"late".to_owned()), "{failed:?}");
    assert!(failed.results().contains(&"judged=blocked".to_owned()), "{failed:?}");
    cluster.expect_nothing_left();
}

#[test]
fn a_job_that_somebody_cancels_is_told_and_the_next_run_goes_on() {
    let Some(cluster) = Cluster::new() else { return };
    let call = [&["run", "pipelines/small.ron", "--on", "slurm", "--json"][..], &ENDLESS].concat();
    let running = cluster.start(&call);
    let job = cluster.running("train");
    cluster.wait_for_checkpoint();
    cluster.slurm("scancel", &[&job]);
    let cancelled = running.end().expect(1);
    assert!(cancelled.err.contains(&format!("error: stage `train`: its job {job} was cancelled")), "{cancelled:?}");
    assert!(cancelled.err.contains("hint: the next run goes on from its checkpoint"), "{cancelled:?}");
    assert!(cancelled.results().contains(&"evaluate=blocked".to_owned()), "{cancelled:?}");
    // Slurm asked it to stop, and the job's script did: once is enough
    assert!(cluster.logs().contains("stopping at the next safe point\n"), "{}", cluster.logs());
    cluster.expect_nothing_left();

    let running = cluster.start(&call);
    wait_until("resumed training", || cluster.logs().contains("resuming after epoch"));
    running.signal("INT");
    let stopped = running.end().expect(130);
    assert!(stopped.results().contains(&"train=interrupted".to_owned()), "{stopped:?}");
    assert!(stopped.results().contains(&"evaluate=not-started".to_owned()), "{stopped:?}");
    cluster.expect_nothing_left();
}

#[test]
fn who_goes_away_leaves_the_jobs_alone() {
    let Some(cluster) = Cluster::new() else { return };
    let call = [&["run", "pipelines/small.ron", "--on", "slurm"][..], &ENDLESS].concat();
    // a terminal that hangs up
    let running = cluster.start(&call);
    cluster.running("train");
    running.signal("HUP");
    assert_eq!(running.end().code, None, "ended by the signal");
    assert_eq!(cluster.queue().len(), 2);
    // somebody who only looked on
    let mut running = cluster.start(&["attach"]);
    running.wait_for("train: job ");
    running.signal("INT");
    let away = running.end().expect(0);
    assert!(away.err.contains("leaving the jobs alone") && away.err.contains("2 stages are under way"), "{away:?}");
    assert_eq!(cluster.queue().len(), 2);
    cluster.call(&["attach", "--cancel"]).expect(0);
    cluster.expect_nothing_left();
}

#[test]
fn files_are_fetched_before_jobs_are_submitted() {
    let Some(cluster) = Cluster::new() else { return };
    let server = Server::start(|_, _| {
        let rows: String = (0..900).map(|row| format!("s{},{}\n", row % 7, row % 3 / 2)).collect();
        Answer::new("200 OK", &[], format!("shop,like\n{rows}").as_bytes())
    });
    let log =
        r#"Csv(train: "train.csv", categorical: ["shop"], labels: ["like"]), path: "logs", fetch: [Fetch(url: "URL")]"#;
    cluster.edit("Simulated(rows: 2000, seed: 7)", &log.replace("URL", &server.url("/train.csv")));
    cluster.edit("valid: FromTest(0.5)", "test: Random(0.3), valid: FromTrain(0.2)");
    let offline = cluster.submit(&["--offline"]).expect(1);
    assert!(offline.err.contains("`--offline` forbids to fetch it") && cluster.ever() == 0, "{offline:?}");
    let seen = cluster.path("seen");
    let path = cluster.stand_in("sbatch", &format!(r#"ls logs >>'{}'; exec "$REAL" "$@""#, seen.display()));
    let ran = cluster.call_with_path(&path, &["run", "pipelines/small.ron", "--on", "slurm"]).expect(0);
    assert_eq!(fs::read_to_string(seen).unwrap(), "train.csv\n".repeat(5), "{ran:?}");
    assert_eq!(server.requests().len(), 1);
}
