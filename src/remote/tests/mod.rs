//! Putting and getting between stores, by way of a service in memory that is watched and disturbed.

mod collecting;
mod spy;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use spy::Spy;

use super::*;
use crate::store::{Artifact, Draft, Finished, Incoming, KeyLock, LockAttempt, Lookup, Recipe, Store};

/// A machine with its store.
struct Machine {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self { _folder: folder, store }
    }

    fn lock(&self, key: Digest) -> KeyLock {
        match self.store.try_lock(key, "a test").unwrap() {
            LockAttempt::Held(lock) => lock,
            LockAttempt::Busy(_) => panic!("nobody else is here"),
        }
    }

    /// An artifact of these files, which are all that its recipe tells from others.
    fn make(&self, files: &[(&str, &[u8])]) -> Artifact {
        let parameters = files.iter().map(|(name, bytes)| ((*name).into(), Digest::of_bytes(bytes).to_string()));
        let recipe = Recipe {
            kind: "Fake".into(),
            revision: 1,
            device: None,
            parameters: parameters.collect(),
            inputs: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let lock = self.lock(recipe.key());
        let draft = Draft::new(&self.store, &lock).unwrap();
        files.iter().for_each(|(name, bytes)| draft.write(name, bytes).unwrap());
        let took = Duration::from_millis(1500);
        draft.commit(&lock, Finished { recipe, simulated: true, summary: "fake".into(), took }).unwrap()
    }

    fn pull(&self, remote: &Remote, key: Digest) -> Result<Option<Artifact>, RemoteError> {
        remote.pull(&self.store, &self.lock(key), &())
    }

    /// What is wrong with the remote's artifact; nothing of it is left here then.
    fn damage(&self, remote: &Remote, key: Digest) -> String {
        let Err(RemoteError::Damaged { what, .. }) = self.pull(remote, key) else { panic!("it is not damaged") };
        assert!(matches!(self.store.lookup(key).unwrap(), Lookup::Absent));
        assert!(!self.store.folder().join("incoming").join(key.to_string()).exists());
        what
    }
}

fn remote(spy: &Arc<Spy>) -> Remote {
    patient(spy, Bounds::default())
}

fn patient(spy: &Arc<Spy>, bounds: Bounds) -> Remote {
    let (service, prefix) = (Arc::clone(spy) as _, Path::from("some/where"));
    let opened = Opened { service, prefix, name: "spy://".to_owned(), folder: None, credentials: "", unusable: None };
    Remote::of(opened, bounds).unwrap()
}

const FILES: [(&str, &[u8]); 3] = [("a", b"hello"), ("b", b""), ("c", b"hello")];

#[test]
fn what_one_machine_put_another_gets_as_it_was() {
    let (spy, here, there) = (Arc::new(Spy::default()), Machine::new(), Machine::new());
    let made = here.make(&FILES);
    let key = made.manifest().key;
    let ours = remote(&spy);
    assert!(matches!(there.pull(&ours, key), Ok(None)));
    assert_eq!(spy.asked(), ["get artifacts"]);

    assert_eq!(ours.push(&made, &()).unwrap(), Pushed::New { bytes: 5 });
    let [head, put] = ["head files", "put files"];
    assert_eq!(spy.asked(), ["head artifacts", head, put, head, put, head, "create artifacts"], "equal files go once");
    assert_eq!(ours.push(&made, &()).unwrap(), Pushed::Present);
    assert_eq!(spy.asked(), ["head artifacts"]);

    let got = there.pull(&remote(&spy), key).unwrap().expect("it is there");
    assert_eq!(spy.asked(), ["get artifacts", "get files", "get files"], "what is empty need not come");
    got.verify().unwrap();
    let without_times = |artifact: &Artifact| {
        let mut manifest = artifact.manifest().clone();
        manifest.files.iter_mut().for_each(|file| file.modified_ns = 0);
        manifest
    };
    assert_eq!(without_times(&got), without_times(&made));
    let Lookup::Intact(found) = there.store.lookup(key).unwrap() else { panic!("it is in the store") };
    assert_eq!(fs::read(found.file("c").unwrap()).unwrap(), b"hello");
    assert_eq!(ours.keys(&()).unwrap(), [key]);
}

#[test]
fn what_artifacts_have_in_common_comes_once() {
    let (spy, here, there) = (Arc::new(Spy::default()), Machine::new(), Machine::new());
    let keys = [b"one", b"two"].map(|own| {
        let made = here.make(&[("a", own), ("b", b"common")]);
        remote(&spy).push(&made, &()).unwrap();
        made.manifest().key
    });
    let remote = remote(&spy);
    there.pull(&remote, keys[0]).unwrap().unwrap();
    spy.asked();
    there.pull(&remote, keys[1]).unwrap().unwrap().verify().unwrap();
    assert_eq!(spy.asked(), ["get artifacts", "get files"]);

    // a copy that is no longer what it was is none
    keys.iter().for_each(|key| there.store.set_aside(&there.lock(*key)).unwrap());
    let remote = self::remote(&spy);
    there.pull(&remote, keys[0]).unwrap().unwrap();
    fs::write(there.store.folder().join(format!("artifacts/{}/files/b", keys[0])), b"comm0n").unwrap();
    spy.asked();
    there.pull(&remote, keys[1]).unwrap().unwrap().verify().unwrap();
    assert_eq!(spy.asked(), ["get artifacts", "get files", "get files"]);
}

