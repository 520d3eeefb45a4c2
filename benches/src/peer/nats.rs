//! A minimal NATS client: enough of the text protocol for request-reply and fan-out under load.
//!
//! Requests go to the subject with a reply subject below the caller's inbox; the reply subject carries the sequence. The callee
//! subscribes without a queue group, as a single callee would. Subjects are the WAMP URIs of the same run.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};

use super::{Acknowledge, Body, Connection, Incoming, Protocol, Role};
use crate::wire::{Endpoint, Wire};

/// Connects and subscribes to what the role needs; a PONG proves that the server knows the subscription.
pub(super) async fn connect(endpoint: &Endpoint, role: &Role) -> Result<Connection> {
    let mut wire = Wire::new(endpoint.dial().await?);
    let options = r#"{"verbose":false,"pedantic":false,"lang":"rust","version":"1","name":"ringfort-bench","headers":false}"#;
    let mut nats = Nats {
        subject: String::new(),
        inbox: String::new(),
        echo: Vec::new(),
    };
    let subscribe = match role {
        Role::Caller { index, procedure } => {
            nats.subject.clone_from(procedure);
            nats.inbox = format!("_INBOX.{procedure}.{index}.");
            Some(format!("{}*", nats.inbox))
        }
        Role::Callee { procedure, .. } => Some(procedure.clone()),
        Role::Publisher { topic, .. } => {
            nats.subject.clone_from(topic);
            None
        }
        Role::Subscriber { topic, .. } => Some(topic.clone()),
    };
    let subscribe = subscribe.map(|subject| format!("SUB {subject} 1\r\n")).unwrap_or_default();
    wire.output
        .extend_from_slice(format!("CONNECT {options}\r\n{subscribe}PING\r\n").as_bytes());
    loop {
        while let Some(parsed) = parse(wire.input())? {
            let (end, line) = (parsed.end, parsed.line);
            let ready = matches!(line, Line::Pong);
            if let Line::Error(text) = line {
                bail!("{}: {text}", endpoint.url);
            }
            wire.consume(end);
            if ready {
                return Ok(Connection::new(wire, Box::new(nats)));
            }
        }
        wire.turn().await?;
    }
}

struct Nats {
    /// Where calls and publications go.
    subject: String,
    /// The caller's reply subjects begin so; the sequence follows.
    inbox: String,
    /// The callee's answer while it is put together.
    echo: Vec<u8>,
}

impl Protocol for Nats {
    fn call(&mut self, wire: &mut Wire, sequence: u64, body: &[u8]) -> Result<()> {
        write!(
            wire.output,
            "PUB {} {}{sequence} {}\r\n",
            self.subject,
            self.inbox,
            body.len()
        )?;
        wire.output.extend_from_slice(body);
        wire.output.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn publish(&mut self, wire: &mut Wire, _sequence: u64, body: &[u8], acknowledge: Acknowledge) -> Result<()> {
        if acknowledge == Acknowledge::Yes {
            bail!("core NATS does not acknowledge publications");
        }
        write!(wire.output, "PUB {} {}\r\n", self.subject, body.len())?;
        wire.output.extend_from_slice(body);
        wire.output.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn take(&mut self, wire: &mut Wire) -> Result<Option<Incoming>> {
        loop {
            let Some(Parsed { line, end }) = parse(wire.input())? else {
                return Ok(None);
            };
            let incoming = match line {
                Line::Message {
                    subject,
                    reply: None,
                    payload,
                } => {
                    let body = Body::of(payload);
                    match subject.strip_prefix(self.inbox.as_str()).filter(|_| !self.inbox.is_empty()) {
                        Some(sequence) => {
                            let sequence = sequence.parse().context("a reply subject without our sequence")?;
                            Some(Incoming::Answered { sequence, body })
                        }
                        None => Some(Incoming::Event(body)),
                    }
                }
                Line::Message {
                    reply: Some(reply),
                    payload,
                    ..
                } => {
                    let body = Body::of(payload);
                    self.echo.clear();
                    write!(self.echo, "PUB {reply} {}\r\n", payload.len())?;
                    self.echo.extend_from_slice(payload);
                    self.echo.extend_from_slice(b"\r\n");
                    wire.output.extend_from_slice(&self.echo);
                    Some(Incoming::Invoked(body))
                }
                Line::Ping => {
                    wire.output.extend_from_slice(b"PONG\r\n");
                    None
                }
                Line::Error(text) => bail!("the server reports {text}"),
                Line::Pong | Line::Other => None,
            };
            wire.consume(end);
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
    }
}

/// One protocol line, with its payload if it is a message.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Message {
        subject: &'a str,
        reply: Option<&'a str>,
        payload: &'a [u8],
    },
    Ping,
    Pong,
    Error(String),
    /// INFO and +OK.
    Other,
}

/// A line and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
struct Parsed<'a> {
    line: Line<'a>,
    end: usize,
}

