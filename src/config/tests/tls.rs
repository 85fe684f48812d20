//! The settings of TLS, of both sides, and of the proxy.

use std::time::Duration;

use super::super::*;
use super::{Given, error, offline, settings, warnings};

#[test]
fn connections_to_servers_are_set_by_files_and_a_proxy() {
    let dial = settings(&[
        ("Upstream__CaFile", "ca.pem"),
        ("UPSTREAM__CLIENTCERTIFICATEFILE", "a.pem"),
        ("Upstream__ClientKeyFile", "a.key"),
        ("Upstream__Proxy", "http://me:secret@proxy:3128"),
        ("Upstream__ConnectSeconds", "3s"),
    ])
    .dial;
    assert_eq!(dial.ca_file, Some("ca.pem".into()));
    let pair = KeyPairFiles { certificate: "a.pem".into(), key: "a.key".into() };
    assert_eq!(dial.client_certificate, Some(pair));
    assert_eq!(dial.connect, Duration::from_secs(3));
    let ProxyChoice::Always(proxy) = &dial.proxy else { panic!("{dial:?}") };
    assert_eq!((proxy.host(), proxy.port(), proxy.user_info()), ("proxy", Some(3128), Some("me:secret")));
    assert!(!format!("{dial:?}").contains("secret"));
    assert_eq!(settings(&[("Upstream__Proxy", "None")]).dial.proxy, ProxyChoice::Never);
    let ProxyChoice::Always(proxy) = settings(&[("Upstream__Proxy", "proxy:80")]).dial.proxy else {
        panic!()
    };
    assert_eq!((proxy.host(), proxy.user_info()), ("proxy", None));
}

#[test]
fn a_proxy_that_is_none_and_half_a_client_certificate_are_refused() {
    for (value, part) in [
        ("socks5://proxy", "has the scheme"),
        ("https://proxy", "has the scheme"),
        ("http://me:sec/ret@proxy", "****@proxy"),
    ] {
        let text = error("Upstream__Proxy", value);
        assert!(text.contains(part) && text.contains("http://proxy.example:3128, or none"), "{text}");
        assert!(!text.contains("sec"), "{text}");
    }
    let text = error("Upstream__ClientKeyFile", "a.key");
    assert!(text.contains("is given without Upstream__ClientCertificateFile"), "{text}");
    let text = error("Upstream__ClientCertificateFile", "a.pem");
    assert!(text.contains("is given without Upstream__ClientKeyFile"), "{text}");
}

#[test]
fn no_password_of_a_proxy_is_described() {
    let settings = settings(&[("Upstream__Proxy", "http://me:p;q@proxy:3128")]);
    let lines = settings.describe().join("\n");
    assert!(lines.contains("http://****@proxy:3128") && !lines.contains("p;q"), "{lines}");
}

fn shown(listen: &[Listen]) -> Vec<String> {
    listen.iter().map(Listen::to_string).collect()
}

fn pair(certificate: &str, key: &str) -> KeyPairFiles {
    KeyPairFiles { certificate: certificate.into(), key: key.into() }
}

#[test]
fn https_addresses_have_a_certificate() {
    let given = [
        ("Urls", "http://*:1;https://*:2"),
        ("Tls__CertificateFile", "a.pem"),
        ("Tls__KeyFile", "a.key"),
        ("Metrics__Url", "https://localhost:3"),
    ];
    let settings = settings(&given);
    let tls = settings.tls.unwrap();
    let expected = CertificateFiles {
        files: pair("a.pem", "a.key"),
        certificate_setting: "Tls__CertificateFile".into(),
        key_setting: "Tls__KeyFile".into(),
    };
    assert_eq!(tls.certificates, [expected]);
    assert_eq!((tls.client_ca, tls.client_certificate), (None, ClientCertificate::None));
    assert_eq!((tls.handshakes_per_turn, tls.poll), (4, Duration::from_secs(5)));
    let schemes: Vec<Scheme> = settings.listen.iter().map(|listen| listen.scheme).collect();
    assert_eq!(schemes, [Scheme::Http, Scheme::Https { certificate: 0 }]);
    assert_eq!(settings.metrics.unwrap()[0].scheme, Scheme::Https { certificate: 0 });
    for (more, part) in [
        (
            &[("Urls", "https://*:2")][..],
            "Tls__CertificateFile: is needed by https://*:2. Set it and Tls__KeyFile",
        ),
        (&[("Urls", "https://*:2"), ("Tls__KeyFile", "a.key")], "is given without Tls__CertificateFile"),
        (&[("Urls", "https://*:2"), ("Tls__CertificateFile", "a.pem")], "is given without Tls__KeyFile"),
        (&[given[0], given[1], ("Tls__KeyFile", "a.pfx")], "names a PFX file, but only PEM is supported"),
        (&[given[0], given[1], given[2], ("Tls__ClientCertificate", "maybe")], "none, optional or required"),
        (&[given[0], given[1], given[2], ("Tls__ClientCertificate", "required")], "needs Tls__ClientCaFile"),
    ] {
        let environment = offline(more);
        let errors = Given { environment: &environment, ..Given::default() }.errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(part), "{errors:?} without {part}");
    }
    let unused = warnings(&offline(&[given[1], given[2], ("ApiKey", "k"), ("ForwardEvents", "false")]));
    assert_eq!(unused.len(), 1);
    assert!(unused[0].contains("no address begins with https://"), "{unused:?}");
}

