//! `golden bless` and `golden check`.

use std::fs;

use crate::project::Project;

/// The first digit of the first blessed number that is not zero, and another one.
fn worsen(text: &str) -> String {
    let at = text.find("Some(0.").expect("a number") + "Some(0.".len();
    let digit = text[at..].chars().next().expect("a digit");
    let other = if digit == '9' { '1' } else { '9' };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[test]
fn blessed_metrics_hold_and_others_end_with_3() {
    let project = Project::new();
    let missing = project.call(&["golden", "check", "pipelines/small.ron"]).expect(2);
    assert!(missing.err.contains("there is no golden file"), "{missing:?}");
    assert!(missing.err.contains("mtorec golden bless pipelines/small.ron"), "{missing:?}");
    assert!(!project.path(".mtorec").exists(), "nothing runs for a file that is not there");

    project.call(&["golden", "bless", "pipelines/small.ron"]).expect(0);
    let held = project.call(&["golden", "check", "pipelines/small.ron"]).expect(0);
    assert!(held.out.contains("metrics hold"), "{held:?}");

    let file = project.path("golden/small.ron");
    let worse = worsen(&fs::read_to_string(&file).unwrap());
    fs::write(&file, worse).unwrap();
    let failed = project.call(&["golden", "check", "pipelines/small.ron"]).expect(3);
    assert!(failed.out.contains("metrics do not hold"), "{failed:?}");
    for column in ["metric", "expected", "got", "tolerance", "verdict"] {
        assert!(failed.out.contains(column), "{failed:?}");
    }
    assert!(failed.out.contains("WORSE") || failed.out.contains("BETTER"), "{failed:?}");
    let json = project.call(&["golden", "check", "--json", "pipelines/small.ron"]).expect(3).json();
    assert_eq!(json[0]["passes"], false);

    let blessed = project.call(&["golden", "bless", "pipelines/small.ron"]).expect(0);
    assert!(blessed.out.contains("expected"), "what changed is shown: {blessed:?}");
    project.call(&["golden", "check", "pipelines/small.ron"]).expect(0);
}

#[test]
fn a_golden_file_must_be_named_and_understood() {
    let project = Project::new();
    fs::create_dir(project.path("golden")).unwrap();
    fs::write(project.path("golden/small.ron"), "GoldenMetrics(").unwrap();
    let broken = project.call(&["golden", "check", "pipelines/small.ron"]).expect(2);
    assert!(broken.err.contains("is no golden file"), "{broken:?}");
    project.edit("    golden: Golden(file: \"golden/small.ron\", tolerance: 0.000001),\n", "");
    let unnamed = project.call(&["golden", "check", "pipelines/small.ron"]).expect(2);
    assert!(unnamed.err.contains("golden: Golden(file: \"golden/small.ron\")"), "{unnamed:?}");
}
