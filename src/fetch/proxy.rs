//! Proxies, by the usual variables.

use std::env;

use ureq::Proxy;

use super::{Address, FetchError};

/// How the proxy for an address is found, if there is one.
pub(super) type ProxyFor = fn(&Address) -> Result<Option<Proxy>, FetchError>;

/// The proxy for an address: `http_proxy` or `https_proxy` by its scheme, or else `all_proxy`, unless `no_proxy` names its
/// host. The names count in capitals too, but for `HTTP_PROXY`, which a web server's scripts get from whoever asks.
///
/// # Errors
/// When the variable names none that can be used.
pub(crate) fn proxy_for(address: &Address) -> Result<Option<Proxy>, FetchError> {
    choose(address, |name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
}

fn choose(address: &Address, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, FetchError> {
    if ["no_proxy", "NO_PROXY"].into_iter().find_map(&variable).is_some_and(|list| is_listed(address, &list)) {
        return Ok(None);
    }
    let names: &[&'static str] = if address.is_secure() {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "all_proxy", "ALL_PROXY"]
    };
    let Some((name, value)) = names.iter().find_map(|&name| Some((name, variable(name)?))) else { return Ok(None) };
    Proxy::new(value.trim()).map(Some).map_err(|_| FetchError::Proxy { variable: name })
}

/// Whether a list like `localhost, .example.org, 10.0.0.1:8080, *` names the address's host, or a domain above it.
fn is_listed(address: &Address, list: &str) -> bool {
    let host = address.host().to_ascii_lowercase();
    let names = |entry: &str| {
        let entry = entry.trim().to_ascii_lowercase();
        let (entry, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => match port.parse::<u16>() {
                Ok(port) => (name.to_owned(), Some(port)),
                Err(_) => return false,
            },
            _ => (entry, None),
        };
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*"
            || (!domain.is_empty()
                && port.is_none_or(|port| port == address.port())
                && (host == domain || host.ends_with(&format!(".{domain}"))))
    };
    list.split(',').any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_variables_choose() {
        let proxy = |address: &str, variables: &[(&str, &str)]| {
            let value =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            let proxy = choose(&address.parse().unwrap(), value).unwrap();
            proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
        };
        let both = [("http_proxy", "http://plain:3128"), ("HTTPS_PROXY", "secure:3129"), ("ALL_PROXY", "http://all")];
        assert_eq!(proxy("http://a/x", &both).as_deref(), Some("plain:3128"));
        assert_eq!(proxy("https://a/x", &both).as_deref(), Some("secure:3129"));
        assert_eq!(proxy("https://a/x", &both[..1]), None);
        assert_eq!(proxy("http://a/x", &[("HTTP_PROXY", "http://from-a-request")]), None);
        assert_eq!(proxy("http://a/x", &both[2..]).as_deref(), Some("all:80"));
        let except = |list| proxy("http://data.example.org:8080/x", &[both[0], ("no_proxy", list)]).is_none();
        for list in ["data.example.org", "a, .example.org", "*.example.org", "EXAMPLE.org", "*", "example.org:8080"] {
            assert!(except(list), "{list}");
        }
        for list in ["ample.org", "a.example.org", "example.org:80", "", "org.", "example.com"] {
            assert!(!except(list), "{list}");
        }
        let wrong = choose(&"http://a/".parse().unwrap(), |name| (name == "http_proxy").then(|| "no proxy".into()));
        assert!(matches!(wrong, Err(FetchError::Proxy { variable: "http_proxy" })));
    }
}
