//! What the stand-in does with a connection: registrations, and the handshakes of streaming connections.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tungstenite::handshake::derive_accept_key;

use super::converse::converse;
use super::relay::{Fate, Relay};
use super::script::{Opening, Register};
use super::socket::{Reader, Request, Socket};
use super::{Registration, Shared};

/// Serves a connection to its end.
pub fn serve(shared: &Shared, socket: &Arc<Socket>) -> io::Result<()> {
    let mut reader = Reader::new(Arc::clone(socket));
    while let Some(request) = reader.request()? {
        let paths = shared.state().paths.clone();
        let is = |path: &String| request.path().eq_ignore_ascii_case(path);
        if request.is_upgrade() && is(&paths.streaming) {
            return open(shared, socket, reader, request);
        }
        let goes_on = if paths.registers.iter().any(is) {
            register(shared, socket, &mut reader, request)?
        } else {
            shared.state().other_requests.push(request.target);
            socket.write_all(&problem(404, "Not Found"))?;
            true
        };
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the connection goes on.
fn register(
    shared: &Shared,
    socket: &Arc<Socket>,
    reader: &mut Reader,
    request: Request,
) -> io::Result<bool> {
    let mut state = shared.state();
    let script = state.script.registers.pop_front().or(state.script.register_always.clone());
    let known = state.model.knows(request.header("authorization").unwrap_or_default());
    let (status, answer) = match script.clone().unwrap_or(Register::Honest) {
        Register::Honest => honest_registration(known, &request),
        Register::Id(id) => (200, response(200, "text/plain; charset=utf-8", id)),
        Register::Status(status) => (status, problem(status, "As told")),
        Register::Text(status, kind, body) => (status, response(status, kind, body)),
        Register::Raw(bytes) => (0, bytes.as_bytes().to_vec()),
        Register::Redirect(status, to) => (status, redirect(status, &to)),
        Register::Garbage => (0, b"\x16\x03\x01 what?\r\n\r\n".to_vec()),
        Register::Half => (0, b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nage".to_vec()),
        Register::Never | Register::Reset => (0, Vec::new()),
    };
    state.registrations.push(Registration { at: Instant::now(), request, status });
    drop(state);
    socket.write_all(&answer)?;
    match script {
        Some(Register::Never) => while reader.request()?.is_some() {},
        Some(Register::Reset) => socket.reset(),
        Some(Register::Garbage | Register::Half) => socket.finish(),
        _ => return Ok(true),
    }
    Ok(false)
}

/// What the real server answers.
fn honest_registration(known: bool, request: &Request) -> (u16, Vec<u8>) {
    let json = request.header("content-type").is_some_and(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    });
    let id = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    let id = id.as_str().unwrap_or_default();
    let refusal = if request.method != "POST" {
        (405, "Method Not Allowed")
    } else if !known {
        (401, "Unauthorized")
    } else if !json {
        (415, "Unsupported Media Type")
    } else if id.trim().is_empty() {
        (400, "One or more validation errors occurred.")
    } else {
        return (200, response(200, "text/plain; charset=utf-8", id));
    };
    (refusal.0, problem(refusal.0, refusal.1))
}

/// Answers a handshake and serves what comes of it.
fn open(shared: &Shared, socket: &Arc<Socket>, reader: Reader, request: Request) -> io::Result<()> {
    let mut state = shared.state();
    let opening = state.script.openings.pop_front().or(state.script.opening_always.clone());
    let opening = opening.unwrap_or(Opening::Honest);
    state.handshakes.push((Instant::now(), request.clone()));
    let key = request.parameter("token").unwrap_or_default().to_owned();
    let upgrade = upgrade(&request);
    match &opening {
        Opening::Status(status) => return socket.write_all(&problem(*status, "As told")),
        Opening::Raw(bytes) => return socket.write_all(bytes.as_bytes()),
        Opening::Redirect(status, to) => return socket.write_all(&redirect(*status, to)),
        Opening::NoAnswer => {
            drop(state);
            let mut reader = reader;
            while reader.request()?.is_some() {}
            return Ok(());
        }
        Opening::ResetBeforeUpgrade => {
            socket.reset();
            return Ok(());
        }
        Opening::WrongAccept => {
            let wrong = Request { headers: vec![("sec-websocket-key".into(), "x".into())], ..request };
            socket.write_all(&self::upgrade(&wrong))?;
            drop(state);
            let mut reader = reader;
            while reader.message()?.is_some() {}
            return Ok(());
        }
        _ => socket.write_all(&upgrade)?,
    }
    let mapped = state.model.mapped(&key);
    let refused = request.parameter("type") != Some("relay-proxy") || mapped.is_empty();
    let shape = state.script.shape;
    let relay = Relay::open(state.relays.len(), &key, mapped, request, socket, shape);
    match opening {
        Opening::Close(code) => relay.close(code),
        Opening::ResetAfterUpgrade => relay.reset(),
        Opening::Silent => relay.silence(),
        Opening::ResetAtRequest => relay.set_fate(Fate::ResetAtRequest),
        Opening::ResetWithin(bytes) => relay.set_fate(Fate::ResetWithin(bytes)),
        Opening::EndAfterAnswer => relay.set_fate(Fate::EndAfterAnswer),
        _ if refused => relay.close(4003),
        _ => {}
    }
    state.relays.push(Arc::clone(&relay));
    drop(state);
    let ended = converse(shared, &relay, reader);
    relay.has_ended(*ended.as_ref().unwrap_or(&None));
    ended.map(|_| ())
}

fn upgrade(request: &Request) -> Vec<u8> {
    let key = request.header("sec-websocket-key").unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Server: Kestrel\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes()
}

fn response(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} As told\r\nContent-Type: {kind}\r\nServer: Kestrel\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn problem(status: u16, title: &str) -> Vec<u8> {
    let body = serde_json::json!({ "title": title, "status": status, "traceId": "00-0-0-00" });
    response(status, "application/problem+json; charset=utf-8", &body.to_string())
}

fn redirect(status: u16, to: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}
