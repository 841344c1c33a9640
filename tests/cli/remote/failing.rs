//! Remotes that fail in every way: wrong, silent, refusing, damaged, cut off.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{RUN, all, at, ended, key, largest, s3, shared, warnings};
use crate::project::{Project, Running, wait_until};
use crate::s3::{KEY, SECRET};
use crate::server::{Answer, Server, asked_from};

#[test]
fn offline_asks_only_folders() {
    let project = Project::new();
    let server = Server::start(|_, _| Answer::new("500 No", &[], b""));
    let call = |more: &[&str]| {
        let arguments = [&RUN[..], &["--offline", "--remote", "s3://bucket/offline"], more].concat();
        ended(at(&project, &server.url(""), &arguments))
    };
    let called = call(&[]).expect(0);
    assert!(called.err.contains("the remote is not asked: `--offline`"), "{called:?}");
    assert_eq!(called.results(), all("ran"));
    let called = call(&["--remote-required"]).expect(2);
    assert!(called.err.contains("`--offline` forbids to ask the remote"), "{called:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn addresses_that_lead_nowhere_are_wrong_calls() {
    let project = Project::new();
    for (address, says) in [
        ("ftp://host/x", "begins with `ftp:`"),
        ("shared/folder", "a folder's is `file:///FOLDER`"),
        ("s3://me:SECRET@bucket/x", "holds a user, a password or a query"),
    ] {
        let called = project.call(&["run", "pipelines/small.ron", "--remote", address]).expect(2);
        assert!(called.err.contains(says) && called.err.contains("hint: `s3://BUCKET/PREFIX`"), "{called:?}");
        assert!(!called.err.contains("SECRET"), "{called:?}");
    }
    let called = project.call(&["run", "pipelines/small.ron", "--remote-required"]).expect(2);
    assert!(called.err.contains("no remote is named"), "{called:?}");
    let called = project.call(&["cache", "push"]).expect(2);
    assert!(called.err.contains("no remote is named"), "{called:?}");
    let mut command = project.command(&RUN);
    command.env("MTOREC_REMOTE", "");
    assert_eq!(ended(command).expect(0).results(), all("ran"));
}

/// A remote that fails: told once, and the run goes on; fatal where it is required.
fn fails(endpoint: &str, credentials: (&str, &str), says: &[&str]) {
    let call = |more: &[&str]| {
        let project = Project::new();
        let arguments = [&RUN[..], &["--remote", "s3://bucket/fails", "--remote-timeout", "1"], more].concat();
        let mut command = at(&project, endpoint, &arguments);
        command.env("AWS_ACCESS_KEY_ID", credentials.0).env("AWS_SECRET_ACCESS_KEY", credentials.1);
        ended(command)
    };
    let alone = call(&[]).expect(0);
    assert_eq!(alone.results(), all("ran"));
    let [warning] = warnings(&alone)[..] else { panic!("one warning: {alone:?}") };
    let required = call(&["--remote-required"]).expect(1);
    assert_eq!(required.results()[0], "download=failed");
    for says in [&["the remote s3://bucket/fails"], says].concat() {
        assert!(warning.contains(says), "{says}: {warning}");
        assert!(required.err.contains(says), "{says}: {required:?}");
    }
}

#[test]
fn wrong_credentials_are_told_with_the_variables_to_look_at() {
    fails(&s3().url(), (KEY, "a-wrong-secret"), &["SignatureDoesNotMatch", "`AWS_SECRET_ACCESS_KEY`"]);
    fails(&s3().url(), ("nobody", SECRET), &["`AWS_ACCESS_KEY_ID`"]);
}

#[test]
fn credentials_that_are_not_there_are_told_too() {
    let arguments = [&RUN[..], &["--remote", "az://container/prefix"]].concat();
    let alone = Project::new().call(&arguments).expect(0);
    let [warning] = warnings(&alone)[..] else { panic!("one warning: {alone:?}") };
    let required = Project::new().call(&[&arguments[..], &["--remote-required"]].concat()).expect(1);
    for says in ["the remote az://container/prefix: ", "Account must be specified", "`AZURE_STORAGE_ACCOUNT_NAME`"] {
        assert!(warning.contains(says) && required.err.contains(says), "{says}: {warning} {required:?}");
    }
}

#[test]
fn a_remote_that_is_down_costs_one_warning() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fails(&format!("http://127.0.0.1:{port}"), (KEY, SECRET), &["onnection refused", "the network up"]);
}

