//! The command line: one file per command, which parses and prints and decides nothing. Results go to standard output,
//! everything else to standard error.

mod attach;
mod balance;
mod cache;
mod check;
mod completions;
mod describe;
mod executor;
mod failure;
mod golden;
mod graph;
mod init;
mod interrupt;
mod job;
mod list;
mod live;
mod metrics;
mod output;
mod plan;
mod project;
mod remote;
mod report;
mod run;
mod sweep;
mod tables;

use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// Declarative pipelines for multi-task recommendation: says what is out of date, runs it, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "mtorec", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more of what is done and why, as log lines on standard error; twice for even more. `MTOREC_LOG` gives a
    /// filter instead: `MTOREC_LOG=mtorec::store=trace`.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a stage failed, 2 the pipeline or the call is wrong, \
                          3 golden regression, 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first pipeline for a CSV of your own by looking at it.
    Init(init::Args),
    /// Run what is out of date, independent stages side by side.
    Run(run::Args),
    /// Say what would run, and why.
    Plan(plan::Args),
    /// Check pipelines without running anything; every problem at once.
    Check(check::Args),
    /// Print the graph of stages and their states.
    Graph(graph::Args),
    /// Print the metrics of the last run.
    Metrics(metrics::Args),
    /// Say what the stages' artifacts hold: rows, vocabularies, label rates; parameters.
    Describe(describe::Args),
    /// Hold metrics to blessed ones, or bless them.
    Golden(golden::Args),
    /// Run a grid of variants of a pipeline and print the table.
    Sweep(sweep::Args),
    /// Come back to jobs that were submitted to a cluster.
    Attach(attach::Args),
    /// Make one stage of a submission: what a job runs.
    #[command(hide = true)]
    Job(job::Args),
    /// Write what a pipeline or a sweep came to as one HTML page.
    Report(report::Args),
    /// Ask a balancer what it makes of given losses and gradients.
    Balance(balance::Args),
    /// List what a pipeline can name.
    List(list::Args),
    /// Look into the artifact store.
    Cache(cache::Args),
    /// Print a shell's completions of all commands and options.
    Completions(completions::Args),
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Wrong = 2,
    Regression = 3,
    Interrupted = 130,
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    failure::install_panic_hook();
    let cli = Cli::parse();
    start_log(cli.verbose);
    let verbose = cli.verbose > 0;
    let result = match cli.command {
        Command::Init(args) => init::main(&args),
        Command::Run(args) => run::main(&args, verbose),
        Command::Plan(args) => plan::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Graph(args) => graph::main(&args),
        Command::Metrics(args) => metrics::main(&args),
        Command::Describe(args) => describe::main(&args),
        Command::Golden(args) => golden::main(&args, verbose),
        Command::Sweep(args) => sweep::main(&args, verbose),
        Command::Attach(args) => attach::main(&args, verbose),
        Command::Job(args) => job::main(&args, verbose),
        Command::Report(args) => report::main(&args),
        Command::Balance(args) => balance::main(&args),
        Command::List(args) => list::main(&args),
        Command::Cache(args) => cache::main(&args, verbose),
        Command::Completions(args) => completions::main(&args, Cli::command()),
    };
    let exit = result.unwrap_or_else(|failure: Failure| {
        failure.print();
        failure.exit()
    });
    ExitCode::from(exit as u8)
}

fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "mtorec=warn",
        1 => "mtorec=debug",
        _ => "mtorec=trace",
    };
    let filter = match std::env::var("MTOREC_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::builder().parse_lossy(filter),
        _ => EnvFilter::builder().parse_lossy(default),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::stderr_colour())
        .without_time()
        .init();
}