#[test]
fn who_names_an_authority_of_clients_asks_for_their_certificates() {
    let https = [("Urls", "https://*:2"), ("Tls__CertificateFile", "a.pem"), ("Tls__KeyFile", "a.pem")];
    for (value, expected) in [
        ("", ClientCertificate::Required),
        ("none", ClientCertificate::None),
        ("Optional", ClientCertificate::Optional),
        ("required", ClientCertificate::Required),
    ] {
        let more = [("Tls__ClientCaFile", "ca.pem"), ("Tls__ClientCertificate", value)];
        let given: Vec<_> = https.iter().chain(&more).copied().collect();
        let tls = settings(&given).tls.unwrap();
        assert_eq!((tls.client_certificate, tls.client_ca), (expected, Some("ca.pem".into())), "{value}");
    }
}

#[test]
fn certificates_and_endpoints_are_taken_by_the_names_of_dotnet() {
    let settings = settings(&[
        ("Kestrel__Certificates__Default__Path", "default.pem"),
        ("KESTREL__CERTIFICATES__DEFAULT__KEYPATH", "default.key"),
        ("Kestrel__Endpoints__Plain__Url", "http://*:1"),
        ("KESTREL__ENDPOINTS__SECURE__URL", "https://*:2"),
        ("Kestrel:Endpoints:Own:Url", "https://localhost:3"),
        ("Kestrel__Endpoints__Own__Certificate__Path", "own.pem"),
        ("Kestrel__Endpoints__Own__Certificate__KeyPath", "own.key"),
    ]);
    let listen = shown(&settings.listen);
    assert_eq!(listen, ["https://127.0.0.1:3", "https://[::1]:3", "http://*:1", "https://*:2"]);
    let certificates = settings.tls.unwrap().certificates;
    let files: Vec<_> = certificates.iter().map(|certificate| certificate.files.clone()).collect();
    assert_eq!(files, [pair("own.pem", "own.key"), pair("default.pem", "default.key")]);
    assert_eq!(certificates[0].key_setting, "Kestrel__Endpoints__Own__Certificate__KeyPath");
    assert_eq!(settings.listen[0].scheme, Scheme::Https { certificate: 0 });
    assert_eq!(settings.listen[3].scheme, Scheme::Https { certificate: 1 });
}

#[test]
fn what_of_dotnets_certificates_is_not_taken_is_a_fault_that_says_what_to_do() {
    const URL: (&str, &str) = ("Kestrel__Endpoints__Https__Url", "https://*:2");
    for (more, parts) in [
        (
            &[
                ("Kestrel__Certificates__Default__Path", "a.pfx"),
                ("Kestrel__Certificates__Default__Password", "hidden"),
            ][..],
            &[
                "Kestrel__Certificates__Default__Password",
                "openssl pkcs12",
                "Tls__CertificateFile",
                "without Tls__KeyFile",
            ][..],
        ),
        (
            &[
                URL,
                ("Kestrel__Endpoints__Https__Certificate__Path", "a.pem"),
                ("Kestrel__Endpoints__Https__Certificate__KeyPath", "a.key"),
                ("Kestrel__Endpoints__Https__Certificate__Password", "hidden"),
            ],
            &["Kestrel__Endpoints__Https__Certificate__Password (environment", "openssl pkcs12"],
        ),
        (
            &[URL, ("Kestrel__Endpoints__Https__Certificate__Subject", "localhost")],
            &["Kestrel__Endpoints__Https__Certificate__Subject", "PEM files by Path and KeyPath"],
        ),
        (
            &[("Kestrel__Endpoints__Https__Protocols", "Http1")],
            &["Kestrel__Endpoints__Https__Url", "is missing"],
        ),
        (&[("Kestrel__Endpoints__Https__Url", "ftp://*:2")], &["Kestrel__Endpoints__Https__Url", "scheme"]),
        (
            &[URL, ("Kestrel__Endpoints__Https__Certificate__Path", "a.pfx")],
            &["is given without Kestrel__Endpoints__Https__Certificate__KeyPath", "PFX is not supported"],
        ),
    ] {
        let environment = offline(more);
        let errors = Given { environment: &environment, ..Given::default() }.errors().join("\n");
        assert!(parts.iter().all(|part| errors.contains(part)), "{errors} without {parts:?}");
        assert!(!errors.contains("hidden"), "{errors}");
    }
    let quiet = [("ApiKey", "k"), ("ForwardEvents", "false")];
    let more = [
        quiet[0],
        quiet[1],
        ("Urls", "http://*:9"),
        ("Kestrel__Endpoints__A__Url", "http://*:1"),
        ("Kestrel__Endpoints__A__Protocols", "Http1"),
    ];
    let warnings = warnings(&offline(&more));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("Urls") && warnings[0].contains("is ignored"), "{warnings:?}");
    assert!(
        warnings[1].contains("Kestrel__Endpoints__A__protocols") && warnings[1].contains("is ignored"),
        "{warnings:?}"
    );
}

#[test]
fn ports_with_and_without_tls_are_joined_as_in_dotnet() {
    let certificate = [("Tls__CertificateFile", "a.pem"), ("Tls__KeyFile", "a.pem")];
    for (given, expected) in [
        (
            &[("HTTP_PORTS", "1;2"), ("HTTPS_PORTS", "3")][..],
            &["http://*:1", "http://*:2", "https://*:3"][..],
        ),
        (&[("ASPNETCORE_HTTPS_PORTS", "3")], &["https://*:3"]),
        (
            &[("HTTP_PORTS", "1"), ("HTTPS_PORTS", ""), ("DOTNET_HTTPS_PORTS", "4")],
            &["http://*:1", "https://*:4"],
        ),
        (&[("HTTP_PORTS", "1"), ("HTTPS_PORTS", "3"), ("ASPNETCORE_URLS", "http://*:9")], &["http://*:9"]),
    ] {
        let more: Vec<_> = given.iter().chain(&certificate).copied().collect();
        assert_eq!(shown(&settings(&more).listen), expected, "{given:?}");
    }
}
