//! What both forms of a connection string have in common: addresses and options.
//!
//! Must not quote any part of the text in an error, but for the names of options: a password with a comma in it looks like
//! several parts.

use std::time::Duration;

use super::Host;
use super::hosts::{self, Address};
use crate::config::secret::Secret;
use crate::config::suggest::nearest_of;
use crate::config::value::{InvalidValue, invalid};

/// The port of Redis.
pub(super) const PORT: u16 = 6379;
/// The port that StackExchange.Redis takes for `ssl=true`.
pub(super) const TLS_PORT: u16 = 6380;
/// The port of Sentinels.
const SENTINEL_PORT: u16 = 26_379;

/// What a connection string says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionString {
    /// The servers or Sentinels; never empty.
    pub hosts: Vec<Host>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u32,
    /// Whether to use TLS.
    pub tls: bool,
    /// The name that certificates must be for.
    pub tls_name: Option<String>,
    /// The name under which Sentinels know the master.
    pub service: Option<String>,
    /// How long opening a connection may take.
    pub connect_timeout: Option<Duration>,
    /// What has no effect, each with the reason and what to do.
    pub warnings: Vec<InvalidValue>,
}

/// Options of StackExchange.Redis that have no effect here, in lower case.
const IGNORED: &[&str] = &[
    "allowadmin",
    "asynctimeout",
    "channelprefix",
    "checkcertificaterevocation",
    "clientname",
    "configchannel",
    "configcheckseconds",
    "connectretry",
    "heartbeatconsistencychecks",
    "heartbeatinterval",
    "highintegrity",
    "highprioritysocketthreads",
    "includedetailinexceptions",
    "includeperformancecountersinexceptions",
    "keepalive",
    "libraryname",
    "name",
    "preserveasyncorder",
    "protocol",
    "proxy",
    "resolvedns",
    "responsetimeout",
    "setclientlibrary",
    "sslprotocols",
    "synctimeout",
    "tiebreaker",
    "version",
    "writebuffer",
];

/// Options that have an effect, as they are written in errors.
const KNOWN: &[&str] = &[
    "password",
    "user",
    "ssl",
    "sslHost",
    "defaultDatabase",
    "serviceName",
    "connectTimeout",
    "abortConnect",
];

/// What to do if a password may contain a comma.
pub(super) const COMMA: &str = "A password here must not contain a comma: give one that does by Redis__Password. Otherwise write the \
                     password last";

/// What has been found so far.
#[derive(Default)]
pub(super) struct Found {
    addresses: Vec<Address>,
    /// How many addresses there were, wrong ones too.
    places: usize,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) tls: Option<bool>,
    tls_name: Option<String>,
    service: Option<String>,
    pub(super) database: Option<u32>,
    connect_timeout: Option<Duration>,
    /// Whether the part before this one was the password: this one may be the rest of it.
    pub(super) is_after_password: bool,
    ignored: Vec<&'static str>,
    warnings: Vec<InvalidValue>,
    pub(super) errors: Vec<InvalidValue>,
}

impl Found {
    pub(super) fn host(&mut self, text: &str) {
        self.places += 1;
        match hosts::parse(text, self.places) {
            Ok(address) => self.addresses.push(address),
            Err(error) => self.errors.push(error),
        }
    }

    /// Takes an option. Names are compared without case, and the last value counts, both as in StackExchange.Redis. An
    /// empty value means the default.
    pub(super) fn option(&mut self, name: &str, value: &str) {
        let text = (!value.is_empty()).then(|| value.to_owned());
        match name.to_ascii_lowercase().as_str() {
            "password" => self.password = text,
            "user" => self.user = text,
            "ssl" => self.tls = text.and_then(|text| self.flag("ssl", &text)),
            "sslhost" => self.tls_name = text.and_then(|text| self.name("sslHost", text)),
            "servicename" => self.service = text.and_then(|text| self.name("serviceName", text)),
            "defaultdatabase" => self.database = text.and_then(|text| self.database(&text)),
            "connecttimeout" => self.connect_timeout = text.and_then(|text| self.milliseconds(&text)),
            "abortconnect" => {
                if text.and_then(|text| self.flag("abortConnect", &text)) == Some(true) {
                    self.warnings.push(invalid(
                        "contains abortConnect=true, which has no effect: the agent starts without Redis, and tries \
                         again and again",
                        "Write abortConnect=false, or remove it",
                    ));
                }
            }
            lower => match IGNORED.iter().find(|ignored| **ignored == lower) {
                Some(ignored) => self.ignored.push(ignored),
                None => self.unknown(name),
            },
        }
    }

