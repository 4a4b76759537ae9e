//! What the client tracker answers, without any input or output: the kernel's questions go in,
//! messages to write and the ledger to store come out.
//!
//! A *standing* instance knows one client only, its own keeper. With one client outstanding the
//! kernel begins grace and does not end it by itself. When the instance takes over, the ledger is
//! loaded and the keeper completes its reclaim; in the kernel's question that follows, the tracker
//! tells the clients of the ledger. From then on the kernel counts them, and ends grace itself
//! with the last one's RECLAIM_COMPLETE.

use crate::nfsd::ledger::{Ledger, LedgerError};
use crate::nfsd::upcall::{Client, Command, Upcall, UpcallError};

/// A client of this name never completes: with it grace lasts until it is ended by order.
const LOCKS: &[u8] = b"netguard: NFSv3 locks are being reclaimed";

/// What the caller does, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Store the ledger durably before going on; if that fails, answer with an error.
    Store,
    /// Write this to the pipe.
    Write(Vec<u8>),
    /// The keeper has been let go: this many clients may reclaim.
    Told(usize),
    /// Grace has ended.
    GraceEnded,
}

/// The tracker of one instance.
#[derive(Debug)]
pub struct Tracker {
    keeper: Vec<u8>,
    /// While it stands by, the kernel is told only of the keeper.
    standing: bool,
    /// How often nfsd has asked who may reclaim.
    starts: u64,
    ledger: Ledger,
}

impl Tracker {
    /// A tracker that stands by.
    #[must_use]
    pub fn new(keeper: &[u8]) -> Self {
        Self { keeper: keeper.to_vec(), standing: true, starts: 0, ledger: Ledger::default() }
    }

    /// How often nfsd has asked who may reclaim. An nfsd that starts without asking has given this
    /// tracker up and uses another, which knows nobody.
    #[must_use]
    pub const fn starts(&self) -> u64 {
        self.starts
    }

    /// The ledger.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ledger, to be changed by the status monitor.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The service comes to this node: its ledger as the last owner left it.
    pub fn take(&mut self, ledger: Ledger) {
        self.ledger = ledger;
        self.ledger.take();
        self.standing = false;
    }

    /// The service has left this node.
    pub fn stand_by(&mut self) {
        self.ledger = Ledger::default();
        self.standing = true;
    }

    /// Answers one question.
    pub fn handle(&mut self, upcall: &Upcall) -> Result<Vec<Action>, UpcallError> {
        Ok(match upcall.command {
            Command::GetVersion => vec![Action::Write(upcall.answer(0))],
            Command::GraceStart => self.grace_start(upcall),
            Command::Create => self.create(upcall)?,
            Command::Remove => {
                let changed = self.ledger.forget(&upcall.client()?.name);
                stored(changed, upcall.answer(0))
            }
            Command::Check => {
                let asked = upcall.client()?;
                let known = self.ledger.clients().any(|(client, _)| *client == asked);
                vec![Action::Write(upcall.answer(if known { 0 } else { -(libc::ENOENT as i16) }))]
            }
            Command::GraceDone => {
                let changed = self.ledger.end_grace();
                let mut actions = stored(changed, upcall.answer(0));
                actions.push(Action::GraceEnded);
                actions
            }
        })
    }

    fn grace_start(&mut self, upcall: &Upcall) -> Vec<Action> {
        self.starts += 1;
        let mut actions = if self.standing {
            let keeper = Client { name: self.keeper.clone(), principal: vec![] };
            vec![Action::Write(upcall.record(&keeper))]
        } else {
            self.records(upcall)
        };
        actions.push(Action::Write(upcall.answer(0)));
        actions
    }

    fn create(&mut self, upcall: &Upcall) -> Result<Vec<Action>, UpcallError> {
        let client = upcall.client()?;
        if client.name == self.keeper {
            let mut actions = self.records(upcall);
            let told = actions.len();
            actions.extend([Action::Write(upcall.answer(0)), Action::Told(told)]);
            return Ok(actions);
        }
        Ok(match self.ledger.remember(client) {
            Ok(changed) => stored(changed, upcall.answer(0)),
            Err(LedgerError::Full) => vec![Action::Write(upcall.answer(-(libc::ENOSPC as i16)))],
            Err(_) => vec![Action::Write(upcall.answer(-(libc::EIO as i16)))],
        })
    }

