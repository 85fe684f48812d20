//! One case: what is sent, what may come back, and what did.

use std::fmt;
use std::io;

use crate::common::agent::Agent;
use crate::common::frames::{BINARY, CLOSE, Frame, PING, PONG, RawSocket, TEXT, whole};

/// Something that a case does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes in one go.
    Send(Vec<u8>),
    /// Sends bytes in portions of this size, each in a segment of its own.
    Chop(Vec<u8>, usize),
    /// Asks by a ping whether the connection is still open, between two frames.
    Open,
    /// Waits until what was sent has been read, within a frame, and looks whether the peer has closed upon it.
    Read,
    /// Waits for this.
    Expect(Seen),
    /// Sends a message and waits for its echo, so many times.
    RoundTrips(u8, Vec<u8>, usize),
}

/// What a peer showed.
#[derive(Clone, PartialEq, Eq)]
pub enum Seen {
    /// A text message.
    Text(Vec<u8>),
    /// A binary message.
    Binary(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The connection was still open where a step asked.
    Open,
    /// So many messages came back as they were sent, one after another.
    RoundTrips(usize),
}

/// Who ends the connection, and how.
#[derive(Clone, Debug)]
pub enum End {
    /// This side begins the closing handshake with 1000 when it has seen what it expects; the same code comes back.
    ByUs,
    /// The case itself sends a close frame; one of these codes comes back.
    Answered(&'static [u16]),
    /// As [`End::Answered`], with the code that was sent.
    Echoed(u16),
    /// The peer fails the connection with this code.
    ByPeer(u16),
}

/// How strictly a case is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It passes or fails.
    Strictly,
    /// The standard leaves open what happens.
    Informational,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    number: String,
    about: String,
    steps: Vec<Step>,
    strict: Vec<Seen>,
    lenient: Option<Vec<Seen>>,
    end: End,
    judged: Judged,
}

impl Case {
    /// A case of which nothing is sent nor expected yet but an orderly end.
    pub fn new(number: impl Into<String>, about: impl Into<String>) -> Self {
        Self {
            number: number.into(),
            about: about.into(),
            steps: Vec::new(),
            strict: Vec::new(),
            lenient: None,
            end: End::ByUs,
            judged: Judged::Strictly,
        }
    }

    /// Sends these frames in one go.
    pub fn send(self, frames: &[Vec<u8>]) -> Self {
        self.step(Step::Send(frames.concat()))
    }

    /// Sends these frames one by one.
    pub fn send_each(self, frames: &[Vec<u8>]) -> Self {
        frames.iter().fold(self, |case, frame| case.step(Step::Send(frame.clone())))
    }

    /// Sends these frames in portions of this size.
    pub fn chop(self, frames: &[Vec<u8>], size: usize) -> Self {
        self.step(Step::Chop(frames.concat(), size))
    }

    /// Does this next.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Expects exactly this.
    pub fn expect(mut self, seen: &[Seen]) -> Self {
        self.strict = seen.to_vec();
        self
    }

    /// This would do as well, though it is not strict.
    pub fn or(mut self, seen: &[Seen]) -> Self {
        self.lenient = Some(seen.to_vec());
        self
    }

    /// Ends so.
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Leaves the outcome open.
    pub fn informational(mut self) -> Self {
        self.judged = Judged::Informational;
        self
    }

    /// Runs it on a connection of its own.
    pub fn run(&self, agent: &Agent) -> Row {
        let mut run = Run {
            socket: RawSocket::upgrade(agent.port(), "/echo", &[]),
            seen: Vec::new(),
            closed: None,
            answers_close: matches!(self.end, End::ByPeer(_)),
        };
        let course = self.steps.iter().try_for_each(|step| run.step(step, agent));
        let course = course.and_then(|()| run.finish(self));
        let outcome = match course {
            Ok(()) => self.judge(&run),
            Err(Stop::Closed) => self.judge(&run),
            Err(Stop::Broken(why)) => Outcome::Failed(why),
        };
        let closed = match run.closed {
            Some(code) => format!("close {code}"),
            None => "no close".to_owned(),
        };
        Row { number: self.number.clone(), outcome, closed, seen: run.seen.len(), about: self.about.clone() }
    }

