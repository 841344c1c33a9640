//! What Google's and Azure's services are asked, by one that keeps what it is given and knows both.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{RUN, all, ended};
use crate::project::Project;
use crate::server::{Answer, Server};

fn service() -> Server {
    let objects: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::default();
    Server::start_reading(move |_, head, body| {
        let mut objects = objects.lock().unwrap();
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap().split('?').next().unwrap().to_owned());
        let answer = |status, body: &[u8], length: usize| {
            let (tag, date) = ("ETag: \"1\"", "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT");
            Answer::new(status, &[tag, date, &format!("Content-Length: {length}")], body)
        };
        match (method, objects.get(&path)) {
            ("PUT", Some(_)) if is_conditional(head) => answer("412 Precondition Failed", b"", 0),
            ("PUT", _) => {
                objects.insert(path, body.to_vec());
                answer("201 Created", b"", 0)
            }
            ("GET", Some(bytes)) => answer("200 OK", bytes, bytes.len()),
            ("HEAD", Some(bytes)) => answer("200 OK", b"", bytes.len()),
            _ => answer("404 Not Found", b"", 0),
        }
    })
}

fn is_conditional(head: &str) -> bool {
    let head = head.to_ascii_lowercase();
    head.contains("\nif-none-match: *") || head.contains("\nx-goog-if-generation-match: 0")
}

fn shares(remote: &str, variables: impl Fn(&str) -> Vec<(&'static str, String)>, authorization: &str) {
    let server = service();
    let run = |project: &Project| {
        let mut command = project.command(&[&RUN[..], &["--remote", remote, "--remote-required"]].concat());
        command.envs(variables(&server.url("")));
        ended(command).expect(0)
    };
    let made = run(&Project::new());
    assert_eq!(made.results(), all("ran"));
    let requests = server.requests();
    assert!(requests.iter().all(|head| head.contains(&format!("\nauthorization: {authorization}"))), "{requests:?}");
    // Google's take a name's slashes for a part of it
    for put in requests.iter().map(|head| head.replace("%2f", "/")).filter(|head| head.starts_with("put ")) {
        assert_eq!(is_conditional(&put), put.contains("/v1/artifacts/"), "{put}");
        assert!(put.contains("/place/some/prefix/v1/"), "{put}");
    }
    let got = run(&Project::new());
    assert_eq!((got.results(), &got.json()["metrics"]), (all("pulled"), &made.json()["metrics"]));
}

#[test]
fn google_is_asked_in_its_own_way() {
    let variables = |url: &str| {
        let token = ("GOOGLE_BEARER_TOKEN", "a-token".to_owned());
        vec![token, ("GOOGLE_BASE_URL", url.to_owned()), ("GOOGLE_ALLOW_HTTP", "true".to_owned())]
    };
    shares("gs://place/some/prefix", variables, "bearer a-token\n");
}

#[test]
fn azure_is_asked_in_its_own_way() {
    let variables = |url: &str| {
        vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", "account".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0".to_owned()),
            ("AZURE_STORAGE_ENDPOINT", url.to_owned()),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ]
    };
    shares("az://place/some/prefix", variables, "sharedkey account:");
}