#[test]
fn a_large_file_goes_in_parts() {
    let (spy, here, there) = (Arc::new(Spy::default()), Machine::new(), Machine::new());
    let large: Vec<u8> = (0..(17 << 20) + 3).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let made = here.make(&[("large", &large)]);
    remote(&spy).push(&made, &()).unwrap();
    assert_eq!(spy.asked(), ["head artifacts", "head files", "put in parts files", "create artifacts"]);
    let got = there.pull(&remote(&spy), made.manifest().key).unwrap().unwrap();
    assert!(fs::read(got.file("large").unwrap()).unwrap() == large);
}

#[test]
fn damage_of_any_kind_is_seen_and_what_is_put_next_takes_its_place() {
    let (here, there) = (Machine::new(), Machine::new());
    let made = here.make(&FILES);
    let key = made.manifest().key;
    let (file, manifest) = (Object::file(Digest::of_bytes(b"hello")), Object::manifest(key));
    type Harm<'a> = &'a dyn Fn(&Spy);
    let harms: [(&str, Harm); 6] = [
        ("`a` has 4 bytes instead of 5", &|spy| spy.set(&file, b"hell")),
        ("`a` has 6 bytes instead of 5", &|spy| spy.set(&file, b"hello!")),
        ("the bytes of `a` have another digest than ea8f163d", &|spy| spy.set(&file, b"hallo")),
        ("`a` is missing", &|spy| spy.remove(&file)),
        ("its manifest has changed", &|spy| {
            let text = String::from_utf8(spy.bytes(&manifest)).unwrap();
            spy.set(&manifest, text.replace("\"simulated\": true", "\"simulated\": false").as_bytes());
        }),
        ("its manifest cannot be understood", &|spy| spy.set(&manifest, &spy.bytes(&manifest)[..50])),
    ];
    for (expected, harm) in harms {
        let spy = Arc::new(Spy::default());
        let remote = remote(&spy);
        remote.push(&made, &()).unwrap();
        harm(&spy);
        let what = there.damage(&remote, key);
        assert!(what.starts_with(expected), "{expected}: {what}");
        assert!(matches!(remote.push(&made, &()).unwrap(), Pushed::New { .. }), "{expected}");
        there.pull(&remote, key).unwrap().expect(expected);
        there.store.set_aside(&there.lock(key)).unwrap();
    }
}

#[test]
fn an_artifact_under_anothers_name_is_refused() {
    let (spy, here, there) = (Arc::new(Spy::default()), Machine::new(), Machine::new());
    let (one, other) = (here.make(&[("a", b"one")]), Digest::of_bytes(b"other"));
    let remote = remote(&spy);
    remote.push(&one, &()).unwrap();
    let manifest = Object::manifest(one.manifest().key);
    spy.set(&Object::manifest(other), &spy.bytes(&manifest));
    assert!(there.damage(&remote, other).starts_with("its manifest has changed"));

    // sealed anew by somebody who wants to be believed
    let forged = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = one.manifest().clone();
        change(&mut manifest);
        spy.set(&Object::manifest(manifest.key), &manifest.sealed().unwrap());
        there.damage(&remote, manifest.key)
    };
    assert!(forged(&|manifest| manifest.key = other).starts_with("its recipe is that of another artifact"));
    assert!(forged(&|manifest| manifest.files[0].name = "../../a".into()).starts_with("it names \"../../a\""));
    assert!(forged(&|manifest| manifest.content = other).starts_with("its files are not those"));
}

#[test]
fn what_has_come_is_gone_on_with_and_a_spoilt_part_comes_anew() {
    let (spy, here, there) = (Arc::new(Spy::default()), Machine::new(), Machine::new());
    let made = here.make(&[("a", b"hello"), ("b", b"goodbye")]);
    let key = made.manifest().key;
    let remote = remote(&spy);
    remote.push(&made, &()).unwrap();
    for (before, asked) in [
        ("goo", &["get artifacts", "get files", "head files", "get from 3 files"][..]),
        ("bad", &["get artifacts", "get files", "head files", "get from 3 files", "get files", "get files"]),
        ("more than the whole", &["get artifacts", "get files", "get files"]),
    ] {
        let lock = there.lock(key);
        let incoming = Incoming::open(&there.store, &lock, made.manifest().clone()).unwrap();
        let folder = there.store.folder().join("incoming").join(key.to_string());
        fs::write(folder.join(format!("{}-1", Digest::of_bytes(b"goodbye"))), before).unwrap();
        assert_eq!(incoming.received().unwrap(), before.len() as u64);
        drop(lock);
        spy.asked();
        there.pull(&remote, key).unwrap().unwrap().verify().unwrap();
        assert_eq!(spy.asked(), asked, "{before}");
        there.store.set_aside(&there.lock(key)).unwrap();
    }
}

