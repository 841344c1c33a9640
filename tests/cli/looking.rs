//! `check`, `graph`, `metrics`, `list` and `cache`: looking without running.

use std::fs;
use std::process::{Command, Stdio};

use crate::project::Project;

#[test]
fn check_names_good_and_bad_pipelines() {
    let project = Project::new();
    let good = project.call(&["check", "pipelines/small.ron"]).expect(0);
    assert_eq!(good.out, "pipelines/small.ron: ok, 5 stages\n");
    fs::write(project.path("pipelines/bad.ron"), "Pipeline(name: \"bad\", stages: {").unwrap();
    let both = project.call(&["check", "pipelines/bad.ron", "pipelines/small.ron"]).expect(2);
    assert_eq!(both.out, good.out);
    assert!(both.err.contains("bad.ron"), "{both:?}");
    let json = project.call(&["check", "--json", "pipelines/bad.ron", "pipelines/small.ron"]).expect(2);
    assert_eq!(json.json()[0]["ok"], false);
    assert_eq!(json.json()[1]["ok"], true);
    assert_ne!(json.json()[0]["problems"], serde_json::json!([]));
}

#[test]
fn an_architecture_that_cannot_be_built_is_refused_before_anything_runs() {
    let project = Project::new();
    for (arch, problem, help) in [
        ("Ple(levels: 3)", "`levels` is 3, but only two have a width", "help: give 1 or 2"),
        ("DsMoe(n_group: 5)", "`experts` (32) cannot be divided into `n_group` (5)", "help: give a divisor of 32"),
        ("MetaHeac(critics: 0)", "`critics` should be at least 1, not 0", ""),
        ("Stem(shared_experts: 0)", "`shared_experts` should be at least 1, not 0", ""),
        ("Stem(task_experts: 0)", "`task_experts` should be at least 1, not 0", ""),
    ] {
        let fresh = Project::new();
        fresh.edit("Mmoe(experts: 2)", arch);
        for command in ["check", "plan", "run"] {
            let refused = fresh.call(&[command, "pipelines/small.ron"]).expect(2);
            assert!(refused.err.contains("pipelines/small.ron:7:"), "{refused:?}");
            assert!(refused.err.contains(problem) && refused.err.contains(help), "{arch}: {refused:?}");
        }
        assert!(!fresh.path(".mtorec").exists());
        let set = format!("model.arch={arch}");
        let set = project.call(&["check", "pipelines/small.ron", "--set", &set]).expect(2);
        assert!(set.err.contains(problem) && set.err.contains(help), "{arch}: {set:?}");
    }
}

