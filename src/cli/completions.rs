//! `mtorec completions`: what a shell needs to complete commands and options, from the same definitions as the help.

use clap_complete::{Shell, generate};

use super::failure::Failure;
use super::{Exit, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell; `source <(mtorec completions bash)` tries it out.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn main(args: &Args, mut command: clap::Command) -> Result<Exit, Failure> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
