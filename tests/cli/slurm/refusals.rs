//! Slurm refuses, or is not there: its own words, and nothing half-submitted is left.

use std::fs;
use std::os::unix::fs::symlink;

use super::Cluster;
use crate::project::{ENDLESS, Project, Running};

const RUN: [&str; 4] = ["run", "pipelines/small.ron", "--on", "slurm"];

#[test]
fn a_partition_that_there_is_not_is_told_in_slurms_words() {
    let Some(cluster) = Cluster::new() else { return };
    let refused = cluster.submit(&["--set", "resources.partition=\"nowhere\""]).expect(1);
    assert!(
        refused.err.contains("`sbatch` refuses: ") && refused.err.contains("Invalid partition name"),
        "{refused:?}"
    );
    assert!(refused.err.contains("hint: `resources` in the pipeline says what jobs ask for"), "{refused:?}");
    assert_eq!((cluster.ever(), refused.out.as_str()), (0, ""));
    cluster.expect_nothing_left();

    // of the last stage only: what Slurm took before is taken back
    let refused = cluster.submit(&["--set", "evaluate.resources.partition=\"nowhere\""]).expect(1);
    assert!(refused.err.contains("Invalid partition name specified"), "{refused:?}");
    assert_eq!(cluster.ever(), 4);
    assert_eq!(cluster.made(), 0, "nothing was begun");
    cluster.expect_nothing_left();
    assert_eq!(cluster.submit(&[]).expect(0).ran().len(), 5);
}

#[test]
fn too_many_jobs_are_told_and_those_that_slurm_took_are_taken_back() {
    let Some(cluster) = Cluster::new() else { return };
    // what Slurm says where an account may have so many jobs at once
    let full = r#"if [ $COUNT -ge 3 ]; then
        echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2
        echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)" >&2
        exit 1
    fi
    exec "$REAL" "$@""#;
    let path = cluster.stand_in("sbatch", full);
    let refused = cluster.call_with_path(&path, &RUN).expect(1);
    let words = "`sbatch` refuses: sbatch: error: AssocMaxSubmitJobLimit; sbatch: error: Batch job submission failed: Job \
                 violates accounting/QOS policy (job submit limit";
    assert!(refused.err.contains(words), "{refused:?}");
    assert!(refused.err.contains("hint: the cluster takes no more jobs just now"), "{refused:?}");
    assert_eq!((cluster.calls("sbatch"), cluster.ever()), (3, 2));
    cluster.expect_nothing_left();

    // and Slurm does not listen when they are to be taken back: the next call does it
    fs::remove_file(cluster.path("bin/sbatch.calls")).unwrap();
    cluster
        .stand_in("scancel", "echo 'scancel: error: Unable to contact slurm controller (connect failure)' >&2; exit 1");
    let refused = cluster.call_with_path(&path, &RUN).expect(1);
    assert!(refused.err.contains("warning: slurm: jobs of submission "), "{refused:?}");
    assert!(refused.err.contains("the next run takes them back"), "{refused:?}");
    let held = cluster.queue();
    assert_eq!((held.len(), cluster.unfinished().len()), (2, 1), "{held:?}");
    let attached = cluster.call_with_path(&path, &["attach"]).expect(1);
    assert!(attached.err.contains("was broken off before all of its jobs stood"), "{attached:?}");
    let ran = cluster.submit(&[]).expect(0);
    assert!(ran.err.contains("was broken off: it is taken back"), "{ran:?}");
    assert_eq!(ran.ran().len(), 5);
    cluster.expect_nothing_left();
}

