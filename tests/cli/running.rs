//! `run` and `plan`: what runs, what stays, and why.

use crate::project::{Called, Project};

const ALL: [&str; 5] = ["download", "preprocess", "model", "train", "evaluate"];

#[test]
fn a_second_run_does_nothing_and_says_so() {
    let project = Project::new();
    let first = project.run(&[]);
    assert_eq!(first.ran(), ALL);
    assert_eq!(first.json()["ending"], "done");
    assert_eq!(first.json()["simulated"], true);
    assert_eq!(first.json()["metrics"][0]["stage"], "evaluate");
    assert_eq!(first.json()["metrics"][0]["simulated"], true);
    let second = project.call(&["run", "pipelines/small.ron"]).expect(0);
    assert!(second.out.starts_with("small: every stage is up to date\n"), "{second:?}");
    assert!(second.out.contains("SIMULATED DATA"), "{second:?}");
    assert_eq!(second.err, "", "nothing to say about nothing done");
}

#[test]
fn a_seed_of_training_runs_training_and_evaluation_only() {
    let project = Project::new();
    project.run(&[]);
    let plan = project.call(&["plan", "pipelines/small.ron", "--set", "train.seed=2"]).expect(0);
    assert!(plan.out.contains("will run: seed: 1 → 2"), "{plan:?}");
    assert!(plan.out.contains("will run if `train` changes"), "{plan:?}");
    assert_eq!(project.run(&["--set", "train.seed=2"]).ran(), ["train", "evaluate"]);
    assert!(project.run(&[]).ran().is_empty(), "the first seed's artifacts are still there");
}

#[test]
fn comments_order_and_names_run_nothing() {
    let project = Project::new();
    project.run(&[]);
    project.edit("// a pipeline small enough for a test", "/* said in other words */");
    project.edit("        \"download\": Download(dataset: Simulated(rows: 2000, seed: 7)),\n", "");
    project.edit(
        "    },\n    golden",
        "        \"log\":\n  Download( dataset: Simulated(seed: 7, rows: 2000) ),\n    },\n    golden",
    );
    project.edit("from: \"download\"", "from: \"log\"");
    let again = project.run(&[]);
    assert!(again.ran().is_empty(), "{again:?}");
    assert_eq!(again.results()[0], "log=up-to-date");
}

