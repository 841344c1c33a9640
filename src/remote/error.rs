//! Why a remote could not be used, in words that hold no secret.

use crate::store::{Digest, StoreError};

/// Why a remote did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Its address cannot be used.
    #[error("the remote's address {0}")]
    Address(String),
    /// It could not be asked, or refused. From then on this process asks it nothing more.
    #[error("{failure}")]
    Failed {
        /// What went wrong.
        failure: Failure,
        /// Whether it went wrong just now; otherwise it did before, and was not tried again.
        first: bool,
    },
    /// What it has under a key is not what was put there.
    #[error("the remote's artifact {} is damaged: {what}", key.short())]
    Damaged {
        /// The key.
        key: Digest,
        /// Which object, and how it differs.
        what: String,
    },
    /// The user stopped it; what has come is kept.
    #[error("interrupted")]
    Interrupted,
    /// The store on this side failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What went wrong with a remote.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} `{object}` of the remote {remote}: {what}")]
pub struct Failure {
    /// `get`, `put`, `list`, `remove`.
    pub(super) action: &'static str,
    /// The object's name, without the remote's prefix.
    pub(super) object: String,
    /// The remote's address.
    pub(super) remote: String,
    /// What was said.
    pub(super) what: String,
    /// What to do about it.
    pub(super) hint: Option<&'static str>,
}

impl RemoteError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Address(_) => Some(
                "`s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `file:///FOLDER`; credentials \
                 come from the environment",
            ),
            Self::Failed { failure, .. } => failure.hint,
            Self::Damaged { .. } | Self::Interrupted | Self::Store(_) => None,
        }
    }
}

/// Whether an error is one of credentials: they were refused, or the place that would lend them was.
pub(super) fn is_about_credentials(error: &object_store::Error) -> bool {
    use object_store::Error;
    let lent = || {
        let text = error.to_string();
        ["169.254.", "metadata.google", "/oauth2/", "redential"].iter().any(|mark| text.contains(mark))
    };
    matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) || lent()
}

/// What the library's error says, in one line: of a service's answer its code and message, of addresses no query, which
/// may be signed.
pub(super) fn plain(error: &object_store::Error) -> String {
    let text = error.to_string();
    // before that: what was asked where, how often and for how long
    let text = text
        .split_once("Error performing ")
        .and_then(|(_, rest)| rest.split_once(" - "))
        .map_or(text.as_str(), |(_, what)| what);
    let text = text.trim_start_matches("HTTP error: ").trim_start_matches("Server returned non-2xx status code: ");
    let within = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.trim().to_owned())
    };
    if let Some(code) = within("Code") {
        return match within("Message") {
            Some(message) if !message.is_empty() => line(&format!("{code}: {message}")),
            _ => line(&code),
        };
    }
    line(text)
}

fn line(text: &str) -> String {
    const LONGEST: usize = 300;
    let words = text.split_whitespace().map(|word| match word.split_once('?') {
        Some((address, _)) if address.contains("://") => address,
        _ => word,
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn a_services_answer_is_told_in_a_line_and_signatures_are_not() {
        let refused = "Error performing GET http://h/b/o in 2 ms - Server returned non-2xx status code: 403 Forbidden: \
                       <?xml version=\"1.0\"?>\n<Error><Code>InvalidAccessKeyId</Code>\n<Message>unknown key</Message>\
                       <AWSAccessKeyId>ABC</AWSAccessKeyId></Error>";
        assert_eq!(plain(&generic(refused)), "InvalidAccessKeyId: unknown key");
        let signed = "Error performing GET https://h/c/o?sv=1&sig=SECRET in 2 ms\n - connection refused";
        assert_eq!(plain(&generic(signed)), "connection refused");
        let unsigned = "cannot reach https://h/c/o?sv=1&sig=SECRET just now";
        assert_eq!(plain(&generic(unsigned)), "Generic S3 error: cannot reach https://h/c/o just now");
        assert_eq!(plain(&generic(&"é".repeat(400))).chars().count(), 301);
    }
}
