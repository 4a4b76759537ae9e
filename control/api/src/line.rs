//! Lines in and out, with their limits. Nothing read here can panic, whatever it is.

use crate::{ErrorCode, Refusal, Reply, ReplyBody, Request, RequestLine, VERSION};
use serde::Deserialize;

/// Longest request, without its newline: a document of 64 KiB in which every character is escaped fits.
pub const REQUEST_LINE_MAX: usize = 160 << 10;

/// Longest reply, without its newline: 64 timelines of 64 services fit.
pub const REPLY_LINE_MAX: usize = 4 << 20;

/// A reply that the client could not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineError {
    /// Longer than the limit.
    TooLong,
    /// Not what this version understands.
    Malformed {
        /// The parser's words.
        reason: String,
    },
    /// Another version of the messages.
    Version {
        /// Which.
        theirs: u32,
    },
}

/// Reads one request line (with or without its newline). The error side is the reply to send back.
pub fn parse_request(line: &[u8]) -> Result<RequestLine, Box<Reply>> {
    #[derive(Deserialize)]
    struct Envelope {
        version: u32,
        #[serde(default)]
        id: u64,
        #[serde(default)]
        request: serde_json::Value,
    }
    let refuse = |id, code, message: String, remedy: &str| {
        Err(Box::new(Reply::error(id, Refusal::new(code, message, remedy))))
    };
    let shape = "send {\"version\":1,\"id\":1,\"request\":{\"kind\":\"status\"}} and a newline";
    if line.len() > REQUEST_LINE_MAX + 1 {
        let message = format!("the request is longer than {REQUEST_LINE_MAX} bytes");
        return refuse(0, ErrorCode::BadRequest, message, shape);
    }
    // The parser would take a list for the fields in their order; that is nowhere promised.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return refuse(0, ErrorCode::BadRequest, "not a request: no JSON object".into(), shape);
    }
    let envelope: Envelope = match serde_json::from_slice(line) {
        Ok(envelope) => envelope,
        Err(e) => return refuse(0, ErrorCode::BadRequest, format!("not a request: {e}"), shape),
    };
    let id = envelope.id;
    if envelope.version != VERSION {
        let message = format!(
            "this daemon speaks version {VERSION} of the local messages, not {}",
            envelope.version
        );
        let remedy = "use ng and client libraries of the daemon's release";
        return refuse(id, ErrorCode::Version, message, remedy);
    }
    let kind = envelope.request.get("kind").and_then(|k| k.as_str()).map(str::to_owned);
    match (serde_json::from_value::<Request>(envelope.request), kind) {
        (Ok(request), _) => Ok(RequestLine { version: VERSION, id, request }),
        (Err(_), Some(kind)) if !Request::KINDS.contains(&kind.as_str()) => {
            let message = format!("there is no request \"{}\"", shorten(&kind));
            let remedy = format!("requests are: {}", Request::KINDS.join(", "));
            refuse(id, ErrorCode::UnknownRequest, message, &remedy)
        }
        (Err(e), _) => refuse(id, ErrorCode::BadRequest, format!("not a request: {e}"), shape),
    }
}

/// Reads one reply line.
pub fn parse_reply(line: &[u8]) -> Result<Reply, LineError> {
    #[derive(Deserialize)]
    struct Envelope {
        version: u32,
    }
    if line.len() > REPLY_LINE_MAX + 1 {
        return Err(LineError::TooLong);
    }
    let malformed = |e: serde_json::Error| LineError::Malformed { reason: e.to_string() };
    let envelope: Envelope = serde_json::from_slice(line).map_err(malformed)?;
    if envelope.version != VERSION {
        return Err(LineError::Version { theirs: envelope.version });
    }
    serde_json::from_slice(line).map_err(malformed)
}

/// A request as a line with its newline.
#[must_use]
pub fn encode_request(id: u64, request: Request) -> String {
    let line = RequestLine { version: VERSION, id, request };
    // The types hold nothing that JSON cannot say: string keys, finite numbers.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// A reply as a line with its newline; one that would be too long becomes an error that says so.
#[must_use]
pub fn encode_reply(reply: &Reply) -> String {
    let mut text = serde_json::to_string(reply).unwrap_or_default();
    if text.is_empty() || text.len() > REPLY_LINE_MAX {
        let message = format!("the answer is longer than {REPLY_LINE_MAX} bytes");
        let refusal = Refusal::new(ErrorCode::Internal, message, "ask for less (a smaller limit)");
        text = serde_json::to_string(&Reply::error(reply.id, refusal)).unwrap_or_default();
    }
    text.push('\n');
    text
}

impl Reply {
    /// An answer.
    #[must_use]
    pub const fn answer(id: u64, answer: crate::Answer) -> Self {
        Self { version: VERSION, id, body: ReplyBody::Answer(answer) }
    }
    /// A refusal.
    #[must_use]
    pub const fn error(id: u64, refusal: Refusal) -> Self {
        Self { version: VERSION, id, body: ReplyBody::Error(refusal) }
    }
    /// An event of a watch.
    #[must_use]
    pub const fn event(id: u64, event: crate::Event) -> Self {
        Self { version: VERSION, id, body: ReplyBody::Event(event) }
    }
}

/// At most 40 characters of what a client sent, so that it can be quoted.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
