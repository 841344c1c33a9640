//! What can go wrong while stages run, and that nothing is lost by it.

use std::fs::{self, File};

use crate::project::{Called, ENDLESS, Project, Running};

/// Flips a bit in the middle of a file and, if wanted, puts its time of modification back.
fn flip(path: &std::path::Path, keep_time: bool) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let time = if keep_time { time } else { time + std::time::Duration::from_secs(1) };
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_flipped_bit_is_mended() {
    let project = Project::new();
    let metrics = project.run(&[]).json()["metrics"].clone();
    flip(&project.largest_file("preprocess"), false);
    let plan = project.call(&["plan", "pipelines/small.ron"]).expect(0);
    assert!(plan.out.contains("artifact damaged"), "{plan:?}");
    let mended = project.run(&[]);
    assert_eq!(mended.ran(), ["preprocess"]);
    assert!(mended.err.contains("warning: preprocess: its artifact is damaged"), "{mended:?}");

    // Not to be seen from outside: found by the next stage that reads it.
    flip(&project.largest_file("preprocess"), true);
    let mended = project.run(&["--set", "train.seed=2"]);
    assert_eq!(mended.ran(), ["preprocess", "train", "evaluate"]);

    // Or by `cache verify`.
    flip(&project.largest_file("model"), true);
    let verified = project.call(&["cache", "verify"]).expect(1);
    assert!(verified.out.contains("set aside, the next run makes it again"), "{verified:?}");
    let again = project.run(&[]);
    assert_eq!(again.ran(), ["model"]);
    assert_eq!(again.json()["metrics"], metrics);
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let project = Project::new();
    project.run(&["--until", "download"]);
    fs::write(project.path(".mtorec/version"), "99\n").unwrap();
    let refused = project.call(&["run", "pipelines/small.ron"]).expect(2);
    assert!(refused.err.contains("format `99`, newer than this mtorec reads"), "{refused:?}");
    assert!(refused.err.contains("hint: update mtorec"), "{refused:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let project = Project::new();
    fs::write(project.path(".mtorec"), "a file where the store should be").unwrap();
    let failed = project.call(&["run", "pipelines/small.ron"]).expect(1);
    assert!(failed.err.contains(".mtorec"), "{failed:?}");
}

#[cfg(unix)]
mod signals {
    use super::*;

    #[test]
    fn ctrl_c_stops_training_and_the_next_run_goes_on() {
        let project = Project::new();
        let arguments = [&["run", "pipelines/small.ron", "--json"], &ENDLESS[..]].concat();
        let mut running = project.start(&arguments);
        running.wait_for("train: runs");
        project.wait_for_checkpoint();
        running.signal("INT");
        let stopped = running.end().expect(130);
        assert!(stopped.err.contains("the next run goes on from them"), "{stopped:?}");
        assert_eq!(stopped.json()["ending"], "interrupted");
        assert_eq!(stopped.results()[3..], ["train=interrupted", "evaluate=not-started"]);
        assert_eq!(fs::read_dir(project.path(".mtorec/tmp")).unwrap().count(), 0);
        let plan = project.call(&[&["plan", "pipelines/small.ron"], &ENDLESS[..]].concat()).expect(0);
        assert!(plan.out.contains("goes on from a checkpoint"), "{plan:?}");
    }

    #[test]
    fn a_killed_run_leaves_no_lock_and_the_next_comes_to_the_same() {
        let longer = ["--set", "train.epochs=200", "--set", "train.patience=200"];
        let (killed, whole) = (Project::new(), Project::new());
        let expected = whole.run(&longer);
        let mut running = killed.start(&[&["run", "pipelines/small.ron"], &longer[..]].concat());
        running.wait_for("train: runs");
        killed.wait_for_checkpoint();
        running.signal("KILL");
        running.end();
        let resumed = killed.run(&longer);
        assert_eq!(resumed.json()["metrics"], expected.json()["metrics"]);
        let content = |json: serde_json::Value| json["stages"][3]["content"].clone();
        assert_eq!(content(resumed.json()), content(expected.json()));
        assert_eq!(fs::read_dir(killed.path(".mtorec/tmp")).unwrap().count(), 0, "leftovers are cleared");
    }

    #[test]
    fn a_second_process_waits_and_says_for_whom() {
        let project = Project::new();
        let arguments = [&["run", "pipelines/small.ron"], &ENDLESS[..]].concat();
        let mut first = project.start(&arguments);
        first.wait_for("train: runs");
        let mut second = project.start(&arguments);
        second.wait_for("train: waits for process");
        second.signal("INT");
        let second = second.end().expect(130);
        assert!(second.err.contains("which makes it as `small/train`"), "{second:?}");
        first.signal("INT");
        first.end().expect(130);
    }

    #[test]
    fn who_waits_takes_over_from_a_killed_process_at_its_checkpoint() {
        let longer =
            ["run", "pipelines/small.ron", "--json", "--set", "train.epochs=200", "--set", "train.patience=200"];
        let (shared, whole) = (Project::new(), Project::new());
        let expected = whole.call(&longer).expect(0);
        let mut first = shared.start(&longer);
        first.wait_for("train: runs");
        let mut second = shared.start(&longer);
        second.wait_for("train: waits for process");
        shared.wait_for_checkpoint();
        first.signal("KILL");
        let first = first.end();
        let second = second.end().expect(0);
        assert!(second.err.contains("which makes it as `small/train`"), "{second:?}");
        assert_eq!(second.results()[..3], ["download=up-to-date", "preprocess=up-to-date", "model=up-to-date"]);
        assert_eq!(second.ran(), ["train", "evaluate"]);
        assert!(second.err.contains("train: runs (never run, goes on from a checkpoint)"), "{second:?}");
        let epochs = |said: &str| said.lines().filter(|line| line.starts_with("train: epoch ")).count();
        let (_, resumed) = second.err.split_once("train: resuming after epoch ").expect("it says where it goes on");
        let resumed: usize = resumed.lines().next().unwrap().parse().unwrap();
        // an epoch is told just before its checkpoint is written
        let before = epochs(&first.err);
        assert!(resumed > 0 && (resumed == before || resumed + 1 == before), "{before} epochs, then after {resumed}");
        assert_eq!(epochs(&second.err), 200 - resumed);
        assert_eq!(second.json()["metrics"], expected.json()["metrics"]);
        let content = |called: &Called| called.json()["stages"][3]["content"].clone();
        assert_eq!(content(&second), content(&expected), "the same bytes");
    }

    /// Killed and interrupted again and again, on other threads with other jobs each time.
    #[test]
    fn any_interruptions_on_any_threads_end_in_the_same_bits() {
        // a balancer with state and one that draws; large enough for kernels to be cut for threads
        for balancer in ["Famo()", "MoDo()"] {
            let settings = [
                "run",
                "pipelines/small.ron",
                "--json",
                "--set",
                "model.sizes=Small",
                "--set",
                &format!("train.balancer={balancer}"),
                "--set",
                "train.batch=512",
                "--set",
                "train.epochs=100",
                "--set",
                "train.patience=100",
            ];
            let on = |project: &Project, threads: &str, jobs: &str| {
                let mut command = project.command(&[&settings[..], &["--jobs", jobs]].concat());
                command.env("RAYON_NUM_THREADS", threads);
                command
            };
            let (whole, disturbed) = (Project::new(), Project::new());
            let expected = Called::from(on(&whole, "1", "1").output().unwrap()).expect(0);
            let mut epochs = Vec::new();
            for (threads, jobs, signal) in
                [("1", "1", "KILL"), ("3", "2", "INT"), ("2", "1", "KILL"), ("5", "3", "KILL")]
            {
                let mut running = Running::start(on(&disturbed, threads, jobs));
                // the second epoch of this call: the first is kept then
                running.wait_for("train: epoch ");
                running.wait_for("train: epoch ");
                running.signal(signal);
                let ended = running.end();
                assert_ne!(ended.code, Some(0), "{ended:?}");
                epochs.push(ended.err.lines().filter(|line| line.starts_with("train: epoch ")).count());
            }
            let last = Called::from(on(&disturbed, "4", "2").output().unwrap()).expect(0);
            assert!(last.err.contains("train: resuming after epoch "), "{last:?}");
            epochs.push(last.err.lines().filter(|line| line.starts_with("train: epoch ")).count());
            // each kill may cost the epoch whose checkpoint was being written
            let done: usize = epochs.iter().sum();
            assert!((100..=104).contains(&done), "{balancer}: epochs of each call {epochs:?}");
            assert_eq!(last.json()["metrics"], expected.json()["metrics"], "{balancer}");
            let content = |called: &Called| called.json()["stages"][3]["content"].clone();
            assert_eq!(content(&last), content(&expected), "{balancer}: the same bytes");
        }
    }

    #[test]
    fn two_processes_make_everything_once() {
        let project = Project::new();
        let longer = ["run", "pipelines/small.ron", "--json", "--set", "train.epochs=60", "--set", "train.patience=60"];
        let (first, second) = (project.start(&longer), project.start(&longer));
        let (first, second) = (first.end().expect(0), second.end().expect(0));
        let mut ran = [first.ran(), second.ran()].concat();
        ran.sort();
        assert_eq!(ran, ["download", "evaluate", "model", "preprocess", "train"]);
        assert_eq!(first.json()["metrics"], second.json()["metrics"]);
    }
}

#[test]
fn a_model_of_another_schema_is_refused() {
    let project = Project::new();
    project.edit(
        r#""model": BuildModel"#,
        r#""elsewhere": Download(dataset: Simulated(country: US, rows: 2000, seed: 7)),
        "other": Preprocess(from: "elsewhere"),
        "model": BuildModel"#,
    );
    let failed = project.call(&["run", "pipelines/small.ron", "--set", r#"evaluate.data="other""#]).expect(1);
    assert!(failed.err.contains("the model was made for another schema than the data's: field `"), "{failed:?}");
    assert!(failed.err.contains("same Preprocess stage"), "{failed:?}");
}
