//! A service in memory that is watched and disturbed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::remote::{Object, lock};

/// A service in memory that notes what it is asked.
#[derive(Debug, Default)]
pub(super) struct Spy {
    pub(super) inner: InMemory,
    pub(super) asked: Mutex<Vec<String>>,
    /// Whether it fails at everything.
    pub(super) down: AtomicBool,
    /// Whether it knows no conditions, as some services do not.
    pub(super) plain: bool,
}

impl std::fmt::Display for Spy {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a spy")
    }
}

impl Spy {
    fn heard(&self, what: &str, at: &Path) -> Result<()> {
        lock(&self.asked).push(format!("{what} {}", at.parts().nth(3).unwrap().as_ref()));
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::Generic { store: "spy", source: "out of order".into() });
        }
        Ok(())
    }

    /// What it was asked since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.asked))
    }
}

#[async_trait]
impl ObjectStore for Spy {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = matches!(options.mode, PutMode::Create);
        self.heard(if create { "create" } else { "put" }, at)?;
        if create && self.plain {
            return Err(Error::NotImplemented { operation: "create".into(), implementer: "spy".into() });
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.heard("put in parts", at)?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let what = match (&options.range, options.head) {
            (_, true) => "head".to_owned(),
            (Some(GetRange::Offset(from)), _) => format!("get from {from}"),
            _ => "get".to_owned(),
        };
        self.heard(&what, at)?;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl Spy {
    pub(super) fn bytes(&self, object: &Object) -> Vec<u8> {
        let get = async { self.inner.get(&path(object)).await.unwrap().bytes().await.unwrap() };
        get.now_or_never().expect("memory is there at once").to_vec()
    }

    pub(super) fn set(&self, object: &Object, bytes: &[u8]) {
        let path = path(object);
        let put = self.inner.put_opts(&path, PutPayload::from(bytes.to_vec()), PutOptions::default());
        put.now_or_never().expect("memory is there at once").unwrap();
    }

    pub(super) fn remove(&self, object: &Object) {
        let path = path(object);
        self.inner.delete(&path).now_or_never().expect("memory is there at once").unwrap();
    }
}

fn path(object: &Object) -> Path {
    object.path(&Path::from("some/where"))
}
