//! What types cannot say of a pipeline.

use super::*;

#[test]
fn names_are_checked() {
    assert_snapshot!(wrong(&short_with("(name: \"p\"", "(name: \"\"")), @"1:8: the pipeline's name is empty | use letters, digits, `_`, `-` and `.`; the first is a letter, a digit or `_`");
    assert_snapshot!(wrong(&short_with("(name: \"p\"", "(name: \"../p\"")), @"1:8: the pipeline's name may not hold '/' | use letters, digits, `_`, `-` and `.`; the first is a letter, a digit or `_`");
    assert_snapshot!(wrong(&SHORT.replace("\"t\"", "\"a/b\"")), @"5:5: a stage's name may not hold '/' | use letters, digits, `_`, `-` and `.`; the first is a letter, a digit or `_`");
    assert_snapshot!(wrong("(name: \"p\", stages: {})"), @"1:21: there are no stages | add at least one of `Download`, `Preprocess`, `BuildModel`, `Train`, `Evaluate`, `Predict`, `Compare`, `Toy`");
    assert_eq!(read(&SHORT.replace("\"p\"", "\"v1.2_a-b\"")).name, "v1.2_a-b");
}

#[test]
fn references_must_lead_to_a_fitting_stage() {
    let long = SHORT.replace("\"p\"", "\"prepare\"").replace("\"m\"", "\"model\"");
    assert_snapshot!(wrong(&long.replacen("data: \"prepare\"", "data: \"prepaer\"", 1)), @"4:31: no stage `prepaer` | did you mean `prepare`? `data` takes a `Preprocess`: `prepare`");
    assert_snapshot!(wrong(&short_with("from: \"d\"", "from: \"m\"")), @"
    3:27: `m` is a `BuildModel`, which may not be the `from` of `p` | `from` takes a `Download`: `d`
    3:27: the stages form a cycle: p → m → p | a stage cannot read what is made from its own result
    ");
    assert_snapshot!(wrong(&short_with("model: \"t\"", "model: \"d\"")), @"6:26: `d` is a `Download`, which may not be the `model` of `e` | `model` takes a `BuildModel` or `Train`: `m`, `t`");
    assert_snapshot!(wrong("(name: \"p\", stages: {\"p\": Preprocess(from: \"d\")})"), @"1:44: no stage `d` | `from` takes a `Download`: there is none here");
}

#[test]
fn cycles_are_printed_as_a_path() {
    let text = short_with(
        "\n})",
        "\n    \"a\": Train(model: \"b\", data: \"p\"), \"b\": Train(model: \"c\", data: \"p\"), \"c\": Train(model: \"a\", data: \"p\"),\n    \"self\": Train(model: \"self\", data: \"p\"), \"after\": Train(model: \"a\", data: \"p\")\n})",
    );
    assert_snapshot!(wrong(&text), @"
    7:23: the stages form a cycle: a → b → c → a | a stage cannot read what is made from its own result
    8:26: the stages form a cycle: self → self | a stage cannot read what is made from its own result
    ");
}

#[test]
fn a_long_cycle_is_named_whole_and_marked_where_it_begins() {
    let stage = |at: usize| format!("\"t{at}\": Train(model: \"t{}\", data: \"p\"), ", (at + 1) % 300);
    let stages: String = (0..300).map(stage).collect();
    let text = short_with("\n})", &format!("\n    {stages}\n}})"));
    let text = parse(&text, "p.ron", &[]).unwrap_err().render(Look::Plain);
    assert!(text.contains("t0 → t1 → t2 →") && text.contains("→ t298 → t299 → t0"), "{text}");
    assert_eq!(text.matches("and goes on here").count(), 20);
}

#[test]
fn long_chains_are_no_cycles() {
    let chain: String = (1..3000).map(|i| format!("\"t{i}\": Train(model: \"t{}\", data: \"p\"),", i - 1)).collect();
    let text = short_with("\n})", &format!("\"t0\": Train(model: \"m\", data: \"p\"),{chain}\n}})"));
    assert_eq!(read(&text).stages.len(), 3005);
}

#[test]
fn numbers_must_make_sense() {
    let cases = [
        ("from: \"d\"", "from: \"d\", valid: FromTest(1), test: Random(0.0), fill: inf"),
        ("from: \"d\"", "from: \"d\", valid: FromTrain(NaN)"),
        (
            "model: \"m\",",
            "model: \"m\", epochs: 0, batch: 1, patience: 0, optimizer: Adam(lr: 0, betas: (1, -0.1), eps: 0, weight_decay: -1),",
        ),
        ("Mmoe()", "Mmoe(experts: 0, dropout: 1.0), sizes: Custom(embed: 0, bottom: (1, 0), tower: (4, 2))"),
        ("AliExpress()", "Simulated(rows: 99), when_missing: Simulate(rows: 0)"),
        ("\n})", "\n}, golden: Golden(file: \" \", tolerance: -1e-3))"),
    ];
    let all: Vec<String> = cases.iter().map(|(from, to)| wrong(&short_with(from, to))).collect();
    assert_snapshot!(all.join("\n"), @"
    3:48: `FromTest` should be a share between 0 and 1, both excluded, not 1
    3:65: `Random` should be a share between 0 and 1, both excluded, not 0.0
    3:77: `fill` should be a finite number, not inf
    3:49: `FromTrain` should be a share between 0 and 1, both excluded, not NaN
    5:36: `epochs` should be at least 1, not 0
    5:46: `batch` should be at least 2 (batch normalisation needs two rows), not 1
    5:59: `patience` should be at least 1, not 0
    5:82: `lr` should be a positive number, not 0
    5:93: `betas` should be a number from 0 to less than 1, not 1
    5:96: `betas` should be a number from 0 to less than 1, not -0.1
    5:108: `eps` should be a positive number, not 0
    5:125: `weight_decay` should be a number of at least 0, not -1
    4:52: `experts` should be at least 1, not 0
    4:64: `dropout` should be a number from 0 to less than 1, not 1.0
    4:91: `embed` should be at least 1, not 0
    4:106: `bottom` should be at least 1, not 0
    2:44: `rows` should be at least 100 (or the splits are too small to measure anything), not 99
    2:78: `rows` should be at least 100 (or the splits are too small to measure anything), not 0
    7:25: `file` is empty | give a path, or leave the field out
    7:41: `tolerance` should be a number of at least 0, not -1e-3
    ");
    let problems = parse(&short_with("Mmoe()", "Mmoe(dropout: 2)"), "p.ron", &[]).unwrap_err();
    assert_eq!(problems.list[0].message, "`dropout` should be a number from 0 to less than 1, not 2");
}

#[test]
fn an_architecture_judges_its_own_numbers() {
    let cases = [
        "Stem(shared_experts: 0)",
        "Stem(task_experts: 0, layers: 0)",
        "MetaHeac(critics: 0)",
        "Ple(levels: 0)",
        "Ple(levels: 3)",
        "DsMoe(n_group: 5)",
        "DsMoe(topk_group: 2)",
        "DsMoe(experts: 4)",
        "DsMoe(routed_scaling: -1)",
    ];
    let all: Vec<String> = cases.iter().map(|arch| wrong(&short_with("Mmoe()", arch))).collect();
    assert_snapshot!(all.join("\n"), @"
    4:59: `shared_experts` should be at least 1, not 0
    4:57: `task_experts` should be at least 1, not 0
    4:68: `layers` should be at least 1, not 0
    4:56: `critics` should be at least 1, not 0
    4:50: `levels` should be at least 1, not 0
    4:50: `levels` is 3, but only two have a width: those of the bottom in `sizes` | give 1 or 2
    4:53: `experts` (32) cannot be divided into `n_group` (5) equal groups | give a divisor of 32
    4:56: `topk_group` (2) is more than the groups there are (`n_group`: 1) | give at most 1
    4:38: `top_k` (8) is more than the 4 experts that a sample may choose from | give at most 4
    4:60: `routed_scaling` should be a positive number, not -1 | 1.0 leaves the gate values as they are
    ");
    // what is out of range, or no number at all, is reported once
    assert_snapshot!(wrong(&short_with("Mmoe()", "DsMoe(n_group: 5, top_k: 0)")), @"4:63: `top_k` should be at least 1, not 0");
    assert_snapshot!(wrong(&short_with("Mmoe()", "Ple(levels: \"3\")")), @r#"4:50: expected a whole number of at least 0, found the string "3" | numbers have no quotes: `3`"#);
    assert_snapshot!(wrong_with(SHORT, &["m.arch=Ple(levels: 3)"]), @"--set m.arch=Ple(levels: 3):1:20: `levels` is 3, but only two have a width: those of the bottom in `sizes` | give 1 or 2");
}

#[test]
fn a_balancer_judges_its_own_numbers() {
    read(&short_with("model: \"m\",", "model: \"m\", balancer: Famo(gamma: -1),"));
}

#[test]
fn columns_and_metrics_are_used_once() {
    let csv = |columns: &str| {
        wrong(&short_with("AliExpress()", &format!("Csv(train: \"a.csv\", test: \"b.csv\", {columns})")))
    };
    assert_snapshot!(csv("categorical: [\"a\", \"b\"], numerical: [\"b\", \"\"], labels: [\"a\"]"), @"
    2:100: column `b` is used twice | a column is categorical, numerical, a label, the group or the time, and only one of these
    2:105: a column of `numerical` has no name
    2:119: column `a` is used twice | a column is categorical, numerical, a label, the group or the time, and only one of these
    ");
    assert_snapshot!(csv("categorical: [\"u\", \"b\"], labels: [\"y\"], group: \"u\", time: \"t\", numerical: [\"t\"]"), @"
    2:110: column `u` is used twice | a column is categorical, numerical, a label, the group or the time, and only one of these
    2:121: column `t` is used twice | a column is categorical, numerical, a label, the group or the time, and only one of these
    ");
    assert_snapshot!(csv("labels: [\"y\"], group: \"u\", time: \"u\""), @"2:96: column `u` is used twice | a column is categorical, numerical, a label, the group or the time, and only one of these");
    assert_snapshot!(csv("labels: [\"y\"], group: \"\""), @"2:85: a column of `group` has no name");
    assert_snapshot!(csv("labels: []"), @r#"2:71: `labels` is empty: there is nothing to learn | name the column of each task's label: `labels: ["click"]`"#);
    assert_snapshot!(wrong(&short_with("AliExpress()", "Csv(train: \"\", labels: [\"y\"])")), @"
    2:39: `train` is empty | give a path, or leave the field out
    3:10: there are no test rows: the `Csv` of `d` names no `test` file | draw them with `test: Random(0.2)`, or name the file in `Csv(test: ..)`
    ");
    assert_snapshot!(wrong(&short_with("model: \"t\",", "model: \"t\", metrics: [Auc, LogLoss, Auc],")), @"6:55: metric `Auc` is given twice");
    assert_snapshot!(wrong(&short_with("model: \"t\",", "model: \"t\", metrics: [],")), @"6:40: `metrics` is empty | for example `metrics: [Auc, LogLoss]`");
    assert_snapshot!(wrong(&short_with("AliExpress()", "AliExpress(), path: \"\"")), @"2:48: `path` is empty | give a path, or leave the field out");
}

#[test]
fn files_are_fetched_from_the_web_and_are_the_data_sets() {
    let census = |entries: &str| short_with("AliExpress()", &format!("CensusIncome(), fetch: [\n{entries}]"));
    let digest = "0".repeat(64);
    let good = format!(
        "Fetch(url: \"https://a/census-income.data.gz\", sha256: \"{digest}\"), (url: \"http://b/t\", file: \"census-income.test\")"
    );
    let Stage::Download(download) = &read(&census(&good)).stages["d"] else { panic!() };
    let names: Vec<_> = download.fetch.iter().filter_map(Fetch::name).collect();
    assert_eq!(names, ["census-income.data.gz", "census-income.test"]);

    let entries = [
        r#"(url: "file:///x/census-income.data")"#,
        r#"(url: "https://me:pw@a/census-income.data", sha256: "12")"#,
        r#"(url: "https://a/"), (url: "https://a/b", file: "census-income.dat")"#,
        r#"(url: "https://a/census-income.test"), (url: "https://a/b", file: "census-income.test.gz")"#,
    ];
    assert_snapshot!(wrong(&census(&entries.join(",\n"))), @r#"
    3:7: `file:///x/census-income.data`: only `http://` and `https://` addresses are fetched | give the file's address, like `https://example.org/train.csv.gz`; `path:` names a folder of this machine
    4:7: `https://me:pw@a/census-income.data`: an address with a user name or a password in it is not fetched | give the file's address, like `https://example.org/train.csv.gz`; `path:` names a folder of this machine
    4:53: a SHA-256 has 64 hexadecimal digits | `sha256sum FILE` prints it; leave it out if it is not known
    5:7: the address does not end in a file's name | say what the file is called here: `file: "train.csv.gz"`
    5:49: `CensusIncome` reads no file `census-income.dat` | did you mean `census-income.data`? its files are `census-income.data`, `census-income.test`, `census+income+kdd.zip` (or the same with `.gz`); `file:` says what the file is called here
    6:67: `census-income.test` is fetched twice
    "#);
    let csv = short_with(
        "AliExpress()",
        "Csv(train: \"../a.csv\", test: \"b.csv\", labels: [\"y\"]), fetch: [(url: \"https://a/b\", file: \"../a.csv\")]",
    );
    assert_snapshot!(wrong(&csv), @"2:117: `../a.csv` lies outside the data set's folder | files are fetched into it: name the folder in `path:` and the file without one");
    let simulated = census(&good).replace("fetch", "when_missing: Simulate(rows: 500), fetch");
    assert_snapshot!(wrong(&simulated), @"2:58: what is missing is either fetched or simulated | leave `when_missing` or `fetch` out");
    assert_snapshot!(wrong(&census(&good).replace("CensusIncome", "Simulated")), @"2:48: a simulated log has no files to fetch | leave `fetch` out, or name a real data set");
}

#[test]
fn a_toy_names_balancers_that_make_sense_there() {
    let toy = |fields: &str| format!("(name: \"p\", stages: {{\"toy\": Toy({fields})}})");
    let Stage::Toy(plain) = &read(&toy("balancers: [Ls()]")).stages["toy"] else { panic!() };
    assert_eq!((plain.steps, plain.scale, plain.seed, plain.starts.as_slice()), (50_000, 1.0, 1, &Toy::STARTS[..]));
    assert_eq!(plain.optimizer, Optimizer::Adam(Adam { lr: 1e-3, weight_decay: 0.0, ..Adam::default() }));
    let good = "balancers: [Famo(lower_bounds: [-2.1, -21]), Pub(scale: Raw)], scale: 0.1, starts: [(1, 2)], seed: 3";
    read(&toy(good));

    assert_snapshot!(wrong(&toy("balancers: [], starts: []")), @"
    1:44: `balancers` is empty | for example `balancers: [Ls(), NashMtl()]`
    1:56: `starts` is empty | leave it out for the five points of the published figures
    ");
    assert_snapshot!(wrong(&toy("balancers: [Ls(), Ls(), Ls(task_weights: [1.0, 2.0])]")), @"1:51: this `Ls` is given twice");
    assert_snapshot!(wrong(&toy("balancers: [Krum(), Famo(gamma: -1)]")), @"
    1:45: balancer Krum: needs at least `byzantine` + 3 tasks, found 2 with `byzantine` 1 | the toy problem has two tasks
    1:53: balancer Famo: `gamma` must be 0 or above, found -1 | the toy problem has two tasks
    ");
    assert_snapshot!(
        wrong(&toy("balancers: [LogMgda(), ClippyAdam(of: Gls()), Mgda(normalise: Loss), Famo(lower_bounds: [-21, -21])], scale: 2")),
        @"
    1:45: this `LogMgda` takes logarithms of the losses, or divides by them, and on the toy problem they fall to -40 and -20 | leave it out: it is defined for positive losses only
    1:56: this `ClippyAdam` takes logarithms of the losses, or divides by them, and on the toy problem they fall to -40 and -20 | leave it out: it is defined for positive losses only
    1:79: this `Mgda` takes logarithms of the losses, or divides by them, and on the toy problem they fall to -40 and -20 | leave it out: it is defined for positive losses only
    1:102: `Famo` takes logarithms of the losses above its `lower_bounds`, and on the toy problem they fall to -40 and -20 | give bounds that they never reach: `lower_bounds: [-42.0, -21.0]`
    "
    );
    assert_snapshot!(wrong(&toy("balancers: [Ls()], steps: 0, scale: 0, starts: [(1, 2000)]")), @"
    1:59: `steps` should be from 1 to 1,000,000, not 0
    1:69: `scale` should be above 0 and at most 1,000,000, not 0
    1:85: `starts` should be from -1000 to 1000, not 2000
    ");
    assert_snapshot!(wrong(&toy("balancers: [Ls()], starts: [(1, 2, 3)], step: 5")), @"
    1:61: expected 2 values in round brackets, found 3
    1:73: unknown field `step` of `Toy` | did you mean `steps`? the fields of `Toy` are `balancers`, `steps`, `scale`, `optimizer`, `seed`, `starts`, `resources`
    ");
    assert_snapshot!(wrong(&toy("")), @"1:29: missing field `balancers` of `Toy` | `balancers` has no default: add `balancers: ..`");
}

// --- files ---

#[test]
fn comparisons_are_of_runs_that_can_be_compared() {
    let wrong_table = |table: &str| {
        wrong(&short_with(
            "\n})",
            &format!(
                "\n    \"f\": Evaluate(model: \"m\", data: \"p\", metrics: [LogLoss]),\n    \"c\": Compare({table}),\n}})"
            ),
        ))
    };
    assert_snapshot!(wrong_table("rows: []"), @"8:24: `rows` is empty | for example `rows: [Row(name: \"Ls\", runs: [\"evaluate_ls\"])]`");
    assert_snapshot!(wrong_table("rows: [Row(name: \"a\", runs: [\"e\", \"f\"])]"), @"8:52: `f` does not measure `Auc` | add it to the `metrics` of `f`");
    assert_snapshot!(wrong_table("rows: [Row(name: \"a\", runs: [\"ee\", \"t\"]), Row(name: \"b\", runs: [])]"), @"
    8:47: no stage `ee` | `rows.0.runs.0` takes an `Evaluate`: `e`, `f`
    8:53: `t` is a `Train`, which may not be the `rows.0.runs.1` of `c` | `rows.0.runs.1` takes an `Evaluate`: `e`, `f`
    8:81: `runs` is empty | name at least one `Evaluate` stage
    ");
    assert_snapshot!(wrong_table("rows: [Row(name: \"a\", runs: [\"e\", \"e\"]), Row(name: \"a\", runs: [\"e\"])], baseline: \"A\", single_task: \"x\", test: PairedT(5)"), @"
    8:52: run `e` is given twice
    8:69: row `a` is given twice | the runs of a variant on one data set stand in one list
    8:80: 1 runs here, 2 in the first row | rows are compared run by run: give each the same seeds in the same order
    8:99: no row `A` | did you mean `a`? the rows are `a`
    8:117: no row `x` | the rows are `a`
    8:128: the level of a test lies between 0 and 1, not 5
    ");
    assert_snapshot!(wrong_table("rows: [Row(name: \"a\", runs: [\"e\"], dta: \"ES\")], metrics: [Auc, Auc]"), @"
    8:53: unknown field `dta` of `Row` | did you mean `data`? the fields of `Row` are `name`, `class`, `data`, `runs`
    8:81: metric `Auc` is given twice
    ");
}

/// The order of runs counts, the names of the stages they lead to do not.
#[test]
fn a_comparison_is_known_by_its_rows() {
    let parameters = |runs: &str, row: &str| {
        let text = format!(
            "\n    \"f\": Evaluate(model: \"m\", data: \"p\"),\n    \"c\": Compare(rows: [Row(name: \"{row}\", runs: [{runs}])]),\n}})"
        );
        let stage = read(&short_with("\n})", &text)).stages["c"].clone();
        let fields: Vec<String> =
            stage.references().iter().map(|found| format!("{}={}", found.field, found.stage)).collect();
        (stage.parameters(), fields)
    };
    let (first, fields) = parameters("\"e\", \"f\"", "a");
    assert_eq!(fields, ["rows.0.runs.0=e", "rows.0.runs.1=f"]);
    let (second, _) = parameters("\"f\", \"e\"", "a");
    assert_eq!(first, second);
    assert_ne!(first, parameters("\"e\", \"f\"", "b").0);
    assert_ne!(first, parameters("\"e\"", "a").0);
}

#[test]
fn networks_that_fit_no_memory_are_refused() {
    let sizes = "Mmoe(experts: 4097, dropout: 0.5), sizes: Custom(embed: 65537, bottom: (1000000000, 8), tower: (8, 99999999999999999999))";
    assert_snapshot!(wrong(&short_with("Mmoe()", sizes)), @"
    4:52: `experts` should be at most 4,096, not 4097
    4:94: `embed` should be at most 65,536 (or the network fits no memory), not 65537
    4:110: `bottom` should be at most 65,536 (or the network fits no memory), not 1000000000
    4:137: expected a whole number of at least 0, found the number `99999999999999999999`
    ");
    read(&short_with("Mmoe()", "Mmoe(experts: 4096), sizes: Custom(embed: 65536, bottom: (65536, 8), tower: (8, 8))"));
}

#[test]
fn resources_are_checked_and_are_no_part_of_a_key() {
    let with = |resources: &str| short_with("model: \"m\"", &format!("resources: ({resources}), model: \"m\""));
    let asking = with("cpus: 8, mem_gb: 1.5, hours: 0.5, partition: \"long\", extra: [\"--qos=a\"]");
    let stage = &read(&asking).stages["t"];
    assert_eq!((stage.resources().cpus, stage.resources().hours), (Some(8), Some(0.5)));
    assert_eq!(stage.parameters(), read(SHORT).stages["t"].parameters());
    let set = read_with(SHORT, &["t.resources.hours=4", "resources.partition=\"cpu\""]);
    assert_eq!(set.stages["t"].resources().hours, Some(4.0));
    assert_eq!(set.resources.partition.as_deref(), Some("cpu"));
    assert_snapshot!(wrong(&with("cpus: 0, mem_gb: 0, hours: -1, partition: \"a b\", extra: [\"qos=a\", \"--array=1\"]")), @r#"
    5:34: `cpus` should be at least 1, not 0
    5:45: `mem_gb` should be above 0 and at most 1,000,000 gigabytes, not 0
    5:55: `hours` should be above 0 and at most 10,000 hours, not -1
    5:70: "a b" is no name of a cluster's partition | a name without spaces, as `sinfo` and `sacctmgr` print it
    5:85: "qos=a" is no option of `sbatch` | one text an option, as in `extra: ["--qos=long"]`
    5:94: `--array` is what mtorec itself says to `sbatch` | leave it out
    "#);
    assert_snapshot!(wrong(&with("cores: 2")), @"5:28: unknown field `cores` of `Resources` | the fields of `Resources` are `cpus`, `mem_gb`, `gpus`, `hours`, `partition`, `account`, `extra`");
    assert_snapshot!(wrong(&short_with("(name: \"p\"", "(resources: (account: \"\"), name: \"p\"")), @r#"1:23: "" is no name of a cluster's account | a name without spaces, as `sinfo` and `sacctmgr` print it"#);
}