#[test]
fn a_remote_that_says_nothing_costs_one_warning() {
    let silent = Answer { head: String::new(), body: Vec::new(), hangs: true };
    let server = Server::start(move |_, _| silent.clone());
    fails(&server.url(""), (KEY, SECRET), &["timeout", "the network up"]);
}

#[test]
fn a_remote_that_breaks_down_half_way_leaves_what_was_made() {
    // it knows no artifact, and takes none
    let server = Server::start(|_, head| {
        let status = if head.starts_with("PUT") { "403 Forbidden" } else { "404 Not Found" };
        let body = b"<Error><Code>AccessDenied</Code><Message>read only</Message></Error>";
        Answer::new(
            status,
            &[&format!("Content-Length: {}", body.len())],
            if head.starts_with("HEAD") { b"" } else { body },
        )
    });
    let project = Project::new();
    let arguments = [&RUN[..], &["--remote", "s3://bucket/half"]].concat();
    let called = ended(at(&project, &server.url(""), &arguments)).expect(0);
    assert_eq!(called.results(), all("ran"));
    assert_eq!(warnings(&called).len(), 1, "{called:?}");
    assert!(
        called.err.contains("cannot put `v1/files/") && called.err.contains("AccessDenied: read only"),
        "{called:?}"
    );
    let puts = server.requests().iter().filter(|head| head.starts_with("put ")).count();
    assert_eq!(puts, 1, "nothing more is put");

    let other = Project::new();
    let arguments = [&arguments[..], &["--remote-required"]].concat();
    let called = ended(at(&other, &server.url(""), &arguments)).expect(1);
    assert!(called.results().contains(&"download=failed".to_owned()), "{called:?}");
    assert!(called.err.contains("error: stage `download`: cannot put `v1/files/"), "{called:?}");
}

#[test]
fn damage_in_the_remote_is_told_made_good_and_replaced() {
    let here = Project::new();
    let run = shared(&here, "damage", &RUN).expect(0).json();
    let train = key(&run, "train");
    let file = s3().object(&format!("damage/{}", largest(&here, &train)));
    let manifest = s3().object(&format!("damage/v1/artifacts/{train}.json"));
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let length = fs::metadata(&file).unwrap().len();
    type Harm<'a> = &'a dyn Fn();
    let harms: [(&str, Harm); 4] = [
        ("bytes instead of", &|| File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap()),
        ("have another digest", &|| flip(&file, length as usize / 2)),
        ("is missing", &|| fs::remove_file(&file).unwrap()),
        ("its manifest", &|| {
            let text = fs::read_to_string(&manifest).unwrap();
            fs::write(&manifest, text.replace("\"simulated\": true", "\"simulated\": false")).unwrap();
        }),
    ];
    for (says, harm) in harms {
        harm();
        let there = Project::new();
        let called = shared(&there, "damage", &RUN).expect(0);
        assert_eq!(called.ran(), ["train"], "{says}: {called:?}");
        assert_eq!(called.json()["metrics"], run["metrics"]);
        let [warning] = warnings(&called)[..] else { panic!("{says}: {called:?}") };
        let named = [&file, &manifest].map(|path| path.file_name().unwrap().to_str().unwrap());
        assert!(warning.contains(says) && warning.contains(&train[..8]), "{says}: {warning}");
        assert!(named.iter().any(|name| warning.contains(name)), "{says}: {warning}");
        there.call(&["cache", "verify"]).expect(0);
        assert!(!there.path(&format!(".mtorec/incoming/{train}")).exists());
        // what was made took its place
        assert_eq!(shared(&Project::new(), "damage", &RUN).expect(0).results(), all("pulled"), "{says}");
    }
}

