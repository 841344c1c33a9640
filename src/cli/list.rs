//! `mtorec list`: what a pipeline can name.

use clap::ValueEnum;

use super::failure::Failure;
use super::{Exit, output, tables};
use crate::balance::Balancer;
use crate::data::Dataset;
use crate::metric::Metric;
use crate::model::{Arch, Sizes};
use crate::optim::Optimizer;
use crate::registry::Entry;
use crate::stage;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to list.
    what: What,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Architectures, for `BuildModel`'s `arch`.
    Models,
    /// Balancers, for `Train`'s `balancer`.
    Balancers,
    /// Optimizers, for `Train`'s `optimizer`.
    Optimizers,
    /// Data sets, for `Download`'s `dataset`.
    Datasets,
    /// Metrics, for `Evaluate`'s `metrics`.
    Metrics,
    /// Widths of networks, for `BuildModel`'s `sizes`.
    Sizes,
    /// Kinds of stages.
    Stages,
}

impl What {
    fn entries(self) -> Vec<Entry> {
        match self {
            What::Models => Arch::entries(),
            What::Balancers => Balancer::entries(),
            What::Optimizers => Optimizer::entries(),
            What::Datasets => Dataset::entries(),
            What::Metrics => Metric::entries(),
            What::Sizes => Sizes::entries(),
            What::Stages => stage::entries(),
        }
    }
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let entries = args.what.entries();
    if args.json {
        output::print_json(&entries)?;
    } else {
        output::print(&text(&entries))?;
    }
    Ok(Exit::Done)
}

/// One line each: the name, what it is and where it comes from, and at the end, where it may be long, the defaults.
fn text(entries: &[Entry]) -> String {
    let rows = entries.iter().map(|entry| {
        let source = if entry.source.is_empty() { String::new() } else { format!(" ({})", entry.source) };
        vec![entry.name.to_owned(), format!("{}{source}", entry.summary), entry.defaults.clone()]
    });
    tables::table(&[("name", false), ("what it is", false), ("with its defaults", false)], rows)
}
