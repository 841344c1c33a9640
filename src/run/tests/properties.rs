//! Graphs drawn at random run in an order that respects them, whatever the number of jobs, and only as far as they must.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

use super::*;

/// A graph as a list of stages, given in any order, and the stages that each of them reads.
#[derive(Debug, Clone)]
struct Dag {
    /// Places of the stages that a stage reads, each up to three times over, in a topological order.
    reads: Vec<Vec<usize>>,
    /// The order in which the stages are given.
    given: Vec<usize>,
}

fn dag() -> impl Strategy<Value = Dag> {
    prop::collection::vec(prop::collection::vec(any::<Index>(), 0..4), 1..14).prop_flat_map(|picks| {
        let sources = |(at, picks): (usize, Vec<Index>)| match at {
            0 => Vec::new(),
            _ => picks.into_iter().map(|pick| pick.index(at)).collect(),
        };
        let reads: Vec<Vec<usize>> = picks.into_iter().enumerate().map(sources).collect();
        let given = Just((0..reads.len()).collect::<Vec<_>>()).prop_shuffle();
        given.prop_map(move |given| Dag { reads: reads.clone(), given })
    })
}

fn name(at: usize) -> String {
    format!("s{at}")
}

impl Dag {
    fn lab(&self) -> Lab {
        let names: Vec<String> = (0..self.reads.len()).map(name).collect();
        let mut lab = Lab::new(&[]);
        // in memory, where that can be had: flushing to the disk takes most of the time
        if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
            lab.folder = folder;
        }
        for &at in &self.given {
            let reads: Vec<&str> = self.reads[at].iter().map(|&source| names[source].as_str()).collect();
            lab.stages.push((name(at), Fake::reading(&reads).with("text", &format!("({at})"))));
            lab.act(&names[at], || Ok(Outcome::default()));
        }
        lab
    }

    /// Those that need a stage, itself included: each stage after all that it reads.
    fn downstream(&self, of: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([of]);
        for (at, reads) in self.reads.iter().enumerate() {
            if reads.iter().any(|source| reached.contains(source)) {
                reached.insert(at);
            }
        }
        reached
    }

    /// What the stage's file holds: its text and what the files of those that it reads hold.
    fn content(&self, at: usize) -> String {
        let sources = self.reads[at].iter().map(|&source| self.content(source));
        std::iter::once(format!("({at})")).chain(sources).collect()
    }
}

/// Begins and ends of stages, in order.
type Events = Arc<Mutex<Vec<(usize, bool)>>>;

/// Lets every stage note when it begins and, a little later, when it ends.
fn noting(lab: &mut Lab, stages: usize) -> Events {
    let events = Events::default();
    for at in 0..stages {
        let events = events.clone();
        lab.act(&name(at), move || {
            events.lock().unwrap().push((at, true));
            std::thread::sleep(Duration::from_micros(300 * (at as u64 % 3)));
            events.lock().unwrap().push((at, false));
            Ok(Outcome::default())
        });
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn stages_run_after_all_that_they_read(dag in dag(), jobs in 1usize..9) {
        let mut lab = dag.lab();
        let events = noting(&mut lab, dag.reads.len());
        prop_assert_eq!(lab.run_with(jobs, &[], None).ending(), Ending::Done);
        let events = std::mem::take(&mut *events.lock().unwrap());
        prop_assert_eq!(events.len(), 2 * dag.reads.len(), "each runs once");
        let (mut ended, mut running) = (BTreeSet::new(), 0);
        for (at, begins) in events {
            if begins {
                running += 1;
                prop_assert!(dag.reads[at].iter().all(|source| ended.contains(source)), "{} began too early", at);
            } else {
                running -= 1;
                prop_assert!(ended.insert(at));
            }
            prop_assert!(running <= jobs);
        }
        for at in 0..dag.reads.len() {
            prop_assert_eq!(fs::read_to_string(lab.file(&name(at))).unwrap(), dag.content(at));
        }
        lab.ran();
        prop_assert_eq!(lab.run_with(jobs, &[], None).ending(), Ending::Done);
        prop_assert!(lab.ran().is_empty());
    }

    #[test]
    fn one_job_takes_the_stage_that_is_given_first(dag in dag()) {
        // of those whose sources have run, the first given, again and again
        let (mut expected, mut done) = (Vec::new(), BTreeSet::new());
        while let Some(&next) =
            dag.given.iter().find(|at| !done.contains(*at) && dag.reads[**at].iter().all(|source| done.contains(source)))
        {
            done.insert(next);
            expected.push(name(next));
        }
        prop_assert_eq!(dag.lab().run(), expected);
    }

    #[test]
    fn a_change_runs_exactly_what_it_reaches(dag in dag(), jobs in 1usize..9, changed in any::<Index>(), same in any::<bool>()) {
        let mut lab = dag.lab();
        lab.run();
        let changed = changed.index(dag.reads.len());
        lab.set(&name(changed), if same { "comment" } else { "text" }, "new");
        prop_assert_eq!(lab.run_with(jobs, &[], None).ending(), Ending::Done);
        let ran: BTreeSet<String> = lab.ran().into_iter().collect();
        // what comes to the same bytes stops there
        let expected = if same { BTreeSet::from([changed]) } else { dag.downstream(changed) };
        prop_assert_eq!(ran, expected.into_iter().map(name).collect());
    }

    #[test]
    fn a_failure_stops_exactly_what_it_reaches(dag in dag(), jobs in 1usize..9, failing in any::<Index>(), keep_going in any::<bool>()) {
        let mut lab = dag.lab();
        let failing = failing.index(dag.reads.len());
        lab.act(&name(failing), || Err(StageError::failed("as it must")));
        let report = lab.execute(jobs, &[], None, keep_going, &());
        prop_assert_eq!(report.ending(), Ending::Failed);
        let reached = dag.downstream(failing);
        let words = Lab::words(&report);
        for at in 0..dag.reads.len() {
            let word = words[name(at).as_str()];
            if at == failing {
                prop_assert_eq!(word, "failed");
            } else if reached.contains(&at) {
                prop_assert_eq!(word, "blocked");
            } else {
                prop_assert!(word == "ran" || word == "not-started" && !keep_going, "{} is {}", at, word);
            }
        }
        lab.act(&name(failing), || Ok(Outcome::default()));
        lab.ran();
        prop_assert_eq!(lab.run_with(jobs, &[], None).ending(), Ending::Done);
        let ran: BTreeSet<String> = lab.ran().into_iter().collect();
        prop_assert!(reached.iter().all(|at| ran.contains(&name(*at))), "the next run goes on: {:?}", ran);
        prop_assert!(!keep_going || ran.len() == reached.len());
    }
}