#[test]
fn graph_shows_states() {
    let project = Project::new();
    project.run(&["--until", "model"]);
    let graph = project.call(&["graph", "pipelines/small.ron"]).expect(0);
    insta::assert_snapshot!(graph.out, @r"
    small
      ✓ download    Download    up to date
      ✓ preprocess  Preprocess  up to date  ← download
      ✓ model       BuildModel  up to date  ← preprocess
      ● train       Train       will run    ← preprocess, model
      ● evaluate    Evaluate    will run    ← preprocess, train
    ");
    let dot = project.call(&["graph", "pipelines/small.ron", "--format", "dot"]).expect(0);
    assert!(dot.out.contains("\"train\" -> \"evaluate\";"), "{dot:?}");
    let mermaid = project.call(&["graph", "pipelines/small.ron", "--format", "mermaid"]).expect(0);
    assert!(mermaid.out.starts_with("flowchart LR\n") && mermaid.out.contains("s3 --> s4"), "{mermaid:?}");
}

#[test]
fn metrics_are_those_of_the_last_run() {
    let project = Project::new();
    let none = project.call(&["metrics", "pipelines/small.ron"]).expect(2);
    assert!(none.err.contains("has no metrics yet") && none.err.contains("hint"), "{none:?}");
    let run = project.run(&["--set", "train.seed=3"]);
    let metrics = project.call(&["metrics", "pipelines/small.ron", "--json"]).expect(0);
    assert_eq!(metrics.json()["metrics"], run.json()["metrics"]);
    assert_eq!(metrics.json()["simulated"], true);
    let table = project.call(&["metrics", "pipelines/small.ron"]).expect(0);
    assert!(table.out.starts_with("SIMULATED DATA") && table.out.contains("best attainable"), "{table:?}");

    // the seed is the call's, not the file's, whether or not what the file says was ever run
    let warning = "warning: the last run of `evaluate` is not what the file asks for now";
    assert!(table.err.contains(warning), "{table:?}");
    assert_eq!(metrics.json()["not_as_the_file_says"], serde_json::json!(["evaluate"]));
    project.run(&[]);
    let own = project.call(&["metrics", "pipelines/small.ron", "--json"]).expect(0);
    assert!(own.err.is_empty() && own.json()["not_as_the_file_says"] == serde_json::json!([]), "{own:?}");
    project.run(&["--set", "train.seed=3"]);
    let other = project.call(&["metrics", "pipelines/small.ron"]).expect(0);
    assert!(other.err.contains(warning), "{other:?}");
    // as the file says, by way of the file
    project.edit("patience: 2, seed: 1", "patience: 2, seed: 3");
    let same = project.call(&["metrics", "pipelines/small.ron"]).expect(0);
    assert_eq!(same.err, "");
    // what can be made again as it was is no other thing
    let record = fs::read_to_string(project.path(".mtorec/runs/small.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let key = record["stages"]["train"]["key"].as_str().unwrap();
    fs::remove_dir_all(project.path(&format!(".mtorec/artifacts/{key}"))).unwrap();
    let gone = project.call(&["metrics", "pipelines/small.ron"]).expect(0);
    assert_eq!(gone.err, "");
    project.edit("\"evaluate\"", "\"measure\"");
    let renamed = project.call(&["metrics", "pipelines/small.ron"]).expect(0);
    assert!(renamed.err.contains(warning), "{renamed:?}");

    fs::remove_dir_all(project.path(".mtorec/artifacts")).unwrap();
    let lost = project.call(&["metrics", "pipelines/small.ron"]).expect(1);
    assert!(lost.err.contains("its artifact is gone"), "{lost:?}");
}

#[test]
fn every_metric_is_measured_and_a_reliability_curve_drawn() {
    let project = Project::new();
    let listed = project.call(&["list", "metrics", "--json"]).expect(0).json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    project.edit("model: \"train\", data", &format!("metrics: [{}], model: \"train\", data", names.join(", ")));
    let run = project.run(&[]).json();
    let evaluation = &run["metrics"][0];
    let values = evaluation["values"].as_array().unwrap();
    for name in names {
        let of = |task: &str| values.iter().find(|value| value["metric"] == name && value["task"] == task).unwrap();
        for task in ["click", "conversion", "mean"] {
            let value = of(task)["value"].as_f64().unwrap();
            assert!(value > 0.0 && value.is_finite(), "{name} of {task}: {value}");
        }
        let calibration = matches!(name, "Ece" | "CalibrationRatio");
        assert_eq!(of("click").get("attainable").is_none(), calibration, "{name}");
        assert_eq!(of("click").get("groups").is_some(), name == "Gauc", "{name}");
    }
    let curve = evaluation["reliability"][0]["bins"].as_array().unwrap();
    assert_eq!((&evaluation["reliability"][0]["task"], curve.len()), (&serde_json::json!("click"), 15));
    let rows: u64 = curve.iter().map(|bin| bin["rows"].as_u64().unwrap()).sum();
    assert_eq!(evaluation["rows"], rows);
    let table = project.call(&["metrics", "pipelines/small.ron"]).expect(0).out;
    let headings = table.lines().find(|line| line.starts_with("metric ")).unwrap();
    assert!(headings.ends_with("best attainable  groups"), "{table}");
}

#[test]
fn a_metric_by_group_needs_a_log_with_groups() {
    let project = Project::new();
    let log: String = (0..200).map(|row| format!("{},{},{}\n", row % 3, row % 7, u8::from(row % 5 == 0))).collect();
    for file in ["train.csv", "test.csv"] {
        fs::write(project.path(file), format!("colour,user,click\n{log}")).unwrap();
    }
    let source = r#"Csv(train: "train.csv", test: "test.csv", categorical: ["colour"], labels: ["click"])"#;
    project.edit("Simulated(rows: 2000, seed: 7)", source);
    project.edit("model: \"train\", data", "metrics: [Auc, Gauc], model: \"train\", data");
    let failed = project.call(&["run", "pipelines/small.ron"]).expect(1);
    assert!(failed.err.contains("`Gauc` compares rows of one group"), "{failed:?}");
    assert!(failed.err.contains("at: pipelines/small.ron:9:") && failed.err.contains("Csv(group: ..)"), "{failed:?}");

    project.edit("labels: [\"click\"]", "labels: [\"click\"], group: \"user\"");
    let run = project.run(&[]).json();
    let values = run["metrics"][0]["values"].as_array().unwrap();
    let gauc = values.iter().find(|value| value["metric"] == "Gauc" && value["task"] == "click").unwrap();
    assert_eq!(gauc["groups"], 7);
}

#[test]
fn list_knows_every_room() {
    let project = Project::new();
    for (what, name) in [
        ("models", "Mmoe"),
        ("balancers", "Famo"),
        ("optimizers", "Adam"),
        ("datasets", "AliExpress"),
        ("metrics", "LogLoss"),
        ("sizes", "Paper"),
        ("stages", "Preprocess"),
    ] {
        let text = project.call(&["list", what]).expect(0).out;
        assert!(text.lines().any(|line| line.starts_with(name)), "{what}: {text}");
        let json = project.call(&["list", what, "--json"]).expect(0).json();
        assert!(json.as_array().unwrap().iter().any(|entry| entry["name"] == name), "{what}: {json}");
    }
    project.call(&["list", "nothing"]).expect(2);
}

#[test]
fn list_counts_tasks_and_parameters_of_models() {
    let project = Project::new();
    let text = project.call(&["list", "models"]).expect(0).out;
    let headings: Vec<&str> =
        text.lines().next().unwrap().split("  ").map(str::trim).filter(|h| !h.is_empty()).collect();
    assert_eq!(headings, ["name", "what it is", "tasks", "parameters", "with its defaults"]);
    let json = project.call(&["list", "models", "--json"]).expect(0).json();
    for model in json.as_array().unwrap() {
        let parameters = model["parameters"].as_u64().expect("every architecture fits the AliExpress log");
        assert!(parameters > 1_000_000, "{model}");
        let name = model["name"].as_str().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(&parameters.to_string()), "{line}");
        assert!(line.contains(model["tasks"].as_str().unwrap()), "{line}");
        assert!(line.contains(model["source"].as_str().unwrap()), "{line}");
    }
    let tasks =
        |name: &str| json.as_array().unwrap().iter().find(|model| model["name"] == name).unwrap()["tasks"].clone();
    assert_eq!(tasks("Mmoe"), "1 or more");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let project = Project::new();
    let mut child = project.command(&["list", "stages"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn cache_lists_and_verifies() {
    let project = Project::new();
    let none = project.call(&["cache", "ls"]).expect(2);
    assert!(none.err.contains("there is no store"), "{none:?}");
    project.run(&[]);
    let list = project.call(&["cache", "ls"]).expect(0);
    assert!(list.out.contains("small/train") && list.out.contains("5 artifacts, "), "{list:?}");
    let json = project.call(&["cache", "ls", "--json"]).expect(0).json();
    assert_eq!(json.as_array().unwrap().len(), 5);
    let verified = project.call(&["cache", "verify"]).expect(0);
    assert!(verified.out.starts_with("5 artifacts intact"), "{verified:?}");
}

#[test]
fn gc_removes_what_no_pipeline_reaches() {
    let project = Project::new();
    project.run(&[]);
    project.run(&["--set", "train.seed=2"]);
    // the first run's training and evaluation are unreached now, but young
    let kept = project.call(&["cache", "gc"]).expect(0);
    assert_eq!(kept.out, "0 removed, 0 B\n");
    let dry = project.call(&["cache", "gc", "--keep-days", "0", "--dry-run"]).expect(0);
    assert!(dry.out.lines().last().unwrap().starts_with("2 would go, "), "{dry:?}");
    let wrong = project.call(&["cache", "gc", "--max-size", "5 apples"]).expect(2);
    assert!(wrong.err.contains("unknown unit `apples`"), "{wrong:?}");
    let gone = project.call(&["cache", "gc", "--keep-days", "0", "--json"]).expect(0).json();
    assert_eq!(gone["removed"].as_array().map(Vec::len), Some(2), "{gone}");
    assert!(project.run(&["--set", "train.seed=2"]).ran().is_empty(), "what the last run came to is there");
    assert_eq!(project.run(&[]).ran(), ["train", "evaluate"]);
}

#[test]
fn two_runs_stand_side_by_side() {
    let project = Project::new();
    let first = project.run(&[]);
    fs::write(project.path("first.json"), &first.out).unwrap();
    project.call(&["golden", "bless", "pipelines/small.ron"]).expect(0);
    let same = project.call(&["metrics", "diff", "first.json", "pipelines/small.ron"]).expect(0);
    assert!(same.out.starts_with("SIMULATED DATA: both") && same.out.contains("+0.000000  same"), "{same:?}");
    project.run(&["--set", "train.seed=9"]);
    let other =
        project.call(&["metrics", "diff", "golden/small.ron", "pipelines/small.ron", "--json"]).expect(0).json();
    let verdicts: Vec<&str> =
        other["metrics"].as_array().unwrap().iter().map(|line| line["verdict"].as_str().unwrap()).collect();
    assert!(verdicts.iter().all(|verdict| ["better", "worse"].contains(verdict)), "{verdicts:?}");
    let wrong = project.call(&["metrics", "diff", "nothing.json", "pipelines/small.ron"]).expect(2);
    assert!(wrong.err.contains("cannot read metrics from `nothing.json`"), "{wrong:?}");
    project.call(&["metrics"]).expect(2);
}

#[test]
fn completions_know_every_command_and_are_sound() {
    let project = Project::new();
    let help = project.call(&["--help"]).expect(0).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"run") && commands.contains(&"completions"), "{help}");
    let bash = project.call(&["completions", "bash"]).expect(0).out;
    for command in commands {
        assert!(bash.contains(&format!("mtorec,{command})")), "{command} is not completed");
    }
    assert!(bash.contains("--keep-going"), "options are completed too");
    fs::write(project.path("completions.bash"), &bash).unwrap();
    // where there is a bash, it has to understand them
    if let Ok(parsed) = Command::new("bash").arg("-n").arg(project.path("completions.bash")).output() {
        assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = project.call(&["completions", shell]).expect(0).out;
        assert!(script.contains("golden") && script != bash, "{shell}");
    }
    let wrong = project.call(&["completions", "tcsh"]).expect(2);
    assert!(wrong.err.contains("possible values: bash, elvish, fish, powershell, zsh"), "{wrong:?}");
}