#[test]
fn an_artifact_under_anothers_key_is_refused() {
    let here = Project::new();
    let run = shared(&here, "forged", &RUN).expect(0).json();
    let object = |stage: &str| s3().object(&format!("forged/v1/artifacts/{}.json", key(&run, stage)));
    fs::copy(object("model"), object("train")).unwrap();
    let called = shared(&Project::new(), "forged", &RUN).expect(0);
    assert_eq!(called.ran(), ["train"], "{called:?}");
    assert!(warnings(&called)[0].contains("its manifest has changed"), "{called:?}");
}

/// Gives what a folder holds, as S3 does, but hangs in the middle of the first file of this name.
fn hanging_once(folder: PathBuf, file: String) -> Server {
    let hung = std::sync::atomic::AtomicBool::new(false);
    Server::start(move |_, head| {
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches("/bucket/");
        let Ok(bytes) = fs::read(folder.join(path)) else {
            return Answer::new("404 Not Found", &["Content-Length: 0"], b"");
        };
        let (from, dates) = (asked_from(head).unwrap_or(0), "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT");
        let length = format!("Content-Length: {}", bytes.len() - from);
        let range = format!("Content-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        let (status, range) =
            if from > 0 { ("206 Partial Content", range.as_str()) } else { ("200 OK", "X-Whole: yes") };
        let body = if head.starts_with("HEAD") { &[] } else { &bytes[from..] };
        let answer = |body| Answer::new(status, &[&length, range, dates, "ETag: \"1\""], body);
        if path == file && !body.is_empty() && !hung.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return answer(&body[..body.len() / 2]).hanging();
        }
        answer(body)
    })
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let (here, folder) = (Project::new(), tempfile::tempdir().unwrap());
    let remote = format!("file://{}", folder.path().display());
    let run = here.call(&[&RUN[..], &["--remote", &remote]].concat()).expect(0).json();
    let train = key(&run, "train");
    let file = largest(&here, &train);
    let half = fs::metadata(folder.path().join(&file)).unwrap().len() / 2;
    let server = hanging_once(folder.path().to_owned(), format!("pull/{file}"));
    fs::create_dir(folder.path().join("pull")).unwrap();
    fs::rename(folder.path().join("v1"), folder.path().join("pull/v1")).unwrap();

    let there = Project::new();
    let arguments = [&RUN[..], &["--remote", "s3://bucket/pull"]].concat();
    let running = Running::start(at(&there, &server.url(""), &arguments));
    let incoming = there.path(&format!(".mtorec/incoming/{train}"));
    wait_until("half a file", || {
        let mut parts = fs::read_dir(&incoming).into_iter().flatten().flatten();
        parts.any(|part| part.metadata().is_ok_and(|found| found.len() == half))
    });
    running.signal("KILL");
    assert_eq!(running.end().code, None);
    let dry = there.call(&["cache", "gc", "--keep-days", "0", "--dry-run", "--json"]).expect(0).json();
    assert!(dry["removed"].as_array().unwrap().iter().any(|gone| gone["what"] == "incoming"), "{dry}");

    let called = ended(at(&there, &server.url(""), &arguments)).expect(0);
    let results: BTreeSet<String> = called.results().into_iter().collect();
    assert!(results.contains("train=pulled") && called.ran().is_empty(), "{called:?}");
    assert_eq!(called.json()["metrics"], run["metrics"]);
    assert!(!incoming.exists());
    let ranges: Vec<usize> = server.requests().iter().filter_map(|head| asked_from(head)).collect();
    assert_eq!(ranges, [half as usize]);
}
