//! The local socket: JSON lines from `ng` and applications, on a thread of its own.
//!
//! The thread owns sockets and text; it asks the event loop through a bounded channel and gets
//! structs back. A client that sends too much, reads too slowly or says nonsense loses its
//! connection or its events, never the daemon its time.

use crate::connection::{Connection, Input};
use crate::system::{Poll, Wake};
use api::{ErrorCode, EventKind, Refusal, Reply, ReplyBody, Request};
use base::{Duration, Instant};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// Connections at a time; the next one is told to come later.
const CLIENTS_MAX: usize = 32;
/// Questions that may wait at the event loop.
const ASKS_MAX: usize = 64;
/// Answers and events that may wait at this thread.
const TELLS_MAX: usize = 1_024;
/// Connections taken per cycle.
const ACCEPTS_MAX: usize = 8;
/// An order that is not agreed by then is answered "not yet, but maybe later"; below the client's
/// own limit.
const ANSWER_WAIT: Duration = Duration::from_millis(4_000);

/// The stack of this thread; all of it is locked in memory.
const STACK: usize = 256 * 1024;

/// A question to the event loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Goes back with the answer.
    pub token: u64,
    /// What is asked.
    pub request: Request,
}

/// What the event loop says.
#[derive(Clone, PartialEq, Debug)]
pub enum Tell {
    /// The answer to one question.
    Answer {
        /// The question's token.
        token: u64,
        /// The answer.
        body: ReplyBody,
    },
    /// Something happened.
    Event(api::Event),
}

/// The event loop's end.
#[derive(Debug)]
pub struct Server {
    /// Questions.
    pub asks: Receiver<Ask>,
    tells: Sender<Tell>,
    wake: Arc<Wake>,
    /// Numbers of events, also of those that nobody hears.
    next_event: u64,
}

impl Server {
    /// Opens the socket and starts the thread. `wake_loop` is woken with every question.
    pub fn start(run_dir: &Path, wake_loop: Arc<Wake>) -> io::Result<Self> {
        let path = run_dir.join(api::SOCKET_NAME);
        // The run directory is locked by the daemon that started us: a socket here is a dead one's.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
        listener.set_nonblocking(true)?;
        let (to_loop, asks) = bounded(ASKS_MAX);
        let (tells, from_loop) = bounded(TELLS_MAX);
        let wake = Arc::new(Wake::new()?);
        let own = Arc::clone(&wake);
        let mut worker = Worker {
            listener,
            to_loop,
            from_loop,
            wake: own,
            wake_loop,
            clients: BTreeMap::new(),
            pending: BTreeMap::new(),
            next: 0,
        };
        let thread = std::thread::Builder::new().name("api".into()).stack_size(STACK);
        thread.spawn(move || worker.run())?;
        Ok(Self { asks, tells, wake, next_event: 0 })
    }

    /// Answers one question; never waits. An answer that finds no room is a timeout for the client.
    pub fn answer(&self, token: u64, body: ReplyBody) {
        let _ = self.tells.try_send(Tell::Answer { token, body });
        self.wake.wake();
    }
    /// Tells all who watch; never waits. What finds no room is a gap in the numbers.
    pub fn publish(&mut self, at: Instant, unix_ms: u64, event: EventKind) {
        self.next_event += 1;
        let event = api::Event { seq: self.next_event, at_ns: at.0, unix_ms, event };
        let _ = self.tells.try_send(Tell::Event(event));
        self.wake.wake();
    }
}

/// A question under way.
struct Pending {
    client: u64,
    id: u64,
    until: Instant,
}

struct Worker {
    listener: UnixListener,
    to_loop: Sender<Ask>,
    from_loop: Receiver<Tell>,
    wake: Arc<Wake>,
    wake_loop: Arc<Wake>,
    clients: BTreeMap<u64, Connection>,
    pending: BTreeMap<u64, Pending>,
    /// Number of the next client or question.
    next: u64,
}

impl Worker {
    fn run(&mut self) {
        let mut poll = Poll::default();
        loop {
            poll.clear();
            poll.add(self.wake.fd());
            poll.add(self.listener.as_raw_fd());
            for client in self.clients.values() {
                poll.add_for(client.fd(), client.wants_to_read(), client.wants_to_write());
            }
            let next = self.pending.values().map(|p| p.until).min();
            let limit = next.map(|at| at.since(crate::system::now()));
            if poll.wait(limit).is_err() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            self.wake.clear();
            if !self.drain_tells() {
                return;
            }
            let numbers: Vec<u64> = self.clients.keys().copied().collect();
            for (place, number) in numbers.into_iter().enumerate() {
                if poll.ready(place + 2) {
                    self.serve(number);
                }
            }
            self.expire(crate::system::now());
            self.accept();
            self.clients.retain(|_, client| client.flush());
        }
    }

    /// Hands answers and events on; false when the event loop is gone.
    fn drain_tells(&mut self) -> bool {
        for _ in 0..TELLS_MAX {
            match self.from_loop.try_recv() {
                Ok(Tell::Answer { token, body }) => self.reply(token, body),
                Ok(Tell::Event(event)) => {
                    for client in self.clients.values_mut() {
                        client.tell_event(&event);
                    }
                }
                Err(crossbeam_channel::TryRecvError::Empty) => return true,
                Err(crossbeam_channel::TryRecvError::Disconnected) => return false,
            }
        }
        self.wake.wake();
        true
    }

