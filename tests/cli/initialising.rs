//! `init`: from somebody's own file to predictions, without reading the source.

use std::fmt::Write;
use std::fs;

use crate::project::{Called, Project};

/// A made-up shop's log, with an index, an order number, a constant and a rare gap in the prices.
fn log() -> String {
    let mut text = ",order,user_id,shop,price,age,country,clicked,bought\n".to_owned();
    for row in 0..2000_u32 {
        let draw = row.wrapping_mul(2_654_435_761) >> 8;
        let (shop, age) = (draw % 7, 18 + draw / 7 % 60);
        let price = if row == 33 { String::new() } else { format!("{}.5", draw / 100 % 50) };
        let clicked = u32::from(draw % 7 > 3 || draw / 1000 % 10 == 0);
        let bought = clicked * u32::from(draw / 100 % 50 < 20);
        let _ =
            writeln!(text, "{row},o-{row},{},\"shop, {shop}\",{price},{age},NL,{clicked},{bought}", 100 + draw % 40);
    }
    text
}

fn init(project: &Project, arguments: &[&str]) -> Called {
    project.call(&[&["init"], arguments].concat())
}

#[test]
fn a_file_becomes_a_model_and_predictions() {
    let project = Project::new();
    fs::create_dir(project.path("logs")).unwrap();
    fs::write(project.path("logs/my shop's log (1).csv"), log()).unwrap();
    let said = init(&project, &["logs/my shop's log (1).csv"]).expect(0);
    insta::assert_snapshot!(said.out, @r#"
    logs/my shop's log (1).csv: 9 columns; looked at all 2000 rows

    column   part         values  missing  why
             left out       2000           it has no name
    order    left out       2000           hardly a value comes twice (2000 in 2000 rows): nothing to learn from
    user_id  categorical      40           integers that stand for things, going by the name
    shop     categorical       7           texts
    price    numerical        50        1  numbers from 0.5 to 49.5
    age      numerical        60           many integers, from 18 to 77
    country  left out          1           the same in all rows
    clicked  label             2           0 and 1 only, and called like an outcome
    bought   label             2           0 and 1 only, and called like an outcome

    labels are what the model predicts; `--label COLUMN` names others

    wrote pipelines/my_shop_s_log__1.ron; look at it, change what is wrong, then
      mtorec check pipelines/my_shop_s_log__1.ron      finds mistakes
      mtorec run pipelines/my_shop_s_log__1.ron        encodes the rows, trains and measures a model
      mtorec describe pipelines/my_shop_s_log__1.ron   what the rows and the model hold
      mtorec report pipelines/my_shop_s_log__1.ron     one HTML page with everything
    to score other rows, open the `Predict` stage at the end of pipelines/my_shop_s_log__1.ron and run it again
    "#);
    let file = "pipelines/my_shop_s_log__1.ron";
    let text = fs::read_to_string(project.path(file)).unwrap();
    insta::assert_snapshot!(text, @r#"
    // A first pipeline for "logs/my shop\'s log (1).csv", written by `mtorec init` from a look at its 2000 rows.
    // Whatever it guessed wrong is yours to change; `mtorec check` says whether a change makes sense.
    Pipeline(
        name: "my_shop_s_log__1",
        stages: {
            "download": Download(dataset: Csv(
                train: "logs/my shop\'s log (1).csv",
                // What the model predicts: 0 or 1 in each row, a task for each column.
                labels: ["clicked", "bought"],
                // Categories: each value gets an embedding; values that no training row has share one.
                categorical: ["user_id", "shop"],
                // Numbers.
                numerical: ["price", "age"],
                // Networks learn badly from numbers far from 1: these are brought to mean 0 and variance 1. For counts and
                // amounts with a few very large ones, `Log1pStandardise` takes their logarithm first.
                transforms: {"price": Standardise, "age": Standardise},
                // Rows of one user or search belong together? Take that column, which is no feature then, out of
                // `categorical` or `numerical` (and `transforms`), name it here, and measure with `metrics: [Auc, Gauc]`:
                //   group: "user_id",
                // A column says when rows were logged? Take that column, which is no feature then, out of
                // `categorical` or `numerical` (and `transforms`), name it here, and split by it in `Preprocess`:
                //   time: "at",
                // Left out:
                //   "": it has no name
                //   "order": hardly a value comes twice (2000 in 2000 rows): nothing to learn from
                //   "country": the same in all rows
            )),
            // 60 % of the rows to learn from, 20 % to decide when to stop, 20 % to measure on, drawn by the seed.
            // The mean of a column stands for its missing numbers, which are errors without `fill`.
            "preprocess": Preprocess(from: "download", test: Random(0.2), valid: FromTrain(0.25), seed: 1, fill: Mean),
            // `mtorec list models` and `mtorec list balancers` show what else may stand here.
            // "bought" is never 1 without "clicked", which is what `arch: Esmm()` is for:
            // it learns how likely the second is after the first, and predicts both together.
            "model": BuildModel(data: "preprocess", arch: Mmoe(experts: 4), sizes: Small),
            "train": Train(model: "model", data: "preprocess", balancer: Ls(), epochs: 30, batch: 64, patience: 5),
            "evaluate": Evaluate(model: "train", data: "preprocess", metrics: [Auc, LogLoss]),
            // To score other rows, take the slashes away and name their file (labels need not be in it) and the columns
            // to copy beside the probabilities; `mtorec run` says where they lie.
            // "predict": Predict(model: "train", data: "preprocess", rows: "new.csv", keep: []),
        },
        // To be told when a change makes the model worse, take the slashes away. `mtorec golden bless` brings all up to
        // date and writes the metrics into this file; `golden check` fails when one moves by more than the tolerance.
        // golden: Golden(file: "golden/my_shop_s_log__1.ron", tolerance: 0.002),
    )
    "#);

    project.call(&["check", file]).expect(0);
    let open = text.replace("// \"predict\"", "\"predict\"").replace("keep: []", "keep: [\"order\", \"clicked\"]");
    fs::write(project.path(file), open).unwrap();
    fs::write(project.path("new.csv"), log().lines().take(11).map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
    project.call(&["check", file]).expect(0);
    let run = project.call(&["run", file]).expect(0);
    let auc = run.out.lines().find(|line| line.starts_with("Auc") && line.contains("clicked")).unwrap();
    let auc: f64 = auc.split_whitespace().last().unwrap().parse().unwrap();
    assert!(auc > 0.85, "{run:?}");
    let predictions = run.out.lines().find_map(|line| line.strip_prefix("predictions: ")).unwrap();
    let predictions = fs::read_to_string(project.path(predictions)).unwrap();
    assert!(predictions.starts_with("order,clicked,p_clicked,p_bought\no-0,"), "{predictions}");
    assert_eq!(predictions.lines().count(), 11);

    let again = init(&project, &["logs/my shop's log (1).csv"]).expect(2);
    assert!(again.err.contains(&format!("`{file}` is there already")), "{again:?}");
}

/// The same log with other delimiters comes to the same model, and rows to score have the delimiter of the log.
#[test]
fn semicolons_bars_and_tabs_are_found_out() {
    let project = Project::new();
    let commas: String = log().lines().map(|line| line.replace("\"shop, ", "\"shop ") + "\n").collect();
    fs::write(project.path("commas.csv"), &commas).unwrap();
    init(&project, &["commas.csv"]).expect(0);
    let plain = fs::read_to_string(project.path("pipelines/commas.ron")).unwrap();
    assert!(!plain.contains("delimiter"), "{plain}");
    let run = |file: &str| {
        let arguments = ["run", file, "--set", "train.epochs=2", "--json"];
        project.call(&arguments).expect(0).json()["metrics"][0]["values"].clone()
    };
    let expected = run("pipelines/commas.ron");
    for (name, delimiter, written) in
        [("semicolons", ";", "delimiter: ';',"), ("bars", "|", "delimiter: '|',"), ("tabs", "\t", "delimiter: '\\t',")]
    {
        let (rows, file) = (format!("{name}.csv"), format!("pipelines/{name}.ron"));
        let text = commas.replace(',', delimiter);
        fs::write(project.path(&rows), &text).unwrap();
        let said = init(&project, &[&rows]).expect(0).out;
        assert!(
            said.starts_with(&format!("{rows}: 9 columns with {:?} between them;", delimiter.chars().next().unwrap())),
            "{said}"
        );
        let pipeline = fs::read_to_string(project.path(&file)).unwrap();
        assert!(pipeline.contains(written), "{pipeline}");
        let scores = pipeline.replace("// \"predict\"", "\"predict\"").replace("new.csv", &format!("new-{name}.csv"));
        fs::write(project.path(&file), scores).unwrap();
        let few: String = text.lines().take(4).map(|line| format!("{line}\n")).collect();
        fs::write(project.path(&format!("new-{name}.csv")), few).unwrap();
        assert_eq!(run(&file), expected, "{name}");
        // forgotten, it is asked for
        fs::write(project.path(&file), pipeline.replace(written, "")).unwrap();
        let failed = project.call(&["run", &file]).expect(1);
        assert!(
            failed
                .err
                .contains(&format!("say what separates the columns: `Csv(.., {})`", written.trim_end_matches(','))),
            "{failed:?}"
        );
    }
}

/// The same log with times, and what the comments of its pipeline offer, taken up.
#[test]
fn times_and_what_the_comments_offer() {
    let project = Project::new();
    let timed = |at: &dyn Fn(usize) -> String| -> String {
        let line =
            |(row, line): (usize, &str)| format!("{line},{}\n", if row == 0 { "logged".into() } else { at(row) });
        log().lines().enumerate().map(line).collect()
    };
    let dates = timed(&|row| format!("2024-05-{:02}T{:02}:00:00Z", row / 24 % 28 + 1, row % 24));
    fs::write(project.path("dates.csv"), &dates).unwrap();
    let said = init(&project, &["dates.csv"]).expect(0).out;
    assert!(said.lines().any(|line| line.starts_with("logged") && line.contains(" time ")), "{said}");
    let seconds = timed(&|row| (1_717_199_947 + row / 2).to_string()).replacen("logged", "logged_at", 1);
    fs::write(project.path("seconds.csv"), seconds).unwrap();
    let said = init(&project, &["seconds.csv"]).expect(0).out;
    assert!(said.contains("seconds since 1970, going by the name"), "{said}");

    let file = "pipelines/dates.ron";
    let text = fs::read_to_string(project.path(file)).unwrap();
    let random = "test: Random(0.2), valid: FromTrain(0.25)";
    assert!(text.contains("time: \"logged\",") && text.contains(random), "{text}");
    let latest = text.lines().find_map(|line| line.trim().strip_prefix("//   test: ")).unwrap();
    let group = text.lines().find_map(|line| line.trim().strip_prefix("//   group: ")).unwrap();
    let text = text
        .replace(random, format!("test: {latest}").trim_end_matches(','))
        .replace(&format!("//   group: {group}"), &format!("group: {group}"))
        .replace("// golden: ", "golden: ");
    fs::write(project.path(file), &text).unwrap();
    // still a category
    let twice = project.call(&["check", file]).expect(2);
    assert!(twice.err.contains("column `user_id` is used twice") && twice.err.contains("dates.ron:"), "{twice:?}");
    let text = text.replace("[\"user_id\", \"shop\"]", "[\"shop\"]").replace("[Auc, LogLoss]", "[Auc, Gauc]");
    fs::write(project.path(file), &text).unwrap();
    project.call(&["check", file]).expect(0);
    project.call(&["run", file, "--set", "train.epochs=1"]).expect(0);
    project.call(&["run", file]).expect(0);
    project.call(&["golden", "bless", file]).expect(0);
    assert!(project.path("golden/dates.ron").exists());
    project.call(&["golden", "check", file]).expect(0);
}

#[test]
fn labels_in_steps_are_told_and_out_of_step_warned_of() {
    let project = Project::new();
    fs::write(project.path("x.csv"), log()).unwrap();
    init(&project, &["x.csv"]).expect(0);
    let file = "pipelines/x.ron";
    let text = fs::read_to_string(project.path(file)).unwrap();
    assert!(text.contains("\"bought\" is never 1 without \"clicked\""), "{text}");
    let esmm = text.replace("Mmoe(experts: 4)", "Esmm()");
    let built = |text: &str| {
        fs::write(project.path(file), text).unwrap();
        project.call(&["run", file, "--set", "train.epochs=1"]).expect(0).err
    };
    assert!(!built(&esmm).contains("warning: model:"));
    let swapped = esmm.replace("[\"clicked\", \"bought\"]", "[\"bought\", \"clicked\"]");
    let said = built(&swapped);
    assert_eq!(said.matches("warning: model: `clicked` is 1 without `bought` in ").count(), 1, "{said}");
    assert!(!built(&swapped.replace("Esmm()", "Mmoe(experts: 4)")).contains("warning: model:"));
}

#[test]
fn labels_are_those_named() {
    let project = Project::new();
    fs::write(project.path("x.csv"), log()).unwrap();
    let said = init(&project, &["x.csv", "--label", "bought", "-o", "mine.ron"]).expect(0);
    assert!(!said.out.contains("labels are what"), "{said:?}");
    let text = fs::read_to_string(project.path("mine.ron")).unwrap();
    assert!(text.contains("labels: [\"bought\"],") && text.contains("\"clicked\"],"), "{text}");
    assert_eq!(project.call(&["check", "mine.ron"]).expect(0).out, "mine.ron: ok, 5 stages\n");
}

#[test]
fn files_that_no_pipeline_fits_are_refused() {
    let project = Project::new();
    let refused = |text: &str, arguments: &[&str]| {
        fs::write(project.path("x.csv"), text).unwrap();
        let wrong = init(&project, &[&["x.csv"], arguments].concat()).expect(2);
        assert!(!project.path("pipelines/x.ron").exists());
        wrong.err
    };
    for (text, arguments, said) in [
        ("1,0\n2,1\n", &[][..], "x.csv:1: there is no header"),
        ("y\n0\n1\n", &[], "x.csv:1: there is only one column"),
        ("y\u{1f}x\n0\u{1f}1\n1\u{1f}2\n", &[], "with commas, tabs, semicolons or bars between them"),
        ("y;x\n0;7\n1\n", &[], "x.csv:3: 1 fields where 2 are expected"),
        ("y,x\n", &[], "`x.csv` has no rows"),
        ("", &[], "`x.csv` has no rows"),
        ("a,b\nu,1\nv,2\nu,3\n", &[], "no column of `x.csv` can be a label"),
        ("a,b\nu,1\nv,2\nu,3\n", &[], "`--label COLUMN`, each with 0 and 1 only; the columns are `a`, `b`"),
        ("a,b\nu,1\nv,2\nu,3\n", &["--label", "a"], "column `a` of `x.csv` cannot be a label: it holds other values"),
        ("label,b\n0,1\n1,2\n", &["--label", "lable"], "did you mean `label`?"),
        ("a,b,c,d,e\n0,1,0,1,x\n1,0,1,0,y\n", &[], "none is called like an outcome"),
        ("y,x\n0,7\n1,7\n", &[], "has no column to learn from"),
        ("y,x\n0,7\n1\n", &[], "x.csv:3: 1 fields where 2 are expected"),
    ] {
        let err = refused(text, arguments);
        assert!(err.contains(said), "{text:?}: {err}");
    }
    assert!(init(&project, &["y.csv"]).expect(2).err.contains("cannot read `y.csv`"));
}
