//! Standard output and error: who may see colour, and what happens when nobody listens.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use super::Exit;
use super::failure::Failure;
use crate::run::Console;

/// Prints a result on standard output. A reader that has gone away (`mtorec list models | head -1`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::trouble(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one JSON document on standard output.
pub(super) fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document).map_err(|error| Failure::trouble(Exit::Failed, error))?;
    print(&format!("{json}\n"))
}

/// Says something on standard error.
pub(super) fn say(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether standard error shows colour.
pub(super) fn stderr_colour() -> bool {
    io::stderr().is_terminal() && colour_wanted()
}

/// Whether standard output shows colour.
pub(super) fn stdout_colour() -> bool {
    io::stdout().is_terminal() && colour_wanted()
}

/// See <https://no-color.org>.
fn colour_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Bars for people at a terminal, plain lines for everybody else and for those who read the log.
pub(super) fn console(verbose: bool) -> Console {
    let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    if io::stderr().is_terminal() && !dumb && !verbose {
        Console::bars(stderr_colour())
    } else {
        Console::lines(io::stderr())
    }
}
