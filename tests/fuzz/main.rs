//! Inputs that nobody would write, against everything that reads what people or other programs wrote: no panic, no hang,
//! bounded memory. They are mutations of sound inputs; one that comes to an outcome not seen before joins them.
//!
//! A short run with a fixed seed is part of the tests. Longer ones by hand:
//! `MTOREC_FUZZ=180 MTOREC_FUZZ_SEED=7 MTOREC_FUZZ_TARGETS=csv,zip cargo test --release --test fuzz -- --nocapture`
//! (seconds a target). `MTOREC_FUZZ_INPUT=FILE`, with one target, runs one input again; `MTOREC_FUZZ_OUTCOMES=1` prints every new outcome.
#![cfg(unix)]

mod checkpoints;
mod language;
mod logs;
mod mutate;
mod watch;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::Mutator;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use watch::{Counting, Watch};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How long a target is tried in the tests.
const SHORT: Duration = Duration::from_millis(2000);
/// Inputs that are kept for their outcome at most.
const KEPT: usize = 4000;

/// Something that reads inputs.
struct Target {
    name: &'static str,
    /// What the outcome of the first seed holds: a target whose inputs are all wrong would try little.
    sound: &'static str,
    /// Bytes of an input at most.
    longest: usize,
    /// Sound inputs, or nearly.
    seeds: Vec<Vec<u8>>,
    /// Words of its language.
    dictionary: Vec<String>,
    /// Reads an input and says what came of it.
    run: Reader,
}

type Reader = Box<dyn Fn(&[u8]) -> String>;

/// A temporary folder; in memory, where that can be had: artifacts are flushed to the disk, and there it takes no time.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

/// What an outcome is like: its words without names and numbers of the input.
fn kind_of(outcome: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut quoted = false;
    for c in outcome.chars().take(600) {
        quoted ^= c == '`';
        if !quoted && !c.is_ascii_digit() {
            c.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Tries a target; what is wrong with it.
fn fuzz(target: Target, watch: &Watch, time: Duration, seed: u64) -> Vec<String> {
    let Target { name, sound, longest, seeds, dictionary, run } = target;
    let mut mutator =
        Mutator { rng: ChaCha8Rng::seed_from_u64(seed), dictionary: &dictionary, longest, seeds: seeds.len() };
    let (mut corpus, mut seen, mut wrong) = (seeds.clone(), HashSet::new(), Vec::new());
    let (start, mut executions, mut most) = (Instant::now(), 0_u64, 0);
    let mut seeds = seeds.into_iter();
    let talkative = env::var_os("MTOREC_FUZZ_OUTCOMES").is_some();
    // every seed, however long it takes, and then mutations
    loop {
        let (input, fresh) = match seeds.next() {
            Some(seed) => (seed, false),
            None if start.elapsed() >= time || wrong.len() >= 20 => break,
            None => (mutator.input(&corpus), true),
        };
        executions += 1;
        match watch.run(name, &input, &run) {
            Ok((outcome, memory)) => {
                assert!(executions > 1 || outcome.contains(sound), "{name}: the first seed is not sound: {outcome}");
                most = most.max(memory);
                if seen.insert(kind_of(&outcome)) {
                    if talkative {
                        println!("{name}: {}", outcome.chars().take(300).collect::<String>());
                    }
                    if fresh && corpus.len() < KEPT {
                        corpus.push(input);
                    }
                }
            }
            Err(what) => {
                // the place of a panic, once
                let place = what.split(" on ").next().map(kind_of);
                if seen.insert(place.unwrap_or_default()) {
                    println!("{what}");
                    wrong.push(what);
                }
            }
        }
    }
    println!(
        "{name:<10} {executions:>8} executions, {:>4} outcomes, {:>6.1} MB at most, in {:.1} s",
        seen.len(),
        most as f64 / 1e6,
        start.elapsed().as_secs_f64()
    );
    wrong
}

#[test]
fn no_input_breaks_a_reader() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let time = number("MTOREC_FUZZ").map_or(SHORT, Duration::from_secs);
    let seed = number("MTOREC_FUZZ_SEED").unwrap_or(1);
    let wanted = env::var("MTOREC_FUZZ_TARGETS").ok();
    let watch = Watch::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz"));
    let targets: [fn() -> Target; 8] = [
        language::pipeline,
        language::sweep,
        language::set,
        language::balance,
        logs::csv,
        logs::zip,
        logs::census,
        checkpoints::checkpoint,
    ];
    let mut wrong = Vec::new();
    for target in targets.map(|target| target()) {
        if wanted.as_ref().is_some_and(|wanted| !wanted.split(',').any(|name| name == target.name)) {
            continue;
        }
        if let Ok(path) = env::var("MTOREC_FUZZ_INPUT") {
            let outcome = watch.run(target.name, &fs::read(path).expect("the input"), &target.run);
            println!("{}: {outcome:?}", target.name);
            continue;
        }
        wrong.extend(fuzz(target, &watch, time, seed));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
