//! The tracker's pipe: a thread that reads nfsd's questions and does what the tracker says.

use crate::nfsd::ledger::{Ledger, LedgerError};
use crate::nfsd::tracker::{Action, Tracker};
use crate::nfsd::upcall::{LENGTH_2, Upcall};
use crate::takeover::resident::now;
use base::Instant;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Where `rpc_pipefs` has the pipe. nfsd makes it when it starts and removes it when it stops.
pub const PIPE: &str = "/run/rpc_pipefs/nfsd/cld";
/// nfsd looks for a reader every 100 ms.
const LOOK: Duration = Duration::from_millis(5);

/// What the tracker's thread reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// The keeper has been let go: this many clients may reclaim.
    Told(usize),
    /// Grace has ended.
    GraceEnded(Instant),
    /// A host has acknowledged that it must reclaim its NFSv3 locks.
    Noticed(String, Instant),
    /// Something went wrong; the service goes on.
    Trouble(String),
}

/// The tracker as its threads share it, and where its ledger is stored.
#[derive(Debug)]
pub struct Book {
    /// The tracker.
    pub tracker: Tracker,
    /// The ledger's file; none while the instance stands by.
    pub file: Option<PathBuf>,
}

/// Shared between the pipe, the status monitor and the orders.
pub type Shared = Arc<Mutex<Book>>;

/// The book; what a thread that died has left is whole, because the file is.
pub fn open(book: &Shared) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// Stores the ledger durably; an instance that stands by has none.
    pub fn store(&self) -> Result<(), LedgerError> {
        self.file.as_ref().map_or(Ok(()), |file| self.tracker.ledger().store(file))
    }

    /// The service comes to this node.
    pub fn take(&mut self, file: PathBuf) -> Result<(), LedgerError> {
        self.tracker.take(Ledger::load(&file)?);
        self.file = Some(file);
        Ok(())
    }
}

/// Tells the pipe's thread that nfsd was stopped: the kernel does not wake those who wait at a pipe
/// that it removes.
#[derive(Debug)]
pub struct Stopped(UnixStream);

impl Stopped {
    /// Told after each stop, before the next start.
    pub fn tell(&mut self) -> io::Result<()> {
        self.0.write_all(&[0])
    }
}

/// Serves the pipe for as long as the process lives.
pub fn serve(book: Shared, news: SyncSender<News>) -> io::Result<Stopped> {
    let (mut stopped, teller) = UnixStream::pair()?;
    stopped.set_nonblocking(true)?;
    thread::spawn(move || {
        loop {
            match OpenOptions::new().read(true).write(true).open(Path::new(PIPE)) {
                Ok(mut pipe) => answer_all(&mut pipe, &mut stopped, &book, &news),
                Err(_) => thread::sleep(LOOK),
            }
        }
    });
    Ok(Stopped(teller))
}

/// Answers questions until nfsd is stopped.
fn answer_all(pipe: &mut File, stopped: &mut UnixStream, book: &Shared, news: &SyncSender<News>) {
    let mut bytes = [0; LENGTH_2];
    while readable(pipe, stopped) {
        let Ok(length) = pipe.read(&mut bytes) else { return };
        let upcall = bytes.get(..length).map(Upcall::read);
        let Some(Ok(upcall)) = upcall else {
            let _ = news.try_send(News::Trouble(format!("{upcall:?}")));
            continue;
        };
        let mut book = open(book);
        match book.tracker.handle(&upcall) {
            Ok(actions) => perform(&actions, &upcall, pipe, &book, news),
            Err(e) => {
                let _ = pipe.write_all(&upcall.answer(-(libc::EINVAL as i16)));
                let _ = news.try_send(News::Trouble(e.to_string()));
            }
        }
    }
}

fn perform(
    actions: &[Action],
    upcall: &Upcall,
    pipe: &mut File,
    book: &Book,
    news: &SyncSender<News>,
) {
    for action in actions {
        let done = match action {
            Action::Store => book.store().map_err(|e| e.to_string()),
            Action::Write(bytes) => pipe.write_all(bytes).map_err(|e| format!("pipe: {e}")),
            Action::Told(clients) => {
                let _ = news.try_send(News::Told(*clients));
                Ok(())
            }
            Action::GraceEnded => {
                let _ = news.try_send(News::GraceEnded(now()));
                Ok(())
            }
        };
        if let Err(trouble) = done {
            let _ = news.try_send(News::Trouble(trouble));
            let _ = pipe.write_all(&upcall.answer(-(libc::EIO as i16)));
            return;
        }
    }
}

/// Waits for a question; false once the pipe is gone.
fn readable(pipe: &File, stopped: &mut UnixStream) -> bool {
    let wait = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut both = [wait(pipe.as_raw_fd()), wait(stopped.as_raw_fd())];
    // SAFETY: `both` is an array of its length, and both descriptors live through the call.
    while unsafe { libc::poll(both.as_mut_ptr(), both.len() as libc::nfds_t, -1) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
    let [question, stop] = both;
    if stop.revents != 0 {
        // Nothing more than the fact is read.
        let _ = stopped.read(&mut [0; 64]);
        return false;
    }
    question.revents & (libc::POLLHUP | libc::POLLERR) == 0
}
