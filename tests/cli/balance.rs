//! `balance`: asking one balancer.

use std::fs;

use crate::project::Project;

/// METHODS' example of two conflicting tasks.
const CASE: &str = r#"{"gradients": [[2, 0], [-1, 2]], "losses": [0.5, 0.125]}"#;

fn asked(balancer: &str, case: &str, more: &[&str]) -> crate::project::Called {
    let project = Project::new();
    fs::write(project.path("case.json"), case).unwrap();
    project.call(&[&["balance", balancer, "--input", "case.json"], more].concat())
}

#[test]
fn a_table_says_what_the_step_does_to_each_task() {
    let answer = asked("NashMtl(scale: Frobenius, max_norm: None)", CASE, &[]).expect(0);
    insta::assert_snapshot!(answer.out, @r"
    step 1
    task   weight  own parameters  cosine with the step
       1  1.77926         1.77926              0.525731
       2  1.59142         1.59142              0.525731
    combined  1.96711  3.18284
    norm      3.74166
    ");
    let steps = r#"{"losses": [0.5, 0.125], "steps": [{}, {"losses": [0.4, 0.12]}]}"#;
    let answer = asked("Famo(gamma: 1e-5)", steps, &[]).expect(0);
    insta::assert_snapshot!(answer.out, @r"
    step 1
    task    weight  own parameters
       1  0.200000        0.200000
       2  0.800000        0.800000

    step 2
    task    weight  own parameters
       1  0.222013        0.222013
       2  0.777987        0.777987
    ");
}

#[test]
fn json_holds_every_step() {
    let steps = r#"{"gradients": [[1, 10], [2, -4]], "losses": [1, 1], "parameters": [1, 1], "steps": [{}, {"gradients": [[1, 10], [-1, -4]]}]}"#;
    let answer = asked("AdaTask()", steps, &["--json", "--optimizer", "Adam(lr: 0.1, weight_decay: 0.0)"]).expect(0);
    let json = answer.json();
    assert_eq!(json["steps"].as_array().map(Vec::len), Some(2));
    let theta = |step: usize, p: usize| json["steps"][step]["parameters"][p].as_f64().unwrap();
    assert!((theta(0, 0) - 0.8).abs() < 1e-6 && (theta(0, 1) - 1.0).abs() < 1e-6, "{json}");
    assert!((theta(1, 0) - 0.673_366).abs() < 1e-6 && (theta(1, 1) - 1.0).abs() < 1e-6, "{json}");
    let gram = asked("Mgda(combine: Normalised)", r#"{"gram": [[4, -2], [-2, 5]]}"#, &["--json"]).expect(0);
    assert!(gram.err.contains("note: no `losses`"), "{gram:?}");
    assert!((gram.json()["steps"][0]["weights"][0].as_f64().unwrap() - 1.076_923 / 2.0).abs() < 1e-6, "{gram:?}");
}

#[test]
fn a_wrong_call_is_explained() {
    let unknown = asked("NashMtI()", CASE, &[]).expect(2);
    assert!(unknown.err.contains("did you mean `NashMtl`?"), "{unknown:?}");
    let field = asked("NashMtl(scal: Paper)", CASE, &[]).expect(2);
    assert!(field.err.contains("did you mean `scale`?"), "{field:?}");
    let few = asked("Krum()", CASE, &[]).expect(2);
    assert!(few.err.contains("Krum: needs at least"), "{few:?}");
    let coordinates = asked("GradDrop()", r#"{"gram": [[1, 0], [0, 1]]}"#, &[]).expect(2);
    assert!(coordinates.err.contains("step 1: this balancer needs the `gradients` themselves"), "{coordinates:?}");
    let broken = asked("Ls()", "{\"losses\": [1, ", &[]).expect(2);
    assert!(broken.err.contains("case.json: EOF") && broken.err.contains("hint: expected an object"), "{broken:?}");
    let gone = Project::new().call(&["balance", "Ls()", "--input", "nowhere.json"]).expect(2);
    assert!(gone.err.contains("cannot read `nowhere.json`"), "{gone:?}");
}
