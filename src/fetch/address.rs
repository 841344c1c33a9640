//! Addresses of files: `http` and `https` only.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ureq::http::Uri;

/// The address of a file on the web. Clones share one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Arc<Parsed>);

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    text: String,
    uri: Uri,
}

/// Why a text is no address of a file on the web.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("only `http://` and `https://` addresses are fetched")]
    Scheme,
    /// A name or password before the host.
    #[error("an address with a user name or a password in it is not fetched")]
    Secret,
    /// No address at all.
    #[error("not an address: {0}")]
    Malformed(String),
}

impl Address {
    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.uri.scheme_str() == Some("https")
    }

    /// The host's name or number.
    pub fn host(&self) -> &str {
        self.0.uri.host().unwrap_or_default()
    }

    /// The port, by default that of the scheme.
    pub fn port(&self) -> u16 {
        self.0.uri.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// The last part of the path, if there is one.
    pub fn file_name(&self) -> Option<&str> {
        self.0.uri.path().rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The address that a redirect from this one leads to.
    ///
    /// # Errors
    /// When it leads to something that is not fetched.
    pub fn join(&self, location: &str) -> Result<Self, AddressError> {
        let scheme = self.0.uri.scheme_str().unwrap_or("http");
        let authority = self.0.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.0.uri.path();
        let whole = match location.as_bytes() {
            [b'/', b'/', ..] => format!("{scheme}:{location}"),
            [b'/', ..] => format!("{scheme}://{authority}{location}"),
            [b'?', ..] => format!("{scheme}://{authority}{path}{location}"),
            _ if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => location.to_owned(),
            _ => format!("{scheme}://{authority}{}{location}", &path[..path.rfind('/').map_or(0, |at| at + 1)]),
        };
        whole.parse()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let lower = text.to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Err(AddressError::Scheme);
        }
        let uri: Uri = text.parse().map_err(|error| AddressError::Malformed(format!("{error}")))?;
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => Err(AddressError::Secret),
            Some(authority) if !authority.host().is_empty() => {
                Ok(Self(Arc::new(Parsed { text: text.to_owned(), uri })))
            }
            _ => Err(AddressError::Malformed("it names no host".to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_fetched() {
        let refused = |text: &str| text.parse::<Address>().unwrap_err();
        for text in ["file:///etc/passwd", "/etc/passwd", "ftp://host/x", "data.csv", "", "httpx://host/x"] {
            assert_eq!(refused(text), AddressError::Scheme, "{text}");
        }
        assert_eq!(refused("https://me:secret@host/x"), AddressError::Secret);
        for text in ["http://", "http:///x", "https://host/a b", "https://host/\n"] {
            assert!(matches!(refused(text), AddressError::Malformed(_)), "{text}");
        }
        let address: Address = "HTTPS://host:8443/a/b.csv?x=/y".parse().unwrap();
        assert_eq!((address.host(), address.port(), address.file_name()), ("host", 8443, Some("b.csv")));
        assert!(address.is_secure());
        assert_eq!("http://host".parse::<Address>().unwrap().file_name(), None);
    }

    /// RFC 3986, section 5.4, of its examples those without dot segments.
    #[test]
    fn redirects_lead_where_the_standard_says() {
        let base: Address = "http://a/b/c/d;p?q".parse().unwrap();
        for (location, expected) in [
            ("g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("https://h/i", "https://h/i"),
        ] {
            assert_eq!(base.join(location).unwrap().as_str(), expected, "{location}");
        }
        assert_eq!(base.join("file:///etc/passwd"), Err(AddressError::Scheme));
    }
}
