//! `mtorec graph`: the stages, what they read, and their states.

use std::fmt::Write;

use clap::ValueEnum;

use super::failure::Failure;
use super::project::{AnyArgs, Project, SelectionArgs};
use super::{Exit, output};
use crate::plan::{Plan, PlannedStage, Verdict};
use crate::report::Dag;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: AnyArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One line a stage, for people.
    Text,
    /// Graphviz: `mtorec graph FILE --format dot | dot -Tsvg`.
    Dot,
    /// Mermaid, which code forges draw in Markdown.
    Mermaid,
    /// A drawing, for light and dark pages.
    Svg,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let (project, _) = Project::load_any(&args.of)?;
    let plan = project.plan(&project.select(&args.selection)?)?;
    output::print(&match args.format {
        Format::Text => text(&plan, output::stdout_colour()),
        Format::Dot => dot(&plan),
        Format::Mermaid => mermaid(&plan),
        Format::Svg => Dag::of_plan(&plan).standalone(),
    })?;
    Ok(Exit::Done)
}

/// How a state looks: a sign for text, a terminal colour, a fill for drawings.
struct Look {
    sign: char,
    terminal: &'static str,
    fill: &'static str,
    word: &'static str,
}

fn look(verdict: &Verdict) -> Look {
    let (sign, terminal, fill, word) = match verdict {
        Verdict::UpToDate(_) => ('✓', "32", "#d5f5d5", "up to date"),
        Verdict::Pulled(_) => ('↓', "36", "#d5f0f5", "in the remote"),
        Verdict::After { own, .. } if own.is_empty() => ('○', "33", "#fff7d6", "depends"),
        Verdict::Run(_) | Verdict::After { .. } => ('●', "34", "#d6e6ff", "will run"),
        Verdict::Impossible(_) | Verdict::Blocked { .. } => ('✗', "31", "#ffd9d6", "cannot run"),
        Verdict::LeftOut => ('·', "2", "#eeeeee", "left out"),
    };
    Look { sign, terminal, fill, word }
}

fn text(plan: &Plan, colour: bool) -> String {
    let width = |column: fn(&PlannedStage) -> &str| {
        plan.stages.iter().map(|stage| column(stage).chars().count()).max().unwrap_or(0)
    };
    let (names, kinds) = (width(|stage| &stage.name), width(|stage| stage.kind));
    let mut text = format!("{}\n", plan.pipeline);
    for stage in &plan.stages {
        let Look { sign, terminal, word, .. } = look(&stage.verdict);
        let (on, off) = if colour { (format!("\x1b[{terminal}m"), "\x1b[0m") } else { (String::new(), "") };
        let reads = if stage.reads.is_empty() { String::new() } else { format!("  ← {}", stage.reads.join(", ")) };
        let line = format!("{:names$}  {:kinds$}  {word:10}{reads}", stage.name, stage.kind);
        let _ = writeln!(text, "  {on}{sign}{off} {}", line.trim_end());
    }
    text
}

fn dot(plan: &Plan) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n", quoted(&plan.pipeline));
    text.push_str("  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n");
    for stage in &plan.stages {
        let Look { fill, word, .. } = look(&stage.verdict);
        let label = quoted(&format!("{}\n{}: {word}", stage.name, stage.kind)).replace('\n', "\\n");
        let _ = writeln!(text, "  {} [label={label}, fillcolor=\"{fill}\"];", quoted(&stage.name));
    }
    for stage in &plan.stages {
        for source in &stage.reads {
            let _ = writeln!(text, "  {} -> {};", quoted(source), quoted(&stage.name));
        }
    }
    text + "}\n"
}

fn mermaid(plan: &Plan) -> String {
    // Stages are numbered: their names may be words that Mermaid keeps for itself.
    let place = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap_or_default();
    let escaped = |text: &str| text.replace('"', "#quot;");
    let mut text = String::from("flowchart LR\n");
    for (at, stage) in plan.stages.iter().enumerate() {
        let word = look(&stage.verdict).word;
        let _ = writeln!(text, "  s{at}[\"{}<br/>{}: {word}\"]", escaped(&stage.name), stage.kind);
    }
    for (at, stage) in plan.stages.iter().enumerate() {
        for source in &stage.reads {
            let _ = writeln!(text, "  s{} --> s{at}", place(source));
        }
    }
    for (at, stage) in plan.stages.iter().enumerate() {
        let _ = writeln!(text, "  style s{at} fill:{}", look(&stage.verdict).fill);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Reason;
    use crate::stage::StageError;

    fn plan() -> Plan {
        let stage = |name: &str, reads: &[&str], verdict| PlannedStage {
            name: name.to_owned(),
            kind: "Fake",
            reads: reads.iter().map(|name| (*name).to_owned()).collect(),
            verdict,
        };
        let after = |own| Verdict::After { stages: vec!["start".to_owned()], own };
        Plan {
            pipeline: "p".to_owned(),
            stages: vec![
                stage("start", &[], Verdict::Run(vec![Reason::Forced])),
                stage("say \"end\"", &["start"], after(vec![])),
                stage("new", &["start"], after(vec![Reason::NeverRun])),
                stage("lost", &[], Verdict::Impossible(StageError::failed("no data"))),
                stage("idle", &["lost", "new"], Verdict::LeftOut),
            ],
        }
    }

    #[test]
    fn as_text() {
        insta::assert_snapshot!(text(&plan(), false), @r#"
        p
          ● start      Fake  will run
          ○ say "end"  Fake  depends     ← start
          ● new        Fake  will run    ← start
          ✗ lost       Fake  cannot run
          · idle       Fake  left out    ← lost, new
        "#);
    }

    #[test]
    fn as_dot() {
        insta::assert_snapshot!(dot(&plan()), @r##"
        digraph "p" {
          rankdir=LR;
          node [shape=box, style="rounded,filled", fontname="sans-serif"];
          "start" [label="start\nFake: will run", fillcolor="#d6e6ff"];
          "say \"end\"" [label="say \"end\"\nFake: depends", fillcolor="#fff7d6"];
          "new" [label="new\nFake: will run", fillcolor="#d6e6ff"];
          "lost" [label="lost\nFake: cannot run", fillcolor="#ffd9d6"];
          "idle" [label="idle\nFake: left out", fillcolor="#eeeeee"];
          "start" -> "say \"end\"";
          "start" -> "new";
          "lost" -> "idle";
          "new" -> "idle";
        }
        "##);
    }

    #[test]
    fn as_mermaid() {
        insta::assert_snapshot!(mermaid(&plan()), @r#"
        flowchart LR
          s0["start<br/>Fake: will run"]
          s1["say #quot;end#quot;<br/>Fake: depends"]
          s2["new<br/>Fake: will run"]
          s3["lost<br/>Fake: cannot run"]
          s4["idle<br/>Fake: left out"]
          s0 --> s1
          s0 --> s2
          s3 --> s4
          s2 --> s4
          style s0 fill:#d6e6ff
          style s1 fill:#fff7d6
          style s2 fill:#d6e6ff
          style s3 fill:#ffd9d6
          style s4 fill:#eeeeee
        "#);
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = text(&plan(), true);
        let plain: Vec<&str> =
            coloured.split("\x1b[").map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect();
        assert!(coloured.contains("\x1b[34m●\x1b[0m start"));
        assert_eq!(plain.concat().matches('●').count(), 2);
    }
}