#[test]
fn parts_of_what_was_made_here_after_all_are_cleared() {
    let (here, there) = (Machine::new(), Machine::new());
    let key = here.make(&FILES).manifest().key;
    let lock = there.lock(key);
    let of = here.store.lookup(key).unwrap();
    let Lookup::Intact(of) = of else { panic!("it was made") };
    let incoming = Incoming::open(&there.store, &lock, of.manifest().clone()).unwrap();
    incoming.part(0).unwrap().append(b"hel").unwrap();
    drop(lock);
    let folder = there.store.folder().join("incoming").join(key.to_string());
    there.store.clear_leftovers().unwrap();
    assert!(folder.exists(), "the artifact is not there yet");
    there.make(&FILES);
    there.store.clear_leftovers().unwrap();
    assert!(!folder.exists());
}

#[test]
fn the_first_of_two_writers_wins_even_where_services_know_no_conditions() {
    for plain in [false, true] {
        let (spy, one, two) = (Arc::new(Spy { plain, ..Spy::default() }), Machine::new(), Machine::new());
        let (first, second) = (one.make(&FILES), two.make(&FILES));
        let object = Object::manifest(first.manifest().key);
        remote(&spy).push(&first, &()).unwrap();
        let before = spy.bytes(&object);
        assert_eq!(remote(&spy).push(&second, &()).unwrap(), Pushed::Present, "plain: {plain}");
        assert!(!remote(&spy).put_manifest(&object, second.manifest().sealed().unwrap().into(), false, &()).unwrap());
        assert_eq!(spy.bytes(&object), before, "plain: {plain}");
    }
}

#[test]
fn after_a_failure_nothing_more_is_asked() {
    let (spy, here) = (Arc::new(Spy::default()), Machine::new());
    let made = here.make(&FILES);
    let remote = remote(&spy);
    spy.down.store(true, Ordering::Relaxed);
    let first = remote.push(&made, &()).unwrap_err();
    assert!(matches!(first, RemoteError::Failed { first: true, .. }));
    let text = first.to_string();
    assert!(text.ends_with(".json` of the remote spy://: Generic spy error: out of order"), "{text}");
    assert_eq!(spy.asked().len(), 1);
    spy.down.store(false, Ordering::Relaxed);
    let second = here.pull(&remote, made.manifest().key).unwrap_err();
    assert!(matches!(second, RemoteError::Failed { first: false, .. }));
    assert_eq!(second.to_string(), text);
    assert!(spy.asked().is_empty());
}

#[test]
fn one_that_would_take_for_ever_is_as_good_as_down() {
    let (spy, here, there) = (Arc::new(Spy::default()), Machine::new(), Machine::new());
    let key = here.make(&FILES).manifest().key;
    let Lookup::Intact(made) = here.store.lookup(key).unwrap() else { panic!("it was made") };
    remote(&spy).push(&made, &()).unwrap();
    let slow = patient(&spy, Bounds { silence: Duration::ZERO, slowest: f64::INFINITY, ..Bounds::default() });
    let error = there.pull(&slow, key).unwrap_err();
    assert!(matches!(error, RemoteError::Failed { first: true, .. }) && error.to_string().contains("bytes came in"));
}

#[test]
fn what_is_damaged_here_is_not_put() {
    let (spy, here) = (Arc::new(Spy::default()), Machine::new());
    let made = here.make(&FILES);
    let key = made.manifest().key;
    fs::write(here.store.folder().join(format!("artifacts/{key}/files/a")), b"hallo").unwrap();
    let error = remote(&spy).push(&made, &()).unwrap_err();
    assert!(matches!(error, RemoteError::Store(StoreError::Damaged { .. })), "{error}");
    assert_eq!(spy.asked(), ["head artifacts"]);
}

#[test]
fn whoever_stops_gets_away_from_a_remote_that_says_nothing() {
    struct Stops;
    impl Watch for Stops {
        fn cancelled(&self) -> bool {
            true
        }
        fn begin(&self, _: u64) {}
        fn at(&self, _: u64) {}
    }
    let remote = remote(&Arc::default());
    let never = std::future::pending::<object_store::Result<()>>();
    assert!(matches!(remote.wait(&Stops, never), Err(RemoteError::Interrupted)));
}
