//! What people see while stages run: bars on a terminal, plain lines elsewhere; on standard error, never on output.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::stage::Progress;

/// Where there is no bar, a sign of life this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Shows how far the stages are.
pub struct Console {
    output: Output,
}

enum Output {
    Bars {
        all: MultiProgress,
        colour: bool,
        /// What stands above the bars.
        above: Mutex<Option<ProgressBar>>,
    },
    Lines(Mutex<Box<dyn Write + Send>>),
}

impl Console {
    /// Bars on the terminal behind standard error.
    pub fn bars(colour: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { output: Output::Bars { all, colour, above: Mutex::default() } }
    }

    /// Plain lines.
    pub fn lines(to: impl Write + Send + 'static) -> Self {
        Self { output: Output::Lines(Mutex::new(Box::new(to))) }
    }

    /// Says something about a stage.
    pub fn say(&self, stage: &str, text: &str) {
        self.line(&format!("{stage}: {text}"));
    }

    /// Says something about a stage that must not be missed.
    pub fn warn(&self, stage: &str, text: &str) {
        match &self.output {
            Output::Bars { colour: true, .. } => self.line(&format!("\x1b[1;33mwarning\x1b[0m: {stage}: {text}")),
            _ => self.line(&format!("warning: {stage}: {text}")),
        }
    }

    /// How far a stage is.
    pub fn stage<'a>(&'a self, name: &'a str) -> StageProgress<'a> {
        StageProgress {
            console: self,
            name,
            state: Mutex::new(State { bar: None, spoke: Instant::now(), total: 0, unit: String::new() }),
        }
    }

    /// The rows and columns of the terminal that shows bars; nothing where lines are printed.
    pub fn terminal(&self) -> Option<(usize, usize)> {
        let Output::Bars { .. } = &self.output else { return None };
        let (rows, columns) = ::console::Term::stderr().size();
        Some((rows.into(), columns.into()))
    }

    /// Shows lines above the bars, in place of those that are there; no text takes them away. Where there is no
    /// [`Self::terminal`], nothing happens.
    pub fn show_above(&self, text: &str) {
        let Output::Bars { all, above, .. } = &self.output else { return };
        let mut above = above.lock().unwrap_or_else(PoisonError::into_inner);
        if text.is_empty() {
            if let Some(old) = above.take() {
                old.finish_and_clear();
            }
            return;
        }
        let style = || ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        // first: where a terminal is too low for everything, bars are left out
        let shown = above.get_or_insert_with(|| all.insert(0, ProgressBar::new(0).with_style(style())));
        shown.set_message(text.to_owned());
    }

    /// Prints a line, above everything that moves.
    pub fn line(&self, line: &str) {
        // Nobody can be told that standard error is gone.
        let _: io::Result<()> = match &self.output {
            Output::Bars { all, .. } => all.println(line),
            Output::Lines(to) => writeln!(to.lock().unwrap_or_else(PoisonError::into_inner), "{line}"),
        };
    }
}

/// The progress of one stage; its bar goes when it is dropped.
pub struct StageProgress<'a> {
    console: &'a Console,
    name: &'a str,
    state: Mutex<State>,
}

struct State {
    bar: Option<ProgressBar>,
    spoke: Instant,
    total: u64,
    unit: String,
}

impl StageProgress<'_> {
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for StageProgress<'_> {
    fn begin(&self, total: u64, unit: &str) {
        self.update(|state| {
            (state.total, state.unit) = (total, unit.to_owned());
            let Output::Bars { all, colour, .. } = &self.console.output else { return };
            if let Some(old) = state.bar.take() {
                old.finish_and_clear();
            }
            let bar = all.add(ProgressBar::new(total).with_style(style(unit, *colour)));
            bar.set_prefix(self.name.to_owned());
            state.bar = Some(bar);
        });
    }

    fn at(&self, done: u64, message: &str) {
        self.update(|state| match &state.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message.to_owned());
            }
            None if state.spoke.elapsed() >= SIGN_OF_LIFE => {
                state.spoke = Instant::now();
                self.console.say(self.name, &format!("{done}/{} {} {message}", state.total, state.unit));
            }
            None => {}
        });
    }

    fn note(&self, line: &str) {
        self.update(|state| state.spoke = Instant::now());
        self.console.say(self.name, line);
    }

    fn warn(&self, line: &str) {
        self.console.warn(self.name, line);
    }
}

impl Drop for StageProgress<'_> {
    fn drop(&mut self) {
        self.update(|state| {
            if let Some(bar) = state.bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}

fn style(unit: &str, colour: bool) -> ProgressStyle {
    let unit = unit.replace(['{', '}'], "");
    let (prefix, bar) = if colour { ("{prefix:.bold}", "{bar:24.cyan/dim}") } else { ("{prefix}", "{bar:24}") };
    let template = format!("{prefix} {bar} {{human_pos}}/{{human_len}} {unit}, {{rate}}, {{eta}} left  {{msg}}");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key(
        "rate",
        |state: &ProgressState, to: &mut dyn fmt::Write| {
            let _ = write!(to, "{:.1}/s", state.per_sec());
        },
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_lines_keep_notes_and_warnings_and_do_not_flood() {
        let log = Log::default();
        let console = Console::lines(log.clone());
        let stage = console.stage("train");
        stage.begin(1000, "steps");
        (0..1000).for_each(|step| stage.at(step, "loss 0.3"));
        stage.note("epoch 1: AUC 0.7");
        stage.warn("the loss is not finite");
        drop(stage);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "train: epoch 1: AUC 0.7\nwarning: train: the loss is not finite\n");
    }
}
