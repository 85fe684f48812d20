//! Chooses the proxy for a server, by the setting or by the usual environment variables.
//!
//! Must not read the process's environment itself, nor show a proxy's user or password.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::config::{AbsoluteUri, ProxyChoice, Secret, SettingError};

use super::connect::authority;

/// The proxy variables of the environment.
#[derive(Clone, Debug, Default)]
pub struct ProxyEnvironment {
    http: Option<Variable>,
    https: Option<Variable>,
    all: Option<Variable>,
    no_proxy: String,
}

#[derive(Clone)]
struct Variable {
    name: String,
    value: String,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=****", self.name)
    }
}

impl ProxyEnvironment {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` from an environment. A name in lower case takes
    /// precedence; blank values count as not set.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let all: Vec<(String, String)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let find = |name: &str| {
            [name.to_ascii_lowercase(), name.to_ascii_uppercase()].into_iter().find_map(|spelling| {
                let (name, value) = all.iter().find(|(name, _)| *name == spelling)?;
                let value = value.trim();
                (!value.is_empty()).then(|| Variable { name: name.clone(), value: value.into() })
            })
        };
        Self {
            http: find("http_proxy"),
            https: find("https_proxy"),
            all: find("all_proxy"),
            no_proxy: find("no_proxy").map(|variable| variable.value).unwrap_or_default(),
        }
    }
}

/// An HTTP proxy that opens tunnels by the method CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its host, an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<Secret>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proxy {
    /// Only the host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

impl Proxy {
    fn of(uri: &AbsoluteUri) -> Result<Self, String> {
        let authorization = match uri.user_info() {
            Some(user_info) => Some(basic(user_info)?),
            None => None,
        };
        Ok(Self { host: uri.host().into(), port: uri.port().unwrap_or(80), authorization })
    }
}

/// The value of the Basic scheme for a percent-encoded `user:password`.
fn basic(user_info: &str) -> Result<Secret, String> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decoded = |text: &str| -> Vec<u8> { percent_encoding::percent_decode_str(text).collect() };
    let user = decoded(user);
    if user.contains(&b':') {
        return Err("has a user with a colon, which HTTP cannot send".into());
    }
    let pair = [&user[..], b":", &decoded(password)].concat();
    Ok(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair))))
}

/// The proxies in use, and the servers that are reached without one.
#[derive(Clone, Debug)]
pub struct Proxies {
    plain: Option<Proxy>,
    encrypted: Option<Proxy>,
    exceptions: Vec<Exception>,
}

impl Proxies {
    /// The proxies of the setting, or of the environment if the setting says so.
    ///
    /// # Errors
    /// All errors in the configured proxies.
    pub fn new(choice: &ProxyChoice, environment: &ProxyEnvironment) -> Result<Self, Vec<SettingError>> {
        match choice {
            ProxyChoice::Never => Ok(Self { plain: None, encrypted: None, exceptions: Vec::new() }),
            ProxyChoice::Always(uri) => match Proxy::of(uri) {
                Ok(proxy) => {
                    Ok(Self { plain: Some(proxy.clone()), encrypted: Some(proxy), exceptions: Vec::new() })
                }
                Err(problem) => Err(vec![SettingError::missing(
                    crate::config::Key::UpstreamProxy.definition().name,
                    problem,
                    "Write it without",
                )]),
            },
            ProxyChoice::Environment => {
                let of = |own: &Option<Variable>| {
                    own.as_ref().or(environment.all.as_ref()).map(of_variable).transpose()
                };
                match (of(&environment.http), of(&environment.https)) {
                    (Ok(plain), Ok(encrypted)) => {
                        let exceptions = exceptions(&environment.no_proxy);
                        Ok(Self { plain, encrypted, exceptions })
                    }
                    (plain, encrypted) => {
                        let mut errors: Vec<SettingError> =
                            [plain.err(), encrypted.err()].into_iter().flatten().collect();
                        errors.dedup();
                        Err(errors)
                    }
                }
            }
        }
    }

    /// The proxy for a connection to a server, encrypted or not; `None` for a direct connection.
    pub fn choose(&self, encrypted: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if encrypted { &self.encrypted } else { &self.plain };
        let excepted = || self.exceptions.iter().any(|exception| exception.covers(host, port));
        proxy.as_ref().filter(|_| !excepted())
    }
}

fn of_variable(variable: &Variable) -> Result<Proxy, SettingError> {
    let error = |problem: String| {
        SettingError::missing(
            &variable.name,
            problem,
            "Write the URL of an HTTP proxy, such as http://proxy.example:3128, or set Upstream__Proxy=none",
        )
    };
    let text = &variable.value;
    let with_scheme = if text.contains("://") { text.clone() } else { format!("http://{text}") };
    let uri = AbsoluteUri::parse(&with_scheme, &["http"]).map_err(|invalid| error(invalid.problem))?;
    Proxy::of(&uri).map_err(error)
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// A name in lower case, and all its subdomains.
    Name(String, Option<u16>),
    Address(IpAddr, Option<u16>),
    /// A network and the length of its prefix.
    Network(IpAddr, u8),
}

/// Parses `NO_PROXY`. Malformed entries are ignored, as other tools do, since all programs share the variable.
fn exceptions(no_proxy: &str) -> Vec<Exception> {
    no_proxy.split([',', ' ', '\t']).filter_map(|entry| exception(entry.trim())).collect()
}

fn exception(entry: &str) -> Option<Exception> {
    if entry == "*" {
        return Some(Exception::All);
    }
    if let Some((address, bits)) = entry.split_once('/') {
        let address = without_brackets(address).parse::<IpAddr>().ok()?;
        let bits = bits.parse::<u8>().ok().filter(|bits| *bits <= width(address))?;
        return Some(Exception::Network(address, bits));
    }
    if let Ok(address) = without_brackets(entry).parse::<IpAddr>() {
        return Some(Exception::Address(address, None));
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (entry, None),
    };
    if let Ok(address) = without_brackets(host).parse::<IpAddr>() {
        return Some(Exception::Address(address, port));
    }
    let name = host.strip_prefix('*').unwrap_or(host).trim_matches('.').to_ascii_lowercase();
    (!name.is_empty()).then_some(Exception::Name(name, port))
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Exception {
    fn covers(&self, host: &str, port: u16) -> bool {
        let is_for = |own: &Option<u16>| own.is_none_or(|own| own == port);
        match self {
            Exception::All => true,
            Exception::Name(name, own_port) => is_for(own_port) && ends_in(host, name),
            Exception::Address(address, own_port) => is_for(own_port) && host.parse() == Ok(*address),
            Exception::Network(network, bits) => {
                host.parse().is_ok_and(|address| is_within(address, *network, *bits))
            }
        }
    }
}

/// Whether `host` is `name` or a subdomain of it.
fn ends_in(host: &str, name: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    address.is_ipv4() == network.is_ipv4() && number(address) & mask == number(network) & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment(variables: &[(&str, &str)]) -> ProxyEnvironment {
        ProxyEnvironment::from_variables(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// The proxy that is chosen for a URL, as `host:port`.
    fn chosen(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = Proxies::new(&ProxyChoice::Environment, &environment(variables)).unwrap();
        let uri = AbsoluteUri::parse(url, &["http", "https", "ws", "wss"]).unwrap();
        let (encrypted, port) = crate::client::connect::scheme_and_port(&uri);
        proxies.choose(encrypted, uri.host(), port).map(ToString::to_string)
    }

    #[test]
    fn the_variables_say_which_proxy() {
        const BOTH: &[(&str, &str)] = &[("HTTP_PROXY", "http://plain:1"), ("HTTPS_PROXY", "http://crypt:2")];
        for (variables, url, expected) in [
            (BOTH, "ws://els", Some("plain:1")),
            (BOTH, "http://els", Some("plain:1")),
            (BOTH, "wss://els", Some("crypt:2")),
            (BOTH, "https://els:444", Some("crypt:2")),
            (&[], "wss://els", None),
            (&[("HTTPS_PROXY", "")], "wss://els", None),
            (&[("HTTP_PROXY", "plain:1")], "wss://els", None),
            (&[("https_proxy", "lower:1"), ("HTTPS_PROXY", "upper:1")], "wss://els", Some("lower:1")),
            (&[("https_proxy", " "), ("HTTPS_PROXY", "upper:1")], "wss://els", Some("upper:1")),
            (&[("all_proxy", "all:1")], "wss://els", Some("all:1")),
            (&[("ALL_PROXY", "all:1"), ("http_proxy", "plain:1")], "ws://els", Some("plain:1")),
            (&[("Https_Proxy", "odd:1")], "wss://els", None),
            (&[("https_proxy", "proxy")], "wss://els", Some("proxy:80")),
            (&[("https_proxy", "http://me:secret@proxy:3128/")], "wss://els", Some("proxy:3128")),
            (&[("https_proxy", "http://[::1]:3128")], "wss://els", Some("[::1]:3128")),
        ] {
            assert_eq!(chosen(variables, url).as_deref(), expected, "{variables:?} {url}");
        }
    }

    #[test]
    fn no_proxy_lists_exceptions() {
        for (no_proxy, url, goes_direct) in [
            ("*", "wss://els", true),
            ("els.example", "wss://els.example", true),
            ("els.example", "wss://ELS.Example.", true),
            ("example", "wss://els.example", true),
            (".example", "wss://els.example", true),
            (".example", "wss://example", true),
            ("*.example", "wss://els.example", true),
            ("example", "wss://notexample", false),
            ("els.example", "wss://example", false),
            ("other, example", "wss://els.example", true),
            ("other example", "wss://els.example", true),
            ("els:443", "wss://els", true),
            ("els:444", "wss://els", false),
            ("els:5100", "ws://els:5100", true),
            ("els:x", "wss://els", false),
            ("10.1.2.3", "wss://10.1.2.3", true),
            ("10.1.2.3", "wss://10.1.2.30", false),
            ("10.1.2.3:443", "wss://10.1.2.3", true),
            ("10.1.2.3:80", "wss://10.1.2.3", false),
            ("10.0.0.0/8", "wss://10.1.2.3", true),
            ("10.0.0.0/8", "wss://11.1.2.3", false),
            ("10.1.2.3/32", "wss://10.1.2.3", true),
            ("0.0.0.0/0", "wss://11.1.2.3", true),
            ("0.0.0.0/0", "wss://[::1]", false),
            ("10.0.0.0/33", "wss://10.1.2.3", false),
            ("10.0.0.0/8", "wss://els.example", false),
            ("fd00::/8", "wss://[fd12::1]", true),
            ("fd00::/8", "wss://[fe80::1]", false),
            ("::1", "wss://[::1]", true),
            ("[::1]", "wss://[::1]", true),
            ("[::1]:443", "wss://[::1]", true),
            ("[::1]:444", "wss://[::1]", false),
            ("2.3", "wss://10.1.2.3", true),
            ("", "wss://els", false),
            (",,.,*x,", "wss://els", false),
            // As with curl and .NET, loopbacks are no exception by themselves.
            ("", "wss://localhost", false),
            ("localhost,127.0.0.0/8", "ws://127.0.0.2:5100", true),
        ] {
            let variables = [("ALL_PROXY", "proxy:1"), ("NO_PROXY", no_proxy)];
            assert_eq!(chosen(&variables, url).is_none(), goes_direct, "{no_proxy} {url}");
            let mixed = [("ALL_PROXY", "proxy:1"), ("no_proxy", no_proxy), ("NO_PROXY", "")];
            assert_eq!(chosen(&mixed, url).is_none(), goes_direct, "{no_proxy} {url}");
        }
    }

    #[test]
    fn the_setting_takes_precedence_over_the_environment() {
        let environment = environment(&[("HTTPS_PROXY", "env:1"), ("NO_PROXY", "*")]);
        let uri = AbsoluteUri::parse("http://set:2", &["http"]).unwrap();
        let always = Proxies::new(&ProxyChoice::Always(uri), &environment).unwrap();
        for encrypted in [true, false] {
            assert_eq!(always.choose(encrypted, "els", 443).unwrap().to_string(), "set:2");
        }
        let never = Proxies::new(&ProxyChoice::Never, &environment).unwrap();
        assert_eq!(never.choose(true, "els", 443), None);
    }

    #[test]
    fn users_and_passwords_are_decoded_and_never_shown() {
        for (user_info, expected) in [
            ("me:pw", "Basic bWU6cHc="),
            ("me", "Basic bWU6"),
            ("m%40e:p%3Aw%2F:", "Basic bUBlOnA6dy86"),
            ("%C3%A4:x", "Basic w6Q6eA=="),
        ] {
            let text = format!("http://{user_info}@proxy:1");
            let proxies =
                Proxies::new(&ProxyChoice::Environment, &environment(&[("https_proxy", &text)])).unwrap();
            let proxy = proxies.choose(true, "els", 443).unwrap();
            assert_eq!(proxy.authorization.as_ref().unwrap().expose(), expected);
            assert_eq!(format!("{proxies:?}").matches(expected).count(), 0);
            assert_eq!(format!("{proxy} {proxy:?}"), "proxy:1 proxy:1");
        }
        let shown = format!("{:?}", environment(&[("https_proxy", "http://me:secret@proxy")]));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_error_for_an_unusable_proxy_names_the_variable() {
        for (value, part) in [
            ("socks5://proxy:1080", "scheme"),
            ("https://proxy", "scheme"),
            ("http://me:secret@", "host"),
            ("http://a%3Asecret@proxy", "colon"),
        ] {
            let errors =
                Proxies::new(&ProxyChoice::Environment, &environment(&[("ALL_PROXY", value)])).unwrap_err();
            assert_eq!(errors.len(), 1);
            let text = errors[0].to_string();
            assert!(text.starts_with("ALL_PROXY: ") && text.contains(part), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(no_proxy in "[\\PC*.,:/\\[\\]0-9]{0,40}", host in "[a-z0-9.:]{0,20}", port: u16) {
            for exception in exceptions(&no_proxy) {
                let _ = exception.covers(&host, port);
            }
        }

        #[test]
        fn a_network_covers_what_shares_its_prefix(a: u32, b: u32, bits in 0u8..=32) {
            let same = bits == 0 || a >> (32 - bits) == b >> (32 - bits);
            let address = |bits: u32| IpAddr::from(bits.to_be_bytes());
            prop_assert_eq!(is_within(address(a), address(b), bits), same);
        }
    }
}
