//! From a remote's address to the service behind it, with the credentials of the environment.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::http::Connector;
use super::{Bounds, RemoteError};

/// A service, and where in it the remote lies.
pub(super) struct Opened {
    pub(super) service: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    /// The address as people may read it.
    pub(super) name: String,
    /// The folder that it is, if it is one.
    pub(super) folder: Option<PathBuf>,
    /// What its credentials are called.
    pub(super) credentials: &'static str,
    /// Why it cannot be asked anything, if so.
    pub(super) unusable: Option<String>,
}

/// Whether an address leads to a folder: nothing of the network is then asked.
pub fn is_folder(address: &str) -> bool {
    address.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
}

/// Opens what an address names. Nothing is asked of it yet.
pub(super) fn open(address: &str, bounds: Bounds) -> Result<Opened, RemoteError> {
    let wrong = |why: String| RemoteError::Address(why);
    // what does not parse is not printed: it may hold a secret
    let url = Url::parse(address).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            wrong("has no `s3://`, `gs://`, `az://` or `file://` before it; a folder's is `file:///FOLDER`".to_owned())
        }
        error => wrong(format!("cannot be understood: {error}")),
    })?;
    // in Azure's long form the container stands where others have a user
    let user = !url.username().is_empty() && !["az", "adl", "azure", "abfs", "abfss"].contains(&url.scheme());
    if user || url.password().is_some() || url.query().is_some() {
        return Err(wrong("holds a user, a password or a query".to_owned()));
    }
    let unknown = || wrong(format!("begins with `{}:`, which is none that is known", url.scheme()));
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| match url.scheme() {
        "file" => wrong("names a host: a folder's has three slashes".to_owned()),
        "s3" | "s3a" | "gs" | "az" | "adl" | "azure" | "abfs" | "abfss" => wrong("names no bucket".to_owned()),
        _ => unknown(),
    })?;
    let mut unusable = None;
    let retry = RetryConfig {
        backoff: BackoffConfig { max_backoff: bounds.retries / 4, ..BackoffConfig::default() },
        max_retries: 3,
        retry_timeout: bounds.retries,
    };
    // each has its own builder, and no trait tells what they have in common
    macro_rules! service {
        ($builder:ty) => {{
            let builder = <$builder>::from_env().with_url(url.as_str());
            match builder.with_retry(retry).with_http_connector(Connector(bounds)).build() {
                Ok(service) => Arc::new(service),
                // credentials that are not there or make no sense are no worse than those that a service refuses; what
                // stands in for it is never asked
                Err(error) => {
                    unusable = Some(super::error::plain(&error));
                    Arc::new(InMemory::new())
                }
            }
        }};
    }
    let (service, credentials): (Arc<dyn ObjectStore>, _) = match scheme {
        ObjectStoreScheme::Local => (Arc::new(LocalFileSystem::new().with_fsync(true)), ""),
        ObjectStoreScheme::AmazonS3 => (
            service!(AmazonS3Builder),
            "credentials are `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), the place \
             `AWS_REGION` and, for services like S3, `AWS_ENDPOINT_URL`; without the right to list, S3 refuses what is \
             not there",
        ),
        ObjectStoreScheme::GoogleCloudStorage => (
            service!(GoogleCloudStorageBuilder),
            "credentials are a key file, `GOOGLE_SERVICE_ACCOUNT`, or `GOOGLE_APPLICATION_CREDENTIALS`",
        ),
        ObjectStoreScheme::MicrosoftAzure => (
            service!(MicrosoftAzureBuilder),
            "credentials are `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`, or \
             `AZURE_STORAGE_SAS_KEY`, or `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` and `AZURE_TENANT_ID`",
        ),
        _ => return Err(unknown()),
    };
    // of another scheme than `file:` this is none
    let folder = url.to_file_path().ok();
    Ok(Opened { service, prefix, name: shown(&url), folder, credentials, unusable })
}

/// The address as people know it; one with a secret in it is refused before.
fn shown(url: &Url) -> String {
    let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
    format!("{}://{user}{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_services_or_say_why_not() {
        let open = |address: &str| open(address, Bounds::default());
        for (address, name, prefix) in [
            ("s3://bucket/a/b/", "s3://bucket/a/b/", "a/b"),
            ("file:///srv/share", "file:///srv/share", "srv/share"),
            ("FILE:///srv", "file:///srv", "srv"),
        ] {
            let opened = open(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            assert_eq!((opened.name.as_str(), opened.prefix.as_ref()), (name, prefix), "{address}");
        }
        let refused = |address: &str| match open(address) {
            Err(error @ RemoteError::Address(_)) => error.to_string(),
            _ => panic!("{address} is none"),
        };
        for address in ["https://example.org/x", "memory:///x", "ftp://host/x"] {
            assert!(refused(address).contains("which is none that is known"), "{address}");
        }
        for address in ["s3://me:SECRET@bucket/x", "https://a.blob.core.windows.net/c?sig=SECRET", "/srv/SECRET"] {
            assert!(!refused(address).contains("SECRET"), "{address}");
        }
        assert!(refused("file://srv/share").contains("three slashes"));
        assert!(refused("s3:///x").contains("names no bucket"));
    }
}