    fn records(&self, upcall: &Upcall) -> Vec<Action> {
        let locks = Client { name: LOCKS.to_vec(), principal: vec![] };
        let waits = self.ledger.hosts().next().is_some().then_some(&locks);
        let clients = self.ledger.clients().map(|(client, _)| client);
        clients.chain(waits).map(|client| Action::Write(upcall.record(client))).collect()
    }
}

/// The answer, after the ledger is stored if it changed.
fn stored(changed: bool, answer: Vec<u8>) -> Vec<Action> {
    let store = changed.then_some(Action::Store);
    store.into_iter().chain([Action::Write(answer)]).collect()
}

#[cfg(test)]
mod tests {
    use super::{Action, LOCKS, Tracker};
    use crate::nfsd::ledger::Ledger;
    use crate::nfsd::upcall::tests::question;
    use crate::nfsd::upcall::{Client, Command, LENGTH_2, Upcall};

    fn names(actions: &[Action]) -> Vec<Vec<u8>> {
        let records = actions.iter().filter_map(|action| match action {
            Action::Write(bytes) if bytes[2..4] == (-115_i16).to_ne_bytes() => {
                Some(Upcall::read(bytes).unwrap().client().unwrap().name)
            }
            _ => None,
        });
        records.collect()
    }

    fn ask(tracker: &mut Tracker, command: Command, name: &[u8]) -> Vec<Action> {
        tracker.handle(&question(command, name, LENGTH_2)).unwrap()
    }

    fn ledger(names: &[&[u8]]) -> Ledger {
        let mut ledger = Ledger::default();
        for name in names {
            ledger.remember(Client { name: name.to_vec(), principal: vec![] }).unwrap();
        }
        ledger
    }

    #[test]
    fn a_standing_instance_knows_only_its_keeper_so_that_grace_does_not_end() {
        let mut tracker = Tracker::new(b"keeper");
        assert_eq!(names(&ask(&mut tracker, Command::GraceStart, b"")), [b"keeper"]);
        assert_eq!(tracker.starts(), 1);
    }

    #[test]
    fn the_clients_are_told_when_the_keeper_lets_go() {
        let mut tracker = Tracker::new(b"keeper");
        tracker.take(ledger(&[b"c", b"d"]));
        let actions = ask(&mut tracker, Command::Create, b"keeper");
        assert_eq!(names(&actions), [b"c", b"d"]);
        assert_eq!(actions.last(), Some(&Action::Told(2)));
        assert!(!actions.contains(&Action::Store), "the keeper is nobody's client");
    }

    #[test]
    fn hosts_with_old_locks_hold_grace() {
        let mut tracker = Tracker::new(b"keeper");
        let mut ledger = ledger(&[b"c"]);
        ledger.watch("10.20.0.4", [1; 16]).unwrap();
        tracker.take(ledger);
        assert_eq!(names(&ask(&mut tracker, Command::Create, b"keeper")), [b"c", LOCKS]);
    }

    #[test]
    fn a_client_is_stored_before_the_kernel_hears_that_it_is_remembered() {
        let mut tracker = Tracker::new(b"keeper");
        tracker.take(Ledger::default());
        let first = ask(&mut tracker, Command::Create, b"c");
        assert!(matches!(first.as_slice(), [Action::Store, Action::Write(_)]), "{first:?}");
        let again = ask(&mut tracker, Command::Create, b"c");
        assert!(matches!(again.as_slice(), [Action::Write(_)]), "{again:?}");
    }

    #[test]
    fn the_end_of_grace_drops_who_did_not_come() {
        let mut tracker = Tracker::new(b"keeper");
        tracker.take(ledger(&[b"c", b"gone"]));
        ask(&mut tracker, Command::Create, b"c");
        let actions = ask(&mut tracker, Command::GraceDone, b"");
        assert!(actions.contains(&Action::Store));
        assert_eq!(actions.last(), Some(&Action::GraceEnded));
        assert_eq!(tracker.ledger().clients().count(), 1);
    }
}
