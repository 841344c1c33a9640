//! What kind of machine an artifact was made on: times mean nothing without it, and bits depend on it.

use std::fmt;
use std::fs;
use std::sync::OnceLock;
use std::thread;

use serde::{Deserialize, Serialize};

/// A kind of machine; not which one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `linux`, `macos`, `windows`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// The processor's own name, where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// How many cores this process may use.
    pub cores: usize,
}

impl Machine {
    /// The machine that this process runs on.
    pub fn this() -> Self {
        static THIS: OnceLock<Machine> = OnceLock::new();
        let look = || Self {
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            processor: fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(processor),
            cores: thread::available_parallelism().map_or(1, usize::from),
        };
        THIS.get_or_init(look).clone()
    }
}

/// The name of the first processor in Linux's list.
fn processor(list: &str) -> Option<String> {
    let line = list.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = line.trim_start().strip_prefix(':')?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { os, architecture, processor, cores } = self;
        let plural = if *cores == 1 { "" } else { "s" };
        let processor = processor.as_deref().unwrap_or(architecture);
        write!(f, "{processor}, {cores} core{plural}, {os} {architecture}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_say_what_they_are() {
        let list = "processor\t: 0\nvendor_id\t: X\nmodel name\t: Some CPU @ 2.00GHz\nprocessor\t: 1\n";
        assert_eq!(processor(list).as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!((processor("Processor: ARM"), processor("model name\t: ")), (None, None));
        let machine = Machine { os: "linux".into(), architecture: "aarch64".into(), processor: None, cores: 1 };
        assert_eq!(machine.to_string(), "aarch64, 1 core, linux aarch64");
        assert!(Machine::this().cores >= 1);
    }
}