    fn reply(&mut self, token: u64, body: ReplyBody) {
        let Some(Pending { client, id, .. }) = self.pending.remove(&token) else { return };
        if let Some(client) = self.clients.get_mut(&client) {
            client.send(&Reply { version: api::VERSION, id, body });
        }
    }

    fn serve(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let mut lines = Vec::new();
        if client.read(&mut lines) == Input::Closed {
            self.clients.remove(&number);
            self.pending.retain(|_, p| p.client != number);
            return;
        }
        for line in lines {
            self.ask(number, &line);
        }
    }

    fn ask(&mut self, number: u64, line: &[u8]) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let (id, request) = match api::parse_request(line) {
            Ok(line) => (line.id, line.request),
            Err(reply) => return client.send(&reply),
        };
        if request == Request::Watch {
            client.watch(id);
            return client.send(&Reply::answer(id, api::Answer::Watching));
        }
        self.next += 1;
        let token = self.next;
        match self.to_loop.try_send(Ask { token, request }) {
            Ok(()) => {
                let until = crate::system::now() + ANSWER_WAIT;
                self.pending.insert(token, Pending { client: number, id, until });
                self.wake_loop.wake();
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let text = "too many questions are waiting";
                let refusal = Refusal::new(ErrorCode::Busy, text, "try again in a moment");
                client.send(&Reply::error(id, refusal));
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let due = self.pending.iter().filter(|(_, p)| now >= p.until).map(|(token, _)| *token);
        for token in due.collect::<Vec<_>>() {
            let refusal = Refusal::new(
                ErrorCode::Timeout,
                "it was not agreed in time; it may still be",
                "look at `ng status`: without a quorum nothing is agreed",
            );
            self.reply(token, ReplyBody::Error(refusal));
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Ok((stream, _)) = self.listener.accept() else { return };
            let Ok(mut client) = Connection::new(stream) else { continue };
            if self.clients.len() >= CLIENTS_MAX {
                let text = format!("{CLIENTS_MAX} clients are connected already");
                let refusal = Refusal::new(ErrorCode::Busy, text, "close one of them");
                client.send(&Reply::error(0, refusal));
                client.flush();
                continue;
            }
            self.next += 1;
            self.clients.insert(self.next, client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Server;
    use crate::system::{Poll, Wake};
    use crate::test_folder::TestFolder;
    use api::{Answer, EventKind, Members, ReplyBody, Request};
    use base::Instant;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    struct Bench {
        server: Server,
        wake: Arc<Wake>,
        client: BufReader<UnixStream>,
        _dir: TestFolder,
    }

    fn bench(name: &str) -> Bench {
        let dir = TestFolder::new(&format!("server-{name}"));
        let wake = Arc::new(Wake::new().unwrap());
        let server = Server::start(&dir, Arc::clone(&wake)).unwrap();
        let stream = UnixStream::connect(dir.join(api::SOCKET_NAME)).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        Bench { server, wake, client: BufReader::new(stream), _dir: dir }
    }

    impl Bench {
        fn send(&mut self, text: &str) {
            self.client.get_mut().write_all(text.as_bytes()).unwrap();
        }
        fn line(&mut self) -> api::Reply {
            let mut line = String::new();
            self.client.read_line(&mut line).unwrap();
            api::parse_reply(line.as_bytes()).unwrap()
        }
        fn question(&self) -> super::Ask {
            let mut poll = Poll::default();
            poll.add(self.wake.fd());
            poll.wait(None).unwrap();
            self.wake.clear();
            self.server.asks.try_recv().unwrap()
        }
    }

    #[test]
    fn a_question_goes_to_the_loop_and_its_answer_comes_back() {
        let mut bench = bench("question");
        let text = api::encode_request(7, Request::Members);
        let (a, b) = text.split_at(9);
        bench.send(a);
        bench.send(b);
        let ask = bench.question();
        assert_eq!(ask.request, Request::Members);
        let answer = Answer::Members(Members { view: 3, ..Members::default() });
        bench.server.answer(ask.token, ReplyBody::Answer(answer.clone()));
        let reply = bench.line();
        assert_eq!((reply.id, reply.body), (7, ReplyBody::Answer(answer)));
    }

    #[test]
    fn nonsense_is_answered_and_a_line_without_end_closes() {
        let mut bench = bench("nonsense");
        bench.send("hello\n");
        assert!(matches!(bench.line().body, ReplyBody::Error(_)));
        bench.send(&"x".repeat(api::REQUEST_LINE_MAX + 2));
        assert!(matches!(bench.line().body, ReplyBody::Error(_)));
        assert_eq!(bench.client.read_line(&mut String::new()).unwrap(), 0, "closed");
    }

    #[test]
    fn who_watches_hears_what_happens() {
        let mut bench = bench("watch");
        bench.send(&api::encode_request(5, Request::Watch));
        assert!(matches!(bench.line().body, ReplyBody::Answer(Answer::Watching)));
        bench.server.publish(Instant(9), 1, EventKind::Dropped { count: 2 });
        let reply = bench.line();
        let ReplyBody::Event(event) = reply.body else { panic!("{reply:?}") };
        assert_eq!((reply.id, event.seq, event.at_ns), (5, 1, 9));
    }

    #[test]
    fn a_second_start_takes_the_place_of_a_dead_ones_socket() {
        let first = bench("again");
        drop(first);
        bench("again");
    }
}
