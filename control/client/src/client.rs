//! Questions and orders.

use crate::lines::Lines;
use crate::{Error, Watch};
use api::{
    Answer, ConfigurationAnswer, Configured, ConfirmedOff, Failovers, Members, Moved, Overridden,
    Probed, ReplyBody, Request, Status, Why,
};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer may take, if the user does not say otherwise: an order must be agreed first.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// A connection to the daemon of this machine.
#[derive(Debug)]
pub struct Client {
    lines: Lines,
    last_id: u64,
    timeout: Duration,
}

impl Client {
    /// Connects to a socket.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|cause| {
            let path = path.to_owned();
            match cause.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Error::NotRunning { path }
                }
                io::ErrorKind::PermissionDenied => Error::Permission { path },
                _ => Error::Socket { path, cause },
            }
        })?;
        Ok(Self::over(stream, path.to_owned()))
    }

    /// Connects to the daemon that runs in a run directory.
    pub fn connect_in(run_dir: impl AsRef<Path>) -> Result<Self, Error> {
        Self::connect(run_dir.as_ref().join(api::SOCKET_NAME))
    }

    /// Speaks over a stream that is connected already. `path` is only for messages.
    #[must_use]
    pub const fn over(stream: UnixStream, path: PathBuf) -> Self {
        Self { lines: Lines::new(stream, path), last_id: 0, timeout: TIMEOUT_DEFAULT }
    }

    /// How long an answer may take, at least a millisecond.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout.max(Duration::from_millis(1));
    }

    /// Asks, and waits for the answer.
    pub fn call(&mut self, request: Request) -> Result<Answer, Error> {
        self.last_id += 1;
        let limit = self.timeout;
        let until = Instant::now() + limit;
        self.lines.send(&api::encode_request(self.last_id, request), limit)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(reply) = self.lines.next(Some(left))? else {
                return Err(Error::Timeout { limit });
            };
            // An error without id is about a line that the daemon could not read: ours.
            let mine = reply.id == self.last_id
                || reply.id == 0 && matches!(reply.body, ReplyBody::Error(_));
            match reply.body {
                // The late answer to a call that was given up.
                _ if !mine => {}
                ReplyBody::Answer(answer) => return Ok(answer),
                ReplyBody::Error(refusal) => return Err(Error::Refused(refusal)),
                ReplyBody::Event(_) => return Err(unexpected("an event, not an answer")),
            }
        }
    }

    /// Everything about this node, and the cluster as it sees it.
    pub fn status(&mut self) -> Result<Status, Error> {
        match self.call(Request::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// The configured nodes and their links.
    pub fn members(&mut self) -> Result<Members, Error> {
        match self.call(Request::Members)? {
            Answer::Members(members) => Ok(members),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Timelines of the latest failovers, newest first.
    pub fn failovers(&mut self, limit: u32) -> Result<Failovers, Error> {
        match self.call(Request::Failovers { limit })? {
            Answer::Failovers(failovers) => Ok(failovers),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Moves a service; answered when the move is agreed, before the service runs at its new place.
    pub fn move_service(&mut self, service: &str, to: &str) -> Result<Moved, Error> {
        match self.call(Request::Move { service: service.into(), to: to.into() })? {
            Answer::Moved(moved) => Ok(moved),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Why a service (or each of them) is where it is.
    pub fn why(&mut self, service: Option<&str>) -> Result<Why, Error> {
        match self.call(Request::Why { service: service.map(str::to_owned) })? {
            Answer::Why(why) => Ok(why),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Asserts that a node is switched off. If it is not, a service may run twice.
    pub fn confirm_off(&mut self, node: &str) -> Result<ConfirmedOff, Error> {
        match self.call(Request::ConfirmOff { node: node.into() })? {
            Answer::ConfirmedOff(confirmed) => Ok(confirmed),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Has entries agreed that change nothing, and says how long each took; for tests.
    pub fn probe(&mut self, bytes: u32, count: u32, window: u32) -> Result<Probed, Error> {
        match self.call(Request::Probe { bytes, count, window })? {
            Answer::Probed(probed) => Ok(probed),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// The agreed document, and who has it.
    pub fn configuration(&mut self) -> Result<ConfigurationAnswer, Error> {
        match self.call(Request::Configuration)? {
            Answer::Configuration(configuration) => Ok(configuration),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Agrees on another document; refused if another version than `base` is agreed by now. Answered when it is agreed:
    /// votes follow ([`Client::configuration`] tells which have not).
    pub fn configure(&mut self, base: u64, document: &str) -> Result<Configured, Error> {
        match self.call(Request::Configure { base, document: document.into() })? {
            Answer::Configured(configured) => Ok(configured),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Raises the feature level to what every member's release understands. After that no older release can take part.
    pub fn upgrade(&mut self) -> Result<Configured, Error> {
        match self.call(Request::Upgrade)? {
            Answer::Configured(configured) => Ok(configured),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Asserts that these voters are off, so that the others begin anew without them. If one is not, services may run
    /// twice; what only they had acknowledged is lost.
    pub fn override_absent(&mut self, absent: &[String]) -> Result<Overridden, Error> {
        match self.call(Request::Override { absent: absent.to_vec() })? {
            Answer::Overridden(overridden) => Ok(overridden),
            _ => Err(unexpected("the answer to another question")),
        }
    }

    /// Turns the connection into a stream of events, beginning now.
    pub fn watch(mut self) -> Result<Watch, Error> {
        match self.call(Request::Watch)? {
            Answer::Watching => Ok(Watch::new(self.lines)),
            _ => Err(unexpected("the answer to another question")),
        }
    }
}

fn unexpected(what: &str) -> Error {
    Error::Malformed { reason: format!("it is {what}") }
}
