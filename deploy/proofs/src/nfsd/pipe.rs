//! The tracker's pipe: a thread that reads nfsd's questions and does what the tracker says.

use crate::nfsd::ledger::{Ledger, LedgerError};
use crate::nfsd::tracker::{Action, Tracker};
use crate::nfsd::upcall::{LENGTH_2, Upcall};
use crate::takeover::resident::now;
use base::Instant;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
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

/// Serves the pipe for as long as the process lives.
pub fn serve(book: Shared, news: SyncSender<News>) {
    thread::spawn(move || {
        loop {
            match OpenOptions::new().read(true).write(true).open(Path::new(PIPE)) {
                Ok(mut pipe) => answer_all(&mut pipe, &book, &news),
                Err(_) => thread::sleep(LOOK),
            }
        }
    });
}

/// Answers questions until nfsd closes the pipe.
fn answer_all(pipe: &mut File, book: &Shared, news: &SyncSender<News>) {
    let mut bytes = [0; LENGTH_2];
    while readable(pipe) {
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
fn readable(pipe: &File) -> bool {
    let mut wait = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `wait` is one valid pollfd, and the descriptor lives as long as `pipe`.
    while unsafe { libc::poll(&raw mut wait, 1, -1) } < 0 {
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return false;
        }
    }
    wait.revents & (libc::POLLHUP | libc::POLLERR) == 0
}
