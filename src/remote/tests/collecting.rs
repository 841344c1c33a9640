//! What goes of a remote in a folder, whose objects have ages.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::Machine;
use crate::remote::{Bounds, Object, Remote, RemoteRule};
use crate::store::Digest;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A remote in a folder whose objects have ages.
struct Shelf {
    folder: tempfile::TempDir,
    remote: Remote,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let remote = Remote::open(&format!("file://{}", folder.path().display()), Bounds::default()).unwrap();
        Self { folder, remote }
    }

    fn age(&self, object: &Object, days: u32) {
        let file = File::options().write(true).open(self.folder.path().join(&object.0)).unwrap();
        file.set_modified(SystemTime::now() - DAY * days - Duration::from_secs(60)).unwrap();
    }

    /// Puts an artifact that is so old, its files included.
    fn put(&self, machine: &Machine, files: &[(&str, &[u8])], days: u32) -> Digest {
        let made = machine.make(files);
        self.remote.push(&made, &()).unwrap();
        self.age(&Object::manifest(made.manifest().key), days);
        made.manifest().files.iter().for_each(|file| self.age(&Object::file(file.digest), days));
        made.manifest().key
    }

    fn has(&self, object: &Object) -> bool {
        self.folder.path().join(&object.0).exists()
    }
}

#[test]
fn the_old_and_unreached_go_with_the_files_that_nobody_else_names() {
    let (shelf, machine) = (Shelf::new(), Machine::new());
    let reached = shelf.put(&machine, &[("a", b"reached")], 90);
    let old = shelf.put(&machine, &[("a", b"old"), ("b", b"shared")], 30);
    let young = shelf.put(&machine, &[("a", b"young"), ("b", b"shared")], 3);
    // what an interrupted put left, and what one is leaving just now
    for (name, days) in [("left", 8), ("arriving", 0)] {
        let object = Object::file(Digest::of_bytes(name.as_bytes()));
        fs::write(shelf.folder.path().join(&object.0), name).unwrap();
        shelf.age(&object, days);
    }
    // what an interrupted put was writing
    let torn = |days| Object(format!("{}#{days}", Object::file(Digest::of_bytes(b"torn")).0));
    for days in [0, 2] {
        fs::write(shelf.folder.path().join(torn(days).0), "to").unwrap();
        shelf.age(&torn(days), days);
    }
    let reached = BTreeSet::from([reached]);
    let collect = |keep: u32, largest, dry_run| {
        let rule = RemoteRule { keep: DAY * keep, largest, dry_run };
        let gone = shelf.remote.collect(&reached, rule, &()).unwrap();
        let keys: Vec<Digest> = gone.artifacts.iter().map(|(key, _)| *key).collect();
        (keys, gone.files, gone.bytes)
    };
    assert_eq!(collect(100, None, true), (vec![], 1, 2));
    assert_eq!(collect(7, None, true), (vec![old], 3, 9));
    assert!(shelf.has(&Object::manifest(old)), "only said");
    assert_eq!(collect(0, None, true), (vec![old, young], 5, 20), "what is arriving stays");
    assert_eq!(collect(100, Some(30), true), (vec![old], 2, 5), "of 33 bytes");
    assert_eq!(collect(100, Some(0), true), (vec![old, young], 4, 16), "the reached stays");

    assert_eq!(collect(7, None, false), (vec![old], 3, 9));
    let file = |text: &str| shelf.has(&Object::file(Digest::of_bytes(text.as_bytes())));
    assert!(!shelf.has(&Object::manifest(old)) && !file("old") && !file("left"));
    assert!(shelf.has(&Object::manifest(young)) && file("shared") && file("arriving"));
    assert!(!shelf.has(&torn(2)) && shelf.has(&torn(0)));
    assert_eq!(collect(7, None, false), (vec![], 0, 0));
    let there = Machine::new();
    there.pull(&shelf.remote, young).unwrap().unwrap().verify().unwrap();
}
