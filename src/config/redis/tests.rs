//! Connection strings, URLs and key prefixes, and the settings made of them.

use std::time::Duration;

use proptest::prelude::*;

use super::connection_string::{masked, parse};
use super::options::ConnectionString;
use super::prefix;
use crate::config::Settings;
use crate::config::secret::Secret;

fn parsed(text: &str) -> ConnectionString {
    parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn hosts(text: &str) -> Vec<String> {
    parsed(text).hosts.iter().map(ToString::to_string).collect()
}

/// The only error, as one text.
fn error(text: &str) -> String {
    let errors = parse(text).unwrap_err();
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    format!("{}. {}", errors[0].problem, errors[0].remedy)
}

fn warnings(text: &str) -> Vec<String> {
    parsed(text).warnings.iter().map(|warning| format!("{}. {}", warning.problem, warning.remedy)).collect()
}

const PASSWORD: &str = "correct-horse";

#[test]
fn both_forms_say_the_same() {
    let expected = ConnectionString {
        hosts: parsed("r1.example:6390,[2001:db8::1]:6379").hosts,
        user: Some("agent".into()),
        password: Some(Secret::new("p@ss/#?".into())),
        database: 3,
        tls: true,
        tls_name: Some("redis.example".into()),
        service: None,
        connect_timeout: Some(Duration::from_millis(2500)),
        warnings: Vec::new(),
    };
    for text in [
        "r1.example:6390,[2001:db8::1]:6379,User=agent,PASSWORD=p@ss/#?,ssl=True,sslhost=redis.example,\
         DefaultDatabase=3,connectTimeout=2500,abortConnect=false",
        "password = p@ss/#? , user=agent,ssl=true,sslHost=redis.example,defaultDatabase=3,connectTimeout=2500, \
         r1.example:6390 , [2001:db8::1]:6379",
        "rediss://agent:p%40ss%2F%23%3F@r1.example:6390,[2001:db8::1]:6379/3?sslHost=redis.example&connectTimeout=2500",
        "REDISS://agent:p%40ss%2f%23%3f@r1.example:6390,[2001:db8::1]/?db=3&sslhost=redis.example&connecttimeout=2500",
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn ports_are_those_that_users_of_the_form_expect() {
    for (text, expected) in [
        ("redis.example", "redis.example:6379"),
        ("redis.example,ssl=true", "redis.example:6380"),
        ("redis.example,serviceName=m", "redis.example:26379"),
        ("redis.example,ssl=true,serviceName=m", "redis.example:26379"),
        ("redis://redis.example", "redis.example:6379"),
        ("rediss://redis.example/", "redis.example:6379"),
        ("rediss://redis.example?serviceName=m", "redis.example:26379"),
        ("::1", "[::1]:6379"),
        ("[::1]:7000", "[::1]:7000"),
        ("redis_1:7000", "redis_1:7000"),
        ("10.0.0.1:1", "10.0.0.1:1"),
    ] {
        assert_eq!(hosts(text), [expected], "{text}");
    }
}

#[test]
fn passwords_are_taken_as_they_are_in_a_string_and_decoded_in_a_url() {
    let password = |text: &str| parsed(text).password.map(|password| password.expose().to_owned());
    assert_eq!(password("h,password=a=b@c%41").as_deref(), Some("a=b@c%41"));
    assert_eq!(password("redis://:a%3Ab:c%25@h").as_deref(), Some("a:b:c%"));
    assert_eq!(password("redis://user:@h"), None);
    assert_eq!(password("redis://h"), None);
    assert_eq!(parsed("redis://:x@h").user, None);
    assert_eq!(parsed("redis://us%40er:x@h").user.as_deref(), Some("us@er"));
}

#[test]
fn a_password_in_a_url_that_is_not_encoded_is_named() {
    for (password, written) in [
        ("correct-horse@1", "%40"),
        ("correct-horse/1", "%2F"),
        ("correct-horse#1", "%23"),
        ("correct-horse?1", "%3F"),
        ("correct-horse/1@2", "%2F"),
        ("correct-horse@2/1", "%2F"),
        ("correct-horse%1", "%25"),
        ("correct-horse%", "%25"),
        ("correct-horse%zz", "%25"),
    ] {
        let error = error(&format!("redis://agent:{password}@redis.example:6379/0"));
        assert!(error.contains(written) && error.contains("Redis__Password"), "{password}: {error}");
        assert!(!error.contains(PASSWORD), "{error}");
    }
}

#[test]
fn what_is_wrong_is_told_without_quoting_it() {
    for (text, says) in [
        ("", "contains no address"),
        (",,", "contains no address"),
        ("password=x", "contains no address"),
        ("redis://", "contains no address"),
        ("redis://:x@", "contains no address"),
        ("h:0", "whose port is not from 1 to 65535"),
        ("h:65536", "whose port is not from 1 to 65535"),
        ("h:port", "whose port is not a number"),
        ("h:", "whose port is not a number"),
        (":6379", "number 1, without a host"),
        ("a,b:6379:1", "number 2, whose port is not a number"),
        ("[::1", "with brackets"),
        ("[redis]:1", "with brackets"),
        ("ho st", "that is not a host name"),
        ("tcp:h:1", "whose port is not a number"),
        ("a/b", "that is not a host name"),
        ("unix:/run/redis.sock", "Unix socket"),
        ("!/run/redis.sock", "Unix socket"),
        ("/run/redis.sock", "Unix socket"),
        ("unix:///run/redis.sock", "Unix socket"),
        ("redis+socket:///run/redis.sock", "Unix socket"),
        ("http://h", "has a scheme other than"),
        ("redis://h o", "contains spaces"),
        ("redis://h/one", "database that is not a number"),
        ("h,defaultDatabase=-1", "database that is not a number"),
        ("h,ssl=maybe", "contains ssl with a value"),
        ("redis://h?ssl=true", "Write rediss://"),
        ("h,connectTimeout=5s", "not a number of milliseconds"),
        ("redis://h#x", "%23"),
        ("h,password=a,b", "must not contain a comma"),
        ("h,password=a,", "must not contain a comma"),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{text}: {error}");
    }
    assert_eq!(parse("a:b,h:0,ssl=x,defaultDatabase=x").unwrap_err().len(), 4);
}

#[test]
fn options_without_effect_are_told_by_name() {
    let text = "h,syncTimeout=1000,allowAdmin=true,connectRetry=3,abortConnect=true,tieBreaker=x,Pasword=abc";
    let warnings = warnings(text);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("abortConnect=true"), "{warnings:?}");
    assert!(
        warnings[1].contains("Pasword") && warnings[1].contains("Did you mean password?"),
        "{warnings:?}"
    );
    assert!(!warnings[1].contains("abc"), "{warnings:?}");
    assert!(warnings[2].contains("allowadmin, connectretry, synctimeout, tiebreaker"), "{warnings:?}");
    assert_eq!(parsed("h,abortConnect=false,password=").warnings, []);
}

/// The rest of a password with a comma looks like an option, whose name would be told.
#[test]
fn what_may_be_a_part_of_the_password_is_not_told() {
    let warnings = warnings("h,password=correct,horse=battery");
    assert!(warnings.len() == 1 && warnings[0].contains("Redis__Password"), "{warnings:?}");
    assert!(!warnings[0].contains("horse"), "{warnings:?}");
}

#[test]
fn a_masked_text_holds_no_password() {
    assert_eq!(
        masked("h:1,g,password=correct-horse,user=u,ssl=true,sslHost=n,serviceName=s,defaultDatabase=2"),
        "h:1,g:26379,user=u,password=****,ssl=true,sslHost=n,serviceName=s,defaultDatabase=2"
    );
    assert_eq!(masked("redis://:correct-horse@h"), "h:6379,password=****");
    assert_eq!(masked("redis://:correct@horse@h"), "****");
}

#[test]
fn a_prefix_has_a_hash_tag() {
    assert_eq!(prefix::checked("shop:{a}:").unwrap(), "shop:{a}:");
    assert_eq!(prefix::checked("shop:").unwrap(), "shop:{featbit-agent}:");
    for wrong in ["{", "{}", "a{}b{c}", "}{", "a b", "a\n", &"x".repeat(201)] {
        assert!(prefix::checked(wrong).is_err(), "{wrong:?}");
    }
    let one = prefix::of_api_key(&Secret::new("rp-one".into()));
    let other = prefix::of_api_key(&Secret::new("rp-other".into()));
    assert_ne!(one, other);
    // Agents of different versions are one cluster only if this stays as it is.
    assert_eq!(one, "featbit-agent:{62772d4aa898bf72}:");
    assert_eq!(prefix::checked(&one).unwrap(), one);
}

const OFFLINE: [(&str, &str); 3] = [("Mode", "offline"), ("DataFile", "d.json"), ("ForwardEvents", "false")];

fn loaded(more: &[(&str, &str)]) -> Settings {
    Settings::from_pairs(&[&OFFLINE, more].concat()).unwrap()
}

fn rejected(more: &[(&str, &str)]) -> String {
    Settings::from_pairs(&[&OFFLINE, more].concat()).unwrap_err().to_string()
}

const STRING: (&str, &str) = ("Redis__ConnectionString", "h,password=correct-horse,connectTimeout=700");

#[test]
fn settings_of_redis_go_together() {
    assert_eq!(loaded(&[]).redis, None);
    assert_eq!(loaded(&[("Redis__Password", "x")]).redis, None);
    let redis = loaded(&[STRING, ("ApiKey", "rp-one")]).redis.unwrap();
    assert!(redis.login.password.unwrap().matches(b"correct-horse"));
    assert_eq!(redis.timeout, Duration::from_millis(700));
    assert_eq!(redis.poll, Duration::from_secs(10));
    assert_eq!((redis.tls, redis.sentinel_tls), (false, false));
    assert!(redis.key_prefix.starts_with("featbit-agent:{"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "\u{feff}from a file\r\n").unwrap();
    let redis = loaded(&[
        STRING,
        ("redis:password:file", file.to_str().unwrap()),
        ("Redis__SentinelTls", "true"),
        ("Redis__SentinelUser", "watcher"),
        ("Redis__SentinelPassword", "other"),
        ("Redis__KeyPrefix", "mine:"),
        ("Redis__TimeoutSeconds", "2"),
    ]);
    assert!(!redis.describe().join("\n").contains("correct-horse"));
    let redis = redis.redis.unwrap();
    assert!(redis.login.password.unwrap().matches(b"from a file"));
    assert_eq!(redis.login.password_file, Some(file));
    assert_eq!(redis.timeout, Duration::from_secs(2));
    assert_eq!((redis.tls, redis.sentinel_tls), (false, true));
    assert_eq!(redis.key_prefix, "mine:{featbit-agent}:");
    assert_eq!(redis.sentinel_login.user.as_deref(), Some("watcher"));
}

#[test]
fn what_is_wrong_with_redis_is_told_at_once() {
    let told = rejected(&[
        ("Redis__ConnectionString", "redis://:correct-horse@h@i"),
        ("Redis__CaFile", "ca.pem"),
        ("Redis__ClientKeyFile", "client.key"),
        ("Redis__SentinelTls", "perhaps"),
        ("Redis__Password", "x"),
        ("Redis__Password__File", "none"),
        ("Redis__TimeoutSeconds", "0"),
        ("Redis__KeyPrefix", "{}"),
    ]);
    for says in [
        "7 errors",
        "percent-encoded",
        "is given without Redis__ClientCertificateFile",
        "Redis__SentinelTls",
        "is given together with Redis__Password",
        "is too short",
        "begins no hash tag",
    ] {
        assert!(told.contains(says) || says == "7 errors", "{says}: {told}");
    }
    assert!(told.starts_with("6 errors"), "{told}");
    assert!(!told.contains("correct-horse"), "{told}");
    assert!(rejected(&[STRING]).contains("ApiKey, Redis__KeyPrefix"));
    let user = rejected(&[("Redis__ConnectionString", "redis://agent@h"), ("ApiKey", "k")]);
    assert!(user.contains("there is no password"), "{user}");
}

fn plain() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.-]{0,12}"
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    /// The plain twin is the writer: what it writes in either form means the same.
    #[test]
    fn what_is_written_is_read_back(
        names in prop::collection::vec((plain(), 1u16..), 1..4),
        user in "[^,=\\s\\p{C}]{1,8}",
        password in "[^,\\s\\p{C}]{1,12}",
        database in 0u32..100,
        tls: bool,
    ) {
        let hosts = names.iter().map(|(name, port)| format!("{name}:{port}")).collect::<Vec<_>>().join(",");
        let string = format!("{hosts},user={user},defaultDatabase={database},ssl={tls},password={password}");
        let scheme = if tls { "rediss" } else { "redis" };
        let url = format!("{scheme}://{}:{}@{hosts}/{database}", encoded(&user), encoded(&password));
        let read = parsed(&string);
        prop_assert_eq!(&read, &parsed(&url));
        prop_assert_eq!(read.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","), hosts);
        prop_assert!(read.password.unwrap().matches(password.as_bytes()));
        prop_assert_eq!((read.user.unwrap(), read.database, read.tls), (user, database, tls));
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_shows_a_password(
        before in "[a-z:/@,=\\[\\]%#?&.0-9]{0,24}",
        after in "[a-z:/@,=\\[\\]%#?&.0-9]{0,24}",
    ) {
        for text in [
            format!("{before}:CORRECT-HORSE@{after}"),
            format!("redis://{before}:CORRECT-HORSE@{after}"),
            format!("redis://u:{before}CORRECT-HORSE{after}@host:6379/0"),
            format!("{before},password=CORRECT-HORSE{after}"),
        ] {
            let told = format!("{:?}", parse(&text).map(|read| read.warnings));
            prop_assert!(!told.contains("CORRECT-HORSE"), "{} of {}", told, text);
        }
    }
}

/// What went wrong: a URL that went on like a connection string put the password into a name, which is shown.
#[test]
fn a_password_behind_an_option_of_a_url_is_not_shown() {
    for text in [
        "rediss://h/3?sslHost=n,password=correct-horse",
        "redis://h:1/0?serviceName=m,password=correct-horse",
    ] {
        assert!(parse(text).is_err(), "{text}");
        assert!(!masked(text).contains("correct-horse"), "{}", masked(text));
    }
}