/// The longest control line a server may send: INFO carries the addresses of a whole cluster.
const LINE_MAX: usize = 64 * 1024;

/// Reads the first line of `input`; `None` if it has not come whole.
fn parse(input: &[u8]) -> Result<Option<Parsed<'_>>> {
    let Some(newline) = input.iter().position(|byte| *byte == b'\n') else {
        if input.len() > LINE_MAX {
            bail!("a NATS line without an end");
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(&input[..newline])
        .context("a NATS line that is not UTF-8")?
        .trim_end_matches('\r');
    let end = newline + 1;
    let mut words = text.split_ascii_whitespace();
    let line = match words.next() {
        Some("MSG") => {
            let (subject, reply, len) = match [words.next(), words.next(), words.next(), words.next(), words.next()] {
                [Some(subject), Some(_sid), Some(len), None, None] => (subject, None, len),
                [Some(subject), Some(_sid), Some(reply), Some(len), None] => (subject, Some(reply), len),
                _ => bail!("unexpected NATS line {text:?}"),
            };
            let len: usize = len
                .parse()
                .ok()
                .filter(|len| *len <= 64 << 20)
                .with_context(|| format!("length in {text:?}"))?;
            let Some(rest) = input[end..].get(..len + 2) else {
                return Ok(None);
            };
            if !rest.ends_with(b"\r\n") {
                bail!("a NATS payload longer than it said");
            }
            return Ok(Some(Parsed {
                line: Line::Message {
                    subject,
                    reply,
                    payload: &rest[..len],
                },
                end: end + len + 2,
            }));
        }
        Some("PING") => Line::Ping,
        Some("PONG") => Line::Pong,
        Some("-ERR") => Line::Error(text[4..].trim().to_owned()),
        Some("INFO" | "+OK") => Line::Other,
        _ => bail!("unexpected NATS line {text:?}"),
    };
    Ok(Some(Parsed { line, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_and_measured() {
        let input = b"INFO {\"max_payload\":1048576}\r\nPING\r\nMSG a.b 1 5\r\nhe\r\no\r\nMSG a 1 _INBOX.x 2\r\nok\r\nPONG\r\n-ERR 'bad'\r\n";
        let mut rest = &input[..];
        let mut lines = Vec::new();
        while let Some(parsed) = parse(rest).unwrap() {
            lines.push(parsed.line);
            rest = &rest[parsed.end..];
        }
        assert!(rest.is_empty());
        assert_eq!(
            lines,
            [
                Line::Other,
                Line::Ping,
                Line::Message {
                    subject: "a.b",
                    reply: None,
                    payload: b"he\r\no"
                },
                Line::Message {
                    subject: "a",
                    reply: Some("_INBOX.x"),
                    payload: b"ok"
                },
                Line::Pong,
                Line::Error("'bad'".to_owned()),
            ]
        );
    }

    #[test]
    fn nothing_is_parsed_before_it_is_whole() {
        let input = b"MSG a.b 1 5\r\nhello\r\n";
        for cut in 0..input.len() {
            assert_eq!(parse(&input[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert_eq!(parse(input).unwrap().unwrap().end, input.len());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &b"MSG a 1\r\n"[..],
            b"MSG a 1 x\r\n",
            b"HELLO\r\n",
            b"MSG a 1 2\r\nabcd",
            b"\xff\r\n",
            b"MSG a 1 99999999999\r\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