#[test]
fn plan_changes_nothing_on_the_disk() {
    let project = Project::new();
    let plan = project.call(&["plan", "pipelines/small.ron", "--json"]).expect(0).json();
    let verdicts: Vec<&str> =
        plan["stages"].as_array().unwrap().iter().map(|stage| stage["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["run"; 5]);
    assert_eq!(plan["stages"][0]["reasons"], serde_json::json!(["never run"]));
    assert!(!project.path(".mtorec").exists());
}

#[test]
fn force_and_until_choose_stages() {
    let project = Project::new();
    assert_eq!(project.run(&["--until", "model"]).ran(), ALL[..3]);
    assert_eq!(project.run(&[]).ran(), ALL[3..]);
    assert_eq!(project.run(&["--force", "preprocess"]).ran(), ["preprocess"], "equal bytes stop there");
    let wrong = project.call(&["run", "pipelines/small.ron", "--until", "trian"]).expect(2);
    assert!(wrong.err.contains("has no stage `trian`") && wrong.err.contains("did you mean `train`?"), "{wrong:?}");
    let wrong = project.call(&["plan", "pipelines/small.ron", "--force", "x"]).expect(2);
    assert!(wrong.err.contains("its stages are download, preprocess, model, train, evaluate"), "{wrong:?}");
}

#[test]
fn after_a_failure_only_a_call_that_keeps_going_starts_more() {
    let project = Project::new();
    project.edit(
        "\"train\": Train(",
        "\"worse\": Train(model: \"model\", data: \"preprocess\", optimizer: Adam(lr: 1e30)),\n\"train\": Train(",
    );
    let stopped = project.call(&["run", "pipelines/small.ron", "--json"]).expect(1);
    assert_eq!(stopped.results()[3..], ["worse=failed", "train=not-started", "evaluate=not-started"]);
    assert_eq!(stopped.json()["ending"], "failed");
    assert!(stopped.err.contains("\n1 of 6 stages failed, 0 need them, 2 not started\n"), "{stopped:?}");
    assert!(stopped.err.contains("\nhint: `--keep-going` "), "{stopped:?}");
    let table = project.call(&["run", "pipelines/small.ron"]).expect(1);
    assert!(table.out.contains("not started"), "{table:?}");
    let kept = project.call(&["run", "pipelines/small.ron", "--json", "--keep-going"]).expect(1);
    assert_eq!(kept.results()[3..], ["worse=failed", "train=ran", "evaluate=ran"]);
    assert!(kept.err.contains("error: stage `worse`: ") && !kept.err.contains("--keep-going"), "{kept:?}");
}

#[test]
fn jobs_make_no_difference() {
    let (one, four) = (Project::new(), Project::new());
    let (one, four) = (one.run(&["--jobs", "1"]), four.run(&["--jobs", "4"]));
    assert_eq!(one.json()["metrics"], four.json()["metrics"]);
    let contents = |json: serde_json::Value| -> Vec<serde_json::Value> {
        json["stages"].as_array().unwrap().iter().map(|stage| stage["content"].clone()).collect()
    };
    assert_eq!(contents(one.json()), contents(four.json()));
}

#[test]
fn root_names_another_folder_for_everything() {
    let project = Project::new();
    std::fs::create_dir(project.path("elsewhere")).unwrap();
    project.run(&["--root", "elsewhere"]);
    assert!(project.path("elsewhere/.mtorec").is_dir() && !project.path(".mtorec").exists());
    let wrong = project.call(&["run", "pipelines/small.ron", "--root", "nowhere"]).expect(2);
    assert!(wrong.err.contains("`nowhere` is no folder"), "{wrong:?}");
}

#[test]
fn wrong_calls_end_with_2() {
    let project = Project::new();
    for arguments in [
        &["run", "pipelines/none.ron"][..],
        &["run", "pipelines/small.ron", "--set", "train.sed=2"],
        &["run", "pipelines/small.ron", "--device", "cuda"],
        &["run", "pipelines/small.ron", "--device", "tpu"],
        &["run", "pipelines/small.ron", "--jobs", "0"],
        &["run"],
        &["rum"],
    ] {
        let wrong = project.call(arguments).expect(2);
        assert!(wrong.out.is_empty() && !wrong.err.is_empty(), "{arguments:?}: {wrong:?}");
    }
    assert!(!project.path(".mtorec").exists(), "nothing is written for a wrong call");
}

#[test]
fn threads_make_no_difference() {
    let content = |threads: &str, balancer: &str| {
        let project = Project::new();
        let settings =
            ["--set", "model.sizes=Small", "--set", &format!("train.balancer={balancer}"), "--set", "train.batch=512"];
        let mut command = project.command(&[&["run", "pipelines/small.ron", "--json"], &settings[..]].concat());
        let done = Called::from(command.env("RAYON_NUM_THREADS", threads).output().unwrap()).expect(0);
        done.json()["stages"].as_array().unwrap().iter().map(|stage| stage["content"].clone()).collect::<Vec<_>>()
    };
    for balancer in ["Famo()", "NashMtl()"] {
        let one = content("1", balancer);
        assert_eq!(one, content("2", balancer), "{balancer}");
        assert_eq!(one, content("5", balancer), "{balancer}");
    }
}

/// Two balancers with two seeds each, and a table of them.
#[test]
fn a_comparison_is_part_of_the_pipeline() {
    let project = Project::new();
    let mut stages = String::new();
    for (name, balancer) in [("ls", "Ls()"), ("famo", "Famo()")] {
        for seed in [1, 2] {
            stages += &format!(
                r#"
        "{name}_{seed}": Train(model: "model", data: "preprocess", balancer: {balancer}, epochs: 2, batch: 256, seed: {seed}),
        "{name}_eval_{seed}": Evaluate(model: "{name}_{seed}", data: "preprocess"),"#
            );
        }
    }
    stages += r#"
        "table": Compare(rows: [
            Row(name: "sum of losses", runs: ["ls_eval_1", "ls_eval_2"]),
            Row(name: "FAMO", runs: ["famo_eval_1", "famo_eval_2"]),
        ], metrics: [Auc, LogLoss], baseline: "sum of losses"),"#;
    project.edit(r#"stages: {"#, &format!("stages: {{{stages}"));
    let run = project.run(&[]).json();
    let tables = &run["comparisons"][0]["tables"];
    assert_eq!((tables[0]["metric"].as_str(), tables[1]["metric"].as_str()), (Some("Auc"), Some("LogLoss")));
    let of = |stage: &str| {
        let found = run["metrics"].as_array().unwrap().iter().find(|found| found["stage"] == stage).unwrap();
        found["values"][0]["value"].as_f64().unwrap()
    };
    let entry = &tables[0]["rows"][1]["entries"][0];
    let (a, b) = (of("famo_eval_1"), of("famo_eval_2"));
    assert!((entry["mean"].as_f64().unwrap() - (a + b) / 2.0).abs() < 1e-12, "{entry}");
    let difference = (a + b - of("ls_eval_1") - of("ls_eval_2")) / 2.0;
    assert!((entry["difference"]["mean"].as_f64().unwrap() - difference).abs() < 1e-12, "{entry}");
    assert_eq!((entry["n"].as_u64(), run["comparisons"][0]["simulated"].as_bool()), (Some(2), Some(true)));

    // the names of stages are no part of it, the seeds of its runs are
    let text = project.call(&["run", "pipelines/small.ron"]).expect(0);
    assert!(text.out.contains("sum of losses") && text.out.contains("table, simulated"), "{text:?}");
    let shown = project.call(&["metrics", "pipelines/small.ron"]).expect(0);
    assert!(shown.out.contains("FAMO"), "{shown:?}");
    let changed = project.run(&["--set", "famo_2.seed=3"]);
    assert_eq!(changed.ran(), ["famo_2", "famo_eval_2", "table"]);
}
