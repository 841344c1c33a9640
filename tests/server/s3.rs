//! A server that speaks S3, in this process, over a folder: an object is the file `BUCKET/NAME` in it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

pub const BUCKET: &str = "bucket";
pub const KEY: &str = "a-key";
pub const SECRET: &str = "a-secret-that-nobody-may-see";

/// The server; it ends with the process.
pub struct S3 {
    folder: tempfile::TempDir,
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl S3 {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a new folder");
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).expect("a folder"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&requests);
        thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let Ok((connection, _)) = listener.accept().await else { continue };
                    let (service, heard) = (service.clone(), Arc::clone(&heard));
                    let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        let asked = format!("{} {}", request.method(), request.uri().path());
                        heard.lock().expect("no thread panicked").push(asked);
                        Service::call(&service, request)
                    });
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), answer));
                }
            });
        });
        Self { folder, port, requests }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where an object lies.
    pub fn object(&self, name: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(name)
    }

    /// `METHOD /BUCKET/NAME` of all requests so far below a prefix.
    pub fn requests(&self, prefix: &str) -> Vec<String> {
        let all = self.requests.lock().expect("no thread panicked");
        all.iter().filter(|asked| asked.contains(&format!("/{BUCKET}/{prefix}/"))).cloned().collect()
    }
}