#[test]
fn who_is_killed_while_submitting_leaves_nothing_for_ever() {
    let Some(cluster) = Cluster::new() else { return };
    let path = cluster.stand_in("sbatch", r#"if [ $COUNT = 2 ]; then exec sleep 5; fi; exec "$REAL" "$@""#);
    let mut command = cluster.command(&RUN);
    command.env("PATH", &path);
    let running = Running::start(command);
    crate::project::wait_until("second submission", || cluster.calls("sbatch") == 2);
    running.signal("KILL");
    running.end();
    let held = cluster.queue();
    assert_eq!(held.len(), 1, "{held:?}");
    let ran = cluster.submit(&[]).expect(0);
    assert!(ran.err.contains("was broken off: it is taken back"), "{ran:?}");
    assert_eq!((ran.ran().len(), cluster.ever()), (5, 6));
    cluster.expect_nothing_left();
}

#[test]
fn who_is_interrupted_while_submitting_leaves_nothing() {
    let Some(cluster) = Cluster::new() else { return };
    let path = cluster.stand_in("sbatch", r#"if [ $COUNT = 2 ]; then sleep 1; fi; exec "$REAL" "$@""#);
    let mut command = cluster.command(&RUN);
    command.env("PATH", &path);
    let running = Running::start(command);
    crate::project::wait_until("second submission", || cluster.calls("sbatch") == 2);
    running.signal("INT");
    let stopped = running.end().expect(130);
    assert!(stopped.err.contains("error: interrupted"), "{stopped:?}");
    assert_eq!(cluster.ever(), 2);
    cluster.expect_nothing_left();
}

#[test]
fn commands_of_slurm_that_are_missing_are_named() {
    let Some(cluster) = Cluster::new() else { return };
    let nothing = cluster.path("bin");
    fs::create_dir(&nothing).unwrap();
    let nothing = nothing.to_str().unwrap();
    for program in ["scontrol", "sbatch"] {
        let missing = cluster.call_with_path(nothing, &RUN).expect(1);
        assert!(missing.err.contains(&format!("error: cannot run `{program}`: No such file")), "{missing:?}");
        assert!(missing.err.contains("hint: `--on slurm` wants Slurm's commands on this machine"), "{missing:?}");
        // the others are there the next time
        for program in ["scontrol", "squeue", "scancel"] {
            let path = std::env::var("PATH").unwrap();
            let found = path.split(':').map(|folder| format!("{folder}/{program}"));
            let _ = symlink(
                found.into_iter().find(|file| fs::exists(file).unwrap()).unwrap(),
                cluster.path("bin").join(program),
            );
        }
        cluster.expect_nothing_left();
    }
}

#[test]
fn a_folder_that_slurm_cannot_name_is_refused() {
    let Some(cluster) = Cluster::new() else { return };
    let folder = cluster.path("back\\slash/pipelines");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(cluster.pipeline(), folder.join("small.ron")).unwrap();
    let refused = cluster.call(&["run", "back\\slash/pipelines/small.ron", "--on", "slurm"]).expect(1);
    assert!(refused.err.contains("Slurm cannot write logs to `"), "{refused:?}");
    assert!(refused.err.contains("without backslashes"), "{refused:?}");
    assert_eq!(cluster.ever(), 0);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let project = Project::new();
    for (options, words) in [
        (&["--detach"][..], "`--detach` is for jobs of a cluster"),
        (&["--requeue", "1"], "`--requeue` is for jobs of a cluster"),
        (&["--on", "slurm", "--jobs", "2"], "with `--on slurm` it is Slurm that counts jobs"),
    ] {
        let refused = project.call(&[&["run", "pipelines/small.ron"], options].concat()).expect(2);
        assert!(refused.err.contains(words) && refused.err.contains("hint: "), "{refused:?}");
    }
    for (call, words) in [
        (&["attach"][..], "no jobs are under way in the project"),
        (&["attach", "pipelines/small.ron", "--cancel"], "no jobs of `pipelines/small.ron` are under way"),
        (&["attach", "0123abcd"], "no jobs of `0123abcd` are under way"),
    ] {
        let refused = project.call(call).expect(2);
        assert!(refused.err.contains(words), "{refused:?}");
    }
    for extra in ["--array=1-9", "-d afterok:1", "--clusters=other"] {
        let set = format!("resources.extra=[{extra:?}]");
        let refused = project.call(&["run", "pipelines/small.ron", "--on", "slurm", "--set", &set]).expect(2);
        assert!(refused.err.contains("is what mtorec itself says to `sbatch`"), "{refused:?}");
    }
    assert!(!project.path(".mtorec").exists());
}

#[test]
fn a_queue_that_hangs_does_not_keep_the_user() {
    let Some(cluster) = Cluster::new() else { return };
    // it answers before jobs are submitted, and never after
    let path = cluster
        .stand_in("squeue", r#"if [ -e "$(dirname "$0")/sbatch.calls" ]; then exec sleep 600; fi; exec "$REAL" "$@""#);
    cluster.stand_in("sbatch", r#"exec "$REAL" "$@""#);
    let mut command = cluster.command(&[&RUN[..], &ENDLESS].concat());
    command.env("PATH", &path);
    let mut running = Running::start(command);
    cluster.wait_for_checkpoint();
    running.signal("INT");
    running.wait_for("once more to leave them alone");
    running.signal("INT");
    let stopped = running.end().expect(130);
    assert!(stopped.err.contains("jobs go on: `mtorec attach` comes back to them"), "{stopped:?}");
    // its jobs go on; who comes back ends them
    let cancelled = cluster.call(&["attach", "--cancel"]).expect(0);
    assert!(cancelled.err.contains("finished stages and checkpoints are kept"), "{cancelled:?}");
    cluster.expect_nothing_left();
}