    fn judge(&self, run: &Run) -> Outcome {
        let Some(code) = run.closed else { return Outcome::Failed("no close frame came".into()) };
        let right_code = match &self.end {
            End::ByUs => code == 1000,
            End::Answered(codes) => codes.contains(&code),
            End::Echoed(sent) => code == *sent,
            End::ByPeer(wanted) => code == *wanted,
        };
        let strict = run.seen == self.strict;
        let lenient = self.lenient.as_ref() == Some(&run.seen);
        match (self.judged, strict || lenient, right_code) {
            (Judged::Informational, ..) => Outcome::Informational,
            (_, false, _) => Outcome::Failed(format!("came {:?}, expected {:?}", run.seen, self.strict)),
            (_, _, false) => Outcome::Failed(format!("closed with {code}")),
            (..) if strict => Outcome::Ok,
            _ => Outcome::NonStrict,
        }
    }
}

/// Why a case did not come to its end.
enum Stop {
    /// The peer has closed: nothing more can be sent.
    Closed,
    /// What no case allows.
    Broken(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Broken(error.to_string())
    }
}

/// A case under way.
struct Run {
    socket: RawSocket,
    seen: Vec<Seen>,
    closed: Option<u16>,
    /// Whether the peer is the one that begins the closing handshake.
    answers_close: bool,
}

impl Run {
    fn step(&mut self, step: &Step, agent: &Agent) -> Result<(), Stop> {
        match step {
            Step::Send(bytes) => self.send(bytes)?,
            Step::Chop(bytes, size) => bytes.chunks(*size).try_for_each(|portion| self.send(portion))?,
            Step::Open => {
                self.send(&whole(PING, b"open?"))?;
                match self.next()? {
                    Some(Seen::Pong(payload)) if payload == b"open?" => self.seen.push(Seen::Open),
                    Some(other) => self.seen.push(other),
                    None => return Err(Stop::Closed),
                }
            }
            Step::Read => {
                // The reactor answers this after it has read what came before.
                agent.get("/health/liveness", &[]).expect(200);
                if self.socket.has_input() {
                    return match self.next()? {
                        Some(other) => Err(Stop::Broken(format!("{other:?} came too early"))),
                        None => Err(Stop::Closed),
                    };
                }
                self.seen.push(Seen::Open);
            }
            Step::Expect(expected) => match self.next()? {
                Some(seen) if seen == *expected => self.seen.push(seen),
                Some(other) => return Err(Stop::Broken(format!("{other:?} came instead of {expected:?}"))),
                None => return Err(Stop::Closed),
            },
            Step::RoundTrips(opcode, payload, count) => {
                let frame = whole(*opcode, payload);
                let expected = message(*opcode, payload.clone());
                for _ in 0..*count {
                    self.send(&frame)?;
                    if self.next()?.as_ref() != Some(&expected) {
                        return Err(Stop::Broken("the echo differs".into()));
                    }
                }
                self.seen.push(Seen::RoundTrips(*count));
            }
        }
        Ok(())
    }

    /// Reads to the end of the connection, and does this side's part of it.
    fn finish(&mut self, case: &Case) -> Result<(), Stop> {
        if matches!(case.end, End::ByUs) {
            while self.seen.len() < case.strict.len() {
                match self.next()? {
                    Some(seen) => self.seen.push(seen),
                    None => return Err(Stop::Closed),
                }
            }
            self.send(&whole(CLOSE, &1000u16.to_be_bytes()))?;
        }
        while let Some(seen) = self.next()? {
            self.seen.push(seen);
        }
        Ok(())
    }

    /// Sends; that the peer has failed the connection meanwhile is for the reading to find out.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match self.socket.try_send(bytes) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// What comes next; `None` after a close frame that was answered, and the orderly end of the connection.
    fn next(&mut self) -> Result<Option<Seen>, Stop> {
        let frame =
            self.socket.next_or_end()?.ok_or(Stop::Broken("it ended without a close frame".into()))?;
        Ok(Some(match frame {
            Frame { opcode: TEXT | BINARY, .. } => message(frame.opcode, frame.payload),
            Frame { opcode: PONG, payload } => Seen::Pong(payload),
            Frame { opcode: CLOSE, .. } => {
                self.closed = Some(frame.close().0);
                if self.answers_close {
                    let _ = self.socket.try_send(&whole(CLOSE, &frame.payload));
                }
                return match self.socket.next_or_end()? {
                    None => Ok(None),
                    Some(frame) => Err(Stop::Broken(format!("{frame:?} came after the close frame"))),
                };
            }
            other => return Err(Stop::Broken(format!("{other:?} came"))),
        }))
    }
}

fn message(opcode: u8, payload: Vec<u8>) -> Seen {
    if opcode == TEXT { Seen::Text(payload) } else { Seen::Binary(payload) }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, payload) = match self {
            Seen::Text(payload) => ("text", payload),
            Seen::Binary(payload) => ("binary", payload),
            Seen::Pong(payload) => ("pong", payload),
            Seen::Open => return f.write_str("open"),
            Seen::RoundTrips(count) => return write!(f, "{count} round trips"),
        };
        match payload.len() {
            0..=64 => write!(f, "{kind} {:?}", String::from_utf8_lossy(payload)),
            len => write!(f, "{kind} of {len} bytes"),
        }
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    NonStrict,
    Informational,
    Failed(String),
}

/// The outcome of a case.
#[derive(Clone, Debug)]
pub struct Row {
    number: String,
    outcome: Outcome,
    closed: String,
    seen: usize,
    about: String,
}

impl Row {
    /// Whether the case failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match &self.outcome {
            Outcome::Ok => "OK",
            Outcome::NonStrict => "NON-STRICT",
            Outcome::Informational => "INFORMATIONAL",
            Outcome::Failed(_) => "FAILED",
        };
        write!(f, "{:<8}{outcome:<14}{:>4} seen  {:<11}{}", self.number, self.seen, self.closed, self.about)?;
        match &self.outcome {
            Outcome::Failed(why) => write!(f, ": {why}"),
            _ => Ok(()),
        }
    }
}

/// The table of all cases, with how many ended how.
pub fn table(rows: &[Row]) -> String {
    let count = |wanted: fn(&Outcome) -> bool| rows.iter().filter(|row| wanted(&row.outcome)).count();
    let mut lines: Vec<String> = rows.iter().map(Row::to_string).collect();
    lines.push(format!(
        "{} cases: {} OK, {} NON-STRICT, {} INFORMATIONAL, {} FAILED\n",
        rows.len(),
        count(|outcome| *outcome == Outcome::Ok),
        count(|outcome| *outcome == Outcome::NonStrict),
        count(|outcome| *outcome == Outcome::Informational),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
    ));
    lines.join("\n")
}
