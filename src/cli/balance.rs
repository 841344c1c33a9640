//! `mtorec balance`: what a balancer makes of given losses and gradients.

use std::fmt::Write;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::failure::Failure;
use super::{Exit, output, tables};
use crate::balance::Balancer;
use crate::balance::ask::{Request, StepAnswer, ask};
use crate::balance::driver::Rates;
use crate::optim::{Adam, Optimizer};
use crate::registry::to_ron;
use crate::spec;

/// Combined gradients of more entries are not printed in the table.
const SHOWN: usize = 12;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The balancer, as a pipeline would spell it: `NashMtl(scale: Frobenius)`.
    #[arg(value_name = "BALANCER")]
    balancer: String,
    /// JSON: `{"gradients": [[..],..]}` or `{"gram": [[..],..]}` with `"losses": [..]`, or several steps in
    /// `"steps": [{..}, ..]`; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The optimizer, for balancers that make the update themselves.
    #[arg(long, value_name = "OPTIMIZER", default_value = "Adam()")]
    optimizer: String,
    /// Seed of the balancer's draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let balancer: Balancer = spec::parse_argument(&args.balancer)?;
    let Optimizer::Adam(Adam { lr, betas, eps, weight_decay }) = spec::parse_argument(&args.optimizer)?;
    let text = read(&args.input)?;
    let request: Request = serde_json::from_str(&text).map_err(|error| {
        Failure::call(format!("{}: {error}", args.input.display())).hint(
            "expected an object such as {\"gradients\": [[2, 0], [-1, 2]], \"losses\": [0.5, 0.125]}, or {\"steps\": [{..}, ..]}",
        )
    })?;
    let given = |of: &Request| of.losses.is_some();
    if !given(&request) && !request.steps.iter().flatten().any(given) {
        output::say("note: no `losses` are given: every task's loss is taken for 1");
    }
    let rates = Rates { lr, betas, eps, weight_decay };
    let answers = ask(&balancer, &request, rates, args.seed).map_err(Failure::call)?;
    if args.json {
        output::print_json(&json!({ "balancer": to_ron(&balancer), "steps": answers }))?;
    } else {
        output::print(&answers.iter().enumerate().map(|(at, answer)| step(at, answer)).collect::<String>())?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::call(format!("cannot read `{}`: {error}", path.display()))),
    }
}

/// A step's answer: a row for each task, then the combined gradient.
fn step(at: usize, answer: &StepAnswer) -> String {
    let mut columns = vec![("task", true), ("weight", true), ("own parameters", true)];
    if answer.cosines.is_some() {
        columns.push(("cosine with the step", true));
    }
    let rows = (0..answer.weights.len()).map(|task| {
        let mut row = vec![(task + 1).to_string(), number(answer.weights[task]), number(answer.own[task])];
        row.extend(answer.cosines.as_ref().map(|cosines| number(cosines[task])));
        row
    });
    let mut text = if at == 0 { String::new() } else { "\n".to_owned() };
    let _ = writeln!(text, "step {}", at + 1);
    text.push_str(&tables::table(&columns, rows));
    if let Some(combined) = answer.combined.as_ref().filter(|combined| combined.len() <= SHOWN) {
        let entries: Vec<String> = combined.iter().map(|x| number(*x)).collect();
        let _ = writeln!(text, "combined  {}", entries.join("  "));
    }
    if let Some(norm) = answer.norm {
        let _ = writeln!(text, "norm      {}", number(norm));
    }
    text
}

/// Six significant digits, whatever the size.
fn number(x: f64) -> String {
    if x == 0.0 || (1e-4..1e6).contains(&x.abs()) {
        let before = if x == 0.0 { 0 } else { x.abs().log10().floor() as i32 };
        format!("{x:.*}", (5 - before).clamp(0, 9) as usize)
    } else {
        format!("{x:.5e}")
    }
}
