//! Other people's TLS against the agent's: real SDKs, and OpenSSL.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use std::process::{Command, Stdio};

use common::agent::{Agent, Builder};
use common::certificates::{Authority, Wish};
use common::dataset::{Dataset, Environment, boolean_flag, touch, user};
use common::left_out;
use common::sdk::{Mode, Sdk, installed_specs};
use serde_json::json;
use tempfile::TempDir;

/// An agent with TLS on `localhost`, its port, and the folder with `ca.pem`.
fn place(data: &Dataset) -> (Agent, u16, TempDir) {
    let authority = Authority::new("CA");
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("ca.pem"), authority.certificate()).expect("it can be written");
    let wish = Wish::server(&["localhost", "127.0.0.1"]);
    let (certificate, key) = authority.issue(&wish).write(folder.path(), "server");
    let agent = Builder::offline()
        .api_key()
        .env("ASPNETCORE_URLS", "http://127.0.0.1:0;https://127.0.0.1:0")
        .env("Tls__CertificateFile", certificate.to_str().expect("the path is UTF-8"))
        .env("Tls__KeyFile", key.to_str().expect("the path is UTF-8"))
        .data_file(data)
        .start();
    let log = agent.log();
    let (_, after) = log.split_once("https://127.0.0.1:").expect("it listens with TLS");
    let port = after.split(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok());
    (agent, port.expect("a port"), folder)
}

/// A store of trusted authorities as Java has them.
fn java_store(folder: &TempDir, ca: &str) -> String {
    let store = folder.path().join("trust.p12");
    let output = Command::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12", "-storepass", "password"])
        .args(["-file", ca, "-keystore"])
        .arg(&store)
        .output()
        .expect("keytool comes with Java");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    format!(
        "-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStorePassword=password",
        store.to_str().expect("the path is UTF-8")
    )
}

#[test]
fn real_sdks_stream_and_poll_over_tls() {
    const TEST: &str = "real_sdks_stream_and_poll_over_tls";
    let mut environment = Environment::new(1).flag(boolean_flag("flag"));
    let (agent, port, folder) = place(&Dataset::of([environment.clone()]));
    let ca = folder.path().join("ca.pem");
    let ca = ca.to_str().expect("the path is UTF-8");
    let (url, somebody) = (format!("https://localhost:{port}"), user("somebody", &[]));
    // A browser has its own list of authorities, which no variable adds to.
    let specs = installed_specs(TEST).into_iter().filter(|spec| spec.name != "browser");
    let mut sdks: Vec<Sdk> = specs
        .flat_map(|spec| {
            let java = if spec.name.starts_with("java") { java_store(&folder, ca) } else { String::new() };
            let spec = spec
                .with_env("JAVA_TOOL_OPTIONS", &java)
                .with_env("NODE_EXTRA_CA_CERTS", ca)
                .with_env("REQUESTS_CA_BUNDLE", ca)
                .with_env("WEBSOCKET_CLIENT_CA_BUNDLE", ca)
                .with_env("SSL_CERT_FILE", ca);
            let modes: Vec<Mode> = spec.modes().to_vec();
            modes.into_iter().map(move |mode| Sdk::launch(&spec, mode)).collect::<Vec<_>>()
        })
        .collect();
    for sdk in &mut sdks {
        sdk.start_with(&url, &environment.secret(sdk.kind()), &somebody, json!({}));
        sdk.wait_ready();
        sdk.wait_value("flag", &somebody, "boolean", &json!(true));
    }
    let flag = environment.flag_mut("flag");
    flag["isEnabled"] = json!(false);
    flag["disabledVariationId"] = json!("v1");
    touch(flag, 1000);
    agent.write_data(&Dataset::of([environment]));
    for sdk in &mut sdks {
        sdk.wait_value("flag", &somebody, "boolean", &json!(false));
    }
    if !sdks.is_empty() {
        agent.wait_metric_at_least("featbit_agent_tls_handshakes_total", "", sdks.len() as f64);
    }
}

#[test]
fn openssl_agrees_on_tls_and_resumes() {
    const TEST: &str = "openssl_agrees_on_tls_and_resumes";
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("FEATBIT_TEST_SDKS_REQUIRED").is_none(), "openssl is not installed");
        return left_out(TEST, "openssl is not installed");
    }
    let (agent, port, folder) = place(&Dataset::of([Environment::new(1).flag(boolean_flag("flag"))]));
    let address = format!("localhost:{port}");
    let client = |more: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-servername", "localhost", "-CAfile"]);
        command.arg(folder.path().join("ca.pem")).args(["-verify_return_error", "-alpn", "http/1.1"]);
        let output = command.args(more).stdin(Stdio::null()).output().expect("openssl runs");
        let both = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&both).into_owned())
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (well, text) = client(&[version]);
        assert!(well && text.contains(name) && text.contains("Verify return code: 0 (ok)"), "{text}");
        assert!(text.contains("ALPN protocol: http/1.1"), "{text}");
    }
    let (_, text) = client(&["-tls1_1"]);
    assert!(!text.contains("Verify return code: 0 (ok)") || text.contains("no peer certificate"), "{text}");
    // Connects once, and five times by the ticket of that.
    let (well, text) = client(&["-tls1_2", "-reconnect"]);
    assert!(well && text.matches("Reused, TLSv1.2").count() == 5, "{text}");
    agent.wait_metric("featbit_agent_tls_handshakes_total", "kind=\"resumed\"", 5.0);
    // What went wrong: with TLS 1.3 no alert came. The later `-alpn` counts.
    for version in ["-tls1_2", "-tls1_3"] {
        let (well, text) = client(&[version, "-alpn", "h2"]);
        assert!(!well && text.contains("alert no application protocol"), "{version}: {text}");
    }
}
