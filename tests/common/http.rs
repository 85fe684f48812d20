//! A blocking HTTP client that sends exactly the bytes it is given and parses what comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{SOON, raw};

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names (lower case) and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body {:?}", self.text()))
    }

    /// This response, if it has the expected status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "answered {:?}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// A request, read to its end.
#[derive(Clone, Debug)]
pub struct Request {
    /// The target, as it was sent.
    pub target: String,
    /// Names (lower case) and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its chunks.
    pub body: Vec<u8>,
}

/// A connection that can carry several requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, with a time-out on everything that follows.
    pub fn open(port: u16) -> io::Result<Self> {
        Self::open_for(port, SOON)
    }

    /// Connects; no read or write may take longer than `timeout`.
    pub fn open_for(port: u16, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The server's side of a connection.
    pub fn accepted(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// The socket, for what this type does not offer.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Reads the next response. `bodiless` is for answers to HEAD. An end of the stream in a response is an error.
    pub fn read_response(&mut self, bodiless: bool) -> io::Result<Response> {
        let (mut response, used) = loop {
            match parse_head(&self.buffer)? {
                Some(parsed) => break parsed,
                None => self.fill()?,
            }
        };
        self.buffer.drain(..used);
        let interim = response.status < 200 || response.status == 204 || response.status == 304;
        if bodiless || interim {
            return Ok(response);
        }
        response.body = match self.read_framed(&response.headers)? {
            Some(body) => body,
            None => self.read_rest()?,
        };
        Ok(response)
    }

    /// Reads the next request, as a server does; `None` when the peer has closed instead.
    pub fn read_request(&mut self) -> io::Result<Option<Request>> {
        let (mut request, used) = loop {
            if let Some(parsed) = parse_request_head(&self.buffer)? {
                break parsed;
            }
            match self.fill() {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.buffer.is_empty() => {
                    return Ok(None);
                }
                other => other?,
            }
        };
        self.buffer.drain(..used);
        request.body = self.read_framed(&request.headers)?.unwrap_or_default();
        Ok(Some(request))
    }

    /// A body whose headers say where it ends; `None` if they do not.
    fn read_framed(&mut self, headers: &[(String, String)]) -> io::Result<Option<Vec<u8>>> {
        let header =
            |name: &str| headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
        if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks().map(Some);
        }
        match header("content-length") {
            Some(text) => self.take(text.parse().map_err(invalid)?).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the peer has closed after everything was read.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(false);
        }
        let mut byte = [0];
        Ok(self.stream.read(&mut byte)? == 0)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn read_rest(&mut self) -> io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.buffer)?;
        Ok(std::mem::take(&mut self.buffer))
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).map_err(invalid)?;
            if size == 0 {
                while !self.take_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if !self.take_line()?.is_empty() {
                return Err(invalid("a chunk is longer than it says"));
            }
        }
    }

    fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(at)?;
                self.take(2)?;
                return String::from_utf8(line).map_err(invalid);
            }
            self.fill()?;
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The head of a response and its length, or `None` while it is not complete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Response, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let used = match head.parse(bytes).map_err(invalid)? {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial => return Ok(None),
    };
    let headers = owned(head.headers);
    Ok(Some((Response { status: head.code.unwrap_or_default(), headers, body: Vec::new() }, used)))
}

/// The head of a request and its length, or `None` while it is not complete.
fn parse_request_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let used = match head.parse(bytes).map_err(invalid)? {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial => return Ok(None),
    };
    let target = head.path.unwrap_or_default().to_owned();
    Ok(Some((Request { target, headers: owned(head.headers), body: Vec::new() }, used)))
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect()
}

/// One request on its own connection. `Host`, and `Content-Length` for a body, are added.
pub fn request(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<Response> {
    let mut connection = Connection::open(port)?;
    connection.send(raw::head(method, target, headers, body.map(<[u8]>::len)).as_bytes())?;
    // A refusal may come, and the connection be closed, before the body has been read: the answer counts.
    let sent = body.map_or(Ok(()), |body| connection.send(body));
    let answered = connection.read_response(method == "HEAD");
    sent.and(Ok(())).or_else(|error| if answered.is_ok() { Ok(()) } else { Err(error) })?;
    answered
}

/// One GET.
pub fn get(port: u16, target: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
    request(port, "GET", target, headers, None)
}

/// One POST of JSON text.
pub fn post_json(port: u16, target: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Response> {
    let mut all = vec![("Content-Type", "application/json; charset=utf-8")];
    all.extend_from_slice(headers);
    request(port, "POST", target, &all, Some(body.as_bytes()))
}
