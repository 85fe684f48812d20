//! A relay agent written by hand, byte by byte, to test the stand-in with.

use serde_json::{Value, json};

use super::Server;
use crate::common::frames::{RawSocket, TEXT, whole};

/// Opens a streaming connection.
pub fn open(server: &Server, key: &str) -> RawSocket {
    RawSocket::upgrade(server.port(), &format!("/streaming?type=relay-proxy&token={key}"), &[])
}

/// Asks for what is newer than these times.
pub fn ask(socket: &mut RawSocket, timestamp: i64, environments: &[(&str, i64)]) {
    let environments: Vec<Value> =
        environments.iter().map(|(id, at)| json!({ "envId": id, "timestamp": at })).collect();
    let request =
        json!({ "messageType": "data-sync", "data": { "timestamp": timestamp, "envs": environments } });
    socket.send(&whole(TEXT, request.to_string().as_bytes()));
}

/// The `data` of the next message.
pub fn data(socket: &mut RawSocket) -> Value {
    let frame = socket.next();
    let mut message: Value = serde_json::from_str(frame.text()).expect("messages are JSON");
    assert_eq!(message["messageType"], "data-sync");
    message["data"].take()
}

/// Asks for everything, and returns it.
pub fn full(socket: &mut RawSocket) -> Value {
    ask(socket, 0, &[]);
    let data = data(socket);
    assert_eq!(data["eventType"], "rp_full");
    data
}

/// Nothing was sent before now.
pub fn expect_nothing(socket: &mut RawSocket) {
    socket.send(&whole(TEXT, br#"{"messageType":"ping","data":{}}"#));
    socket.expect_text(r#"{"messageType":"pong","data":{}}"#);
}
