//! Settings of Redis.
//!
//! Must not show a password, nor read files of certificates: whoever connects does, and checks their content.

use std::path::PathBuf;

use super::check::Check;
use crate::config::definition::Key;
use crate::config::error::SettingError;
use crate::config::key_files;
use crate::config::redis::{ConnectionString, Login, Redis, connection_string, prefix};
use crate::config::secret::Secret;
use crate::config::value;

/// The settings that have no effect without `Redis__ConnectionString`.
const OTHERS: [Key; 12] = [
    Key::RedisPassword,
    Key::RedisPasswordFile,
    Key::RedisSentinelUser,
    Key::RedisSentinelPassword,
    Key::RedisSentinelPasswordFile,
    Key::RedisSentinelTls,
    Key::RedisCaFile,
    Key::RedisClientCertificateFile,
    Key::RedisClientKeyFile,
    Key::RedisKeyPrefix,
    Key::RedisTimeoutSeconds,
    Key::RedisPollSeconds,
];

impl Check<'_> {
    /// How Redis is used; `None` without it, or after an error was reported.
    pub(super) fn redis(&mut self, api_key: Option<&Secret>) -> Option<Redis> {
        // Checked without Redis too, so that all errors are reported together.
        let password = self.password(Key::RedisPasswordFile, Key::RedisPassword);
        let sentinel_password = self.password(Key::RedisSentinelPasswordFile, Key::RedisSentinelPassword);
        let sentinel_tls = self.given_flag(Key::RedisSentinelTls);
        let client_certificate = self.pair(Key::RedisClientCertificateFile, Key::RedisClientKeyFile);
        let timeout = self.duration(Key::RedisTimeoutSeconds);
        let poll = self.duration(Key::RedisPollSeconds);
        let Some(text) = self.text(Key::RedisConnectionString) else {
            self.warn_without_redis();
            return None;
        };
        let key_prefix = self.key_prefix(api_key);
        let string = self.connection_string(&text)?;
        let login = Login {
            user: string.user,
            password: password.or(string.password),
            password_file: self.text(Key::RedisPasswordFile).map(PathBuf::from),
        };
        self.require_password(&login, Key::RedisConnectionString, "Redis__Password");
        let sentinel_login = Login {
            user: self.text(Key::RedisSentinelUser),
            password: sentinel_password,
            password_file: self.text(Key::RedisSentinelPasswordFile).map(PathBuf::from),
        };
        self.require_password(&sentinel_login, Key::RedisSentinelUser, "Redis__SentinelPassword");
        Some(Redis {
            hosts: string.hosts,
            login,
            sentinel_login,
            service: string.service,
            database: string.database,
            tls: string.tls,
            sentinel_tls: sentinel_tls.unwrap_or(string.tls),
            tls_name: string.tls_name,
            ca_file: self.text(Key::RedisCaFile).map(PathBuf::from),
            client_certificate,
            key_prefix: key_prefix?,
            timeout: match string.connect_timeout {
                Some(timeout) if !self.is_given(Key::RedisTimeoutSeconds) => timeout,
                _ => timeout,
            },
            poll,
        })
    }

    fn connection_string(&mut self, text: &str) -> Option<ConnectionString> {
        let key = Key::RedisConnectionString;
        let name = key.definition().name;
        match connection_string::parse(text) {
            Ok(string) => {
                for warning in &string.warnings {
                    let warning = warning.clone();
                    let at = self.raw.origin(key);
                    self.raw.warnings.push(SettingError::at(name, at, warning.problem, warning.remedy));
                }
                Some(string)
            }
            Err(errors) => {
                for error in errors {
                    self.accepted::<()>(key, Err(error));
                }
                None
            }
        }
    }

    /// A password as text or from a file.
    fn password(&mut self, file: Key, text: Key) -> Option<Secret> {
        match self.content_instead_of(file, text)? {
            Some(content) => self.accepted(file, key_files::password(&content)),
            None => self.text(text).map(Secret::new),
        }
    }

    /// Reports a user without a password. One that is wrong was reported already.
    fn require_password(&mut self, login: &Login, user: Key, password: &str) {
        if login.user.is_some() && login.password.is_none() && login.password_file.is_none() {
            self.raw.push_missing(SettingError::at(
                user.definition().name,
                self.raw.origin(user),
                "contains a user, but there is no password",
                format!(
                    "Set {password}; a password without a user is written redis://:password@host in a URL"
                ),
            ));
        }
    }

    /// A flag without a default.
    fn given_flag(&mut self, key: Key) -> Option<bool> {
        if !self.is_given(key) {
            return None;
        }
        self.parsed(key, value::flag)
    }

    fn key_prefix(&mut self, api_key: Option<&Secret>) -> Option<String> {
        if let Some(text) = self.text(Key::RedisKeyPrefix) {
            return self.accepted(Key::RedisKeyPrefix, prefix::checked(&text));
        }
        if api_key.is_none() && !self.is_given(Key::ApiKey) && !self.is_given(Key::ApiKeyFile) {
            self.raw.push_missing(SettingError::missing(
                "ApiKey, Redis__KeyPrefix",
                "one of them is needed by Redis__ConnectionString: it decides which agents share their data",
                "Set one of them, to the same value on all of these agents",
            ));
        }
        api_key.map(prefix::of_api_key)
    }

    fn warn_without_redis(&mut self) {
        for key in OTHERS.into_iter().filter(|key| self.is_given(*key)).collect::<Vec<_>>() {
            self.raw.warn_missing(SettingError::at(
                key.definition().name,
                self.raw.origin(key),
                "has no effect without Redis__ConnectionString",
                "Set that too, or remove this",
            ));
        }
    }
}