    /// Warns of an unknown option, by its name unless that may be a part of the password.
    fn unknown(&mut self, name: &str) {
        let known = nearest_of(name, KNOWN.iter().copied());
        let hint = known.map_or(String::new(), |known| format!(". Did you mean {known}?"));
        // What is no name at all may be a part of a password as well.
        let is_name = name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        let (named, remedy) = match (self.is_after_password, is_name) {
            (true, _) => {
                ("contains an unknown option right after the password, which is ignored".into(), COMMA.into())
            }
            (false, true) => (
                format!("contains the unknown option {name}, which is ignored"),
                format!("The options are {}{hint}", KNOWN.join(", ")),
            ),
            (false, false) => (
                "contains something with a `=` that is no option, and is ignored".into(),
                format!("The options are {}", KNOWN.join(", ")),
            ),
        };
        self.warnings.push(invalid(named, remedy));
    }

    /// A name, which is shown as it is: what has a comma or a `=` in it, as in a URL that goes on like a connection string,
    /// may hold a password.
    fn name(&mut self, option: &str, text: String) -> Option<String> {
        if !text.contains([',', '=']) {
            return Some(text);
        }
        let problem = format!("contains {option} with a `,` or a `=` in its value");
        self.errors.push(invalid(
            problem,
            "In a URL, separate options by `&`, and write the password before the `@`",
        ));
        None
    }

    fn flag(&mut self, name: &str, text: &str) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => {
                let problem = format!("contains {name} with a value that is neither true nor false");
                self.errors.push(invalid(problem, format!("Write {name}=true or {name}=false")));
                None
            }
        }
    }

    pub(super) fn database(&mut self, text: &str) -> Option<u32> {
        // The server knows how many it has; no server has more than an i32 counts.
        let number = text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok());
        if number.is_none() {
            self.errors.push(invalid(
                "contains a database that is not a number",
                "Write a number from 0, such as defaultDatabase=0 or, in a URL, /0",
            ));
        }
        number
    }

    fn milliseconds(&mut self, text: &str) -> Option<Duration> {
        let number = text.parse::<u32>().ok().filter(|ms| (10..=3_600_000).contains(ms));
        if number.is_none() {
            self.errors.push(invalid(
                "contains connectTimeout with a value that is not a number of milliseconds from 10 to 3600000",
                "Write one such as connectTimeout=5000, or set Redis__TimeoutSeconds instead",
            ));
        }
        number.map(|ms| Duration::from_millis(ms.into()))
    }

    /// The result, or the errors. `port` gives the port of addresses that have none, but for Sentinels.
    pub(super) fn finish(
        mut self,
        port: impl Fn(&Self) -> u16,
    ) -> Result<ConnectionString, Vec<InvalidValue>> {
        if self.places == 0 {
            self.errors.push(invalid(
                "contains no address",
                "Write one such as redis.example:6379 or redis://redis.example:6379",
            ));
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        self.warn_of_ignored();
        let port = if self.service.is_some() { SENTINEL_PORT } else { port(&self) };
        Ok(ConnectionString {
            hosts: self.addresses.into_iter().map(|address| address.with_default_port(port)).collect(),
            user: self.user,
            password: self.password.map(Secret::new),
            database: self.database.unwrap_or(0),
            tls: self.tls.unwrap_or(false),
            tls_name: self.tls_name,
            service: self.service,
            connect_timeout: self.connect_timeout,
            warnings: self.warnings,
        })
    }

    fn warn_of_ignored(&mut self) {
        self.ignored.sort_unstable();
        self.ignored.dedup();
        if !self.ignored.is_empty() {
            let names = self.ignored.join(", ");
            self.warnings.push(invalid(
                format!("contains options that have no effect in the agent: {names}"),
                "Remove them, if only the agent uses this text. Instead of channelprefix there is Redis__KeyPrefix, instead \
                 of timeouts Redis__TimeoutSeconds",
            ));
        }
    }
}
