//! `describe`: what artifacts hold, on rows few enough to count by hand.

use std::fs;

use serde_json::json;

use crate::project::Project;

/// Four training rows, and four test rows that are all the same, so that it does not matter which are drawn.
fn project() -> Project {
    let project = Project::new();
    fs::write(project.path("train.csv"), "shop,price,user,like\na,0,1,1\na,2,1,0\nb,4,2,0\nb,-2,1,0\n").unwrap();
    fs::write(project.path("test.csv"), "shop,price,user,like\nc,0,5,1\nc,0,5,1\nc,0,5,1\nc,0,5,1\n").unwrap();
    let log = r#"Csv(train: "train.csv", test: "test.csv", categorical: ["shop"], numerical: ["price"], labels: ["like"], group: "user")"#;
    project.edit("Simulated(rows: 2000, seed: 7)", log);
    project.edit("Mmoe(experts: 2)", "SharedBottom()");
    project
}

#[test]
fn rows_are_described_in_numbers() {
    let project = project();
    let early = project.call(&["describe", "pipelines/small.ron"]).expect(2);
    assert!(early.err.contains("`small` has come to nothing yet"), "{early:?}");
    project.run(&["--until", "preprocess"]);
    let told = project.call(&["describe", "pipelines/small.ron", "preprocess"]).expect(0);
    insta::assert_snapshot!(told.out, @"
    preprocess: Preprocess
    1 fields, 1 numerical, 1 tasks; 4 train, 2 valid, 2 test rows

    split  rows  groups  least rows  mean rows  most rows
    train     4       2           1       2.00          3
    valid     2       1           2       2.00          2
    test      2       1           2       2.00          2

    task  positives in train  positives in valid  positives in test
    like             25.00 %            100.00 %           100.00 %
    the label of `like` is the same in all valid and test rows: its AUC there is undefined

    field  values  embedding rows  unknown in train  unknown in valid  unknown in test
    shop        2               3            0.00 %          100.00 %         100.00 %

    number      min    mean     max  zeros in train  zeros in valid  zeros in test  scaled
    price   -2.0000  1.0000  4.0000         25.00 %        100.00 %       100.00 %
    min, mean and max are those of the training rows, before scaling
    no number is missing
    ");
    let json = project.call(&["describe", "pipelines/small.ron", "preprocess", "--json"]).expect(0).json();
    let stage = &json["stages"][0];
    assert_eq!((&stage["up_to_date"], &stage["simulated"]), (&json!(true), &json!(false)));
    let rows = &stage["rows"];
    let groups = json!({ "count": 2, "smallest": 1, "mean": 2.0, "largest": 3 });
    assert_eq!(rows["splits"]["train"], json!({ "rows": 4, "groups": groups }));
    assert_eq!(rows["tasks"][0]["positives"]["train"], json!({ "rows": 1, "share": 0.25 }));
    assert_eq!(rows["fields"][0]["out_of_vocabulary"]["test"], json!({ "rows": 2, "share": 1.0 }));
    let price = json!({ "min": -2.0, "mean": 1.0, "max": 4.0, "zeros": { "rows": 1, "share": 0.25 } });
    assert_eq!(rows["numerical"][0]["values"]["train"], price);
    assert_eq!(rows["numerical"][0]["missing"]["train"], json!({ "rows": 0, "share": 0.0 }));

    // what it came to is still there when the pipeline says something else by now
    let stale =
        project.call(&["describe", "pipelines/small.ron", "preprocess", "--set", "preprocess.fill=0"]).expect(0);
    let expected = "out of date (will run: fill: None → Number(0.0)): this is what it last came to\n";
    assert!(stale.out.contains(expected), "{stale:?}");
    assert!(stale.out.ends_with(told.out.split_once("\n\n").unwrap().1), "{stale:?}");
}

/// Empty, NaN and infinite; what stands for them, a number or the mean, changes no count.
#[test]
fn missing_numbers_are_counted_before_they_are_filled_in() {
    let project = project();
    let header = "shop,price,weight,age,user,like\n";
    let train = "a,0,NaN,30,1,1\na,2,,40,1,0\nb,,inf,50,2,0\nb,4,5,60,1,0\n";
    fs::write(project.path("train.csv"), format!("{header}{train}")).unwrap();
    fs::write(project.path("test.csv"), format!("{header}{}", "c,nan,1,30,5,1\n".repeat(4))).unwrap();
    project.edit("numerical: [\"price\"]", "numerical: [\"price\", \"weight\", \"age\"]");
    let told = |fill: &str| {
        let fill = ["--set", &format!("preprocess.fill={fill}")];
        project.call(&[&["run", "pipelines/small.ron", "--until", "preprocess"][..], &fill].concat()).expect(0);
        let text = project.call(&[&["describe", "pipelines/small.ron", "preprocess"][..], &fill].concat()).expect(0);
        let json = project.call(&[&["describe", "pipelines/small.ron", "preprocess", "--json"][..], &fill].concat());
        (text.out, json.expect(0).json()["stages"][0]["rows"]["numerical"].clone())
    };
    let (text, numbers) = told("Mean");
    insta::assert_snapshot!(text.split_once("before scaling\n").unwrap().1, @"

    number  missing in train  missing in valid  missing in test  filled with
    price            25.00 %          100.00 %         100.00 %       2.0000
    weight           75.00 %            0.00 %           0.00 %       5.0000
    ");
    let counts = json!({ "train": { "rows": 1, "share": 0.25 }, "valid": { "rows": 2, "share": 1.0 },
                         "test": { "rows": 2, "share": 1.0 } });
    assert_eq!((&numbers[0]["missing"], &numbers[0]["filled"]), (&counts, &json!(2.0)));
    assert_eq!(numbers[2]["missing"]["train"], json!({ "rows": 0, "share": 0.0 }));
    let (_, filled) = told("-1");
    assert_eq!((&filled[0]["missing"], &filled[0]["filled"]), (&counts, &json!(-1.0)));
    assert_eq!(filled[1]["missing"], numbers[1]["missing"]);
    // a number is written in the place of what is missing, and nothing else changes
    assert_eq!(filled[0]["values"]["train"]["min"], -1.0);
    assert_eq!(filled[2]["values"], numbers[2]["values"]);
}

#[test]
fn every_stage_that_holds_something_is_described() {
    let project = project();
    project.run(&["--until", "model"]);
    let json = project.call(&["describe", "pipelines/small.ron", "--json"]).expect(0).json();
    let stages = json["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["download", "preprocess", "model"]);
    assert_eq!(stages[0]["files"][1]["path"], "test.csv");
    assert_eq!(stages[0]["files"][1]["bytes"], 21 + 4 * 8);
    let model = &stages[2]["model"];
    // two shops and the unknown, eight numbers each
    assert_eq!(model["embedding"], 24);
    let number = |field: &str| model[field].as_u64().unwrap();
    let summary = stages[2]["summary"].as_str().unwrap();
    let said = format!("SharedBottom: {} parameters, {} of them shared", number("parameters"), number("shared"));
    assert!(summary.starts_with(&said), "{summary}: {model}");
    // one task alone: nothing is shared
    assert_eq!((number("shared"), &model["of_tasks"]), (0, &json!([["like", number("parameters")]])));

    let wrong = project.call(&["describe", "pipelines/small.ron", "evaluate"]).expect(2);
    assert!(wrong.err.contains("`evaluate` is of the kind `Evaluate`"), "{wrong:?}");
    let wrong = project.call(&["describe", "pipelines/small.ron", "train"]).expect(2);
    assert!(wrong.err.contains("`mtorec run pipelines/small.ron --until train` first"), "{wrong:?}");
    let wrong = project.call(&["describe", "pipelines/small.ron", "modle"]).expect(2);
    assert!(wrong.err.contains("did you mean `model`?"), "{wrong:?}");
}

#[test]
fn a_simulated_download_holds_rows() {
    let project = Project::new();
    project.run(&["--until", "download"]);
    let json = project.call(&["describe", "pipelines/small.ron", "download", "--json"]).expect(0).json();
    let splits = &json["stages"][0]["rows"]["splits"];
    let rows = |split: &str| splits[split]["rows"].as_u64().unwrap();
    assert_eq!((rows("train") + rows("test"), splits["valid"].is_null()), (2000, true));
    assert_eq!(json["stages"][0]["simulated"], true);
}
