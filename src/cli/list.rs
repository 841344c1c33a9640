//! `mtorec list`: what a pipeline can name.

use clap::ValueEnum;

use super::failure::Failure;
use super::{Exit, output, tables};
use crate::balance::{Balancer, Method, Need};
use crate::data::{Dataset, Simulated};
use crate::metric::Metric;
use crate::model::{Arch, Sizes, count_parameters, in_words};
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
    /// Balancers, for `Train`'s `balancer` and `Toy`'s `balancers`.
    Balancers,
    /// Optimizers, for the `optimizer` of `Train` and `Toy`.
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
    match (args.what, args.json) {
        (What::Models, true) => output::print_json(&models(entries))?,
        (What::Models, false) => output::print(&models_text(&models(entries)))?,
        (What::Balancers, true) => output::print_json(&balancers(entries))?,
        (What::Balancers, false) => output::print(&balancers_text(&balancers(entries)))?,
        (_, true) => output::print_json(&entries)?,
        (_, false) => output::print(&text(&entries))?,
    }
    Ok(Exit::Done)
}

/// A row of `list models`.
#[derive(Debug, serde::Serialize)]
struct ModelEntry {
    #[serde(flatten)]
    entry: Entry,
    /// How many tasks it takes, in words.
    tasks: String,
    /// How many trained numbers it has with its defaults at `Paper` on the AliExpress log; nothing if it does not fit it.
    parameters: Option<usize>,
}

fn models(entries: Vec<Entry>) -> Vec<ModelEntry> {
    let schema = Simulated::default().encoded_schema();
    let model = |(entry, arch): (Entry, Arch)| ModelEntry {
        entry,
        tasks: in_words(&arch.tasks()),
        parameters: count_parameters(&arch, &Sizes::Paper, &schema).ok(),
    };
    entries.into_iter().zip(Arch::defaults()).map(model).collect()
}

fn models_text(models: &[ModelEntry]) -> String {
    let rows = models.iter().map(|ModelEntry { entry, tasks, parameters }| {
        let parameters = parameters.map_or_else(String::new, |count| count.to_string());
        vec![entry.name.to_owned(), what_it_is(entry), tasks.clone(), parameters, entry.defaults.clone()]
    });
    let columns =
        [("name", false), ("what it is", false), ("tasks", false), ("parameters", true), ("with its defaults", false)];
    let schema = Simulated::default().encoded_schema();
    format!(
        "{}\nparameters: at `sizes: Paper` on the simulated AliExpress log ({} fields with {} embedding rows, {} numerical columns, {} tasks)\n",
        tables::table(&columns, rows),
        schema.fields.len(),
        schema.vocabulary(),
        schema.numerical.len(),
        schema.tasks.len(),
    )
}

/// A row of `list balancers`.
#[derive(Debug, serde::Serialize)]
struct BalancerEntry {
    #[serde(flatten)]
    entry: Entry,
    /// Whether it works by losses, gradients, coordinates or updates.
    class: &'static str,
    /// What it needs of a step.
    needs: Vec<Need>,
}

fn balancers(entries: Vec<Entry>) -> Vec<BalancerEntry> {
    let balancer =
        |(entry, mut method): (Entry, Method)| BalancerEntry { entry, class: method.class(), needs: method.needs() };
    entries.into_iter().zip(Balancer::methods()).map(balancer).collect()
}

fn balancers_text(balancers: &[BalancerEntry]) -> String {
    let rows = balancers.iter().map(|BalancerEntry { entry, class, needs }| {
        let needs: Vec<&str> = needs.iter().map(|need| need.words()).collect();
        let class = (*class).to_owned();
        vec![entry.name.to_owned(), class, needs.join(", "), what_it_is(entry), entry.defaults.clone()]
    });
    let columns =
        [("name", false), ("class", false), ("needs", false), ("what it is", false), ("with its defaults", false)];
    tables::table(&columns, rows)
}

/// The summary, and where it comes from.
fn what_it_is(entry: &Entry) -> String {
    let source = if entry.source.is_empty() { String::new() } else { format!(" ({})", entry.source) };
    format!("{}{source}", entry.summary)
}

/// One line each: the name, what it is and where it comes from, and at the end, where it may be long, the defaults.
fn text(entries: &[Entry]) -> String {
    let rows = entries.iter().map(|entry| vec![entry.name.to_owned(), what_it_is(entry), entry.defaults.clone()]);
    tables::table(&[("name", false), ("what it is", false), ("with its defaults", false)], rows)
}
