//! Who may reclaim: the clients with NFSv4 state and the hosts with NFSv3 locks of one service.
//!
//! The ledger lies on the service's own volume, written whole and durably before the kernel hears
//! that a client is remembered. So it is exactly as old as the data it goes with, on whichever node
//! the volume is mounted, and needs no replication of its own. It survives two crashes in a row: a
//! client that has not yet reclaimed stays in it as `before` until grace has ended.

use crate::nfsd::upcall::{Client, LONGEST_NAME};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const HEAD: &str = "netguard nfs ledger 1";
/// More clients or hosts than this are refused: the ledger is written whole each time.
pub const MOST: usize = 16_384;
/// No ledger of that many lines is longer.
const LONGEST: u64 = 64 << 20;

/// Since when a client is in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It held state before the last takeover and has not yet reclaimed it.
    Before,
    /// It holds state that this instance gave it.
    Now,
}

/// Why a ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The file.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is no line of a ledger: set aside, never half used.
    #[error("line {line} of the ledger is not understood")]
    Malformed {
        /// Counted from one.
        line: usize,
    },
    /// Too many entries.
    #[error("more than {MOST} clients or hosts")]
    Full,
}

/// A host with NFSv3 locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Host {
    standing: Standing,
    /// What lockd wants to hear when the host restarts; of the lockd that gave it only.
    cookie: [u8; 16],
}

/// The ledger of one service.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ledger {
    /// The state number that hosts with NFSv3 locks are told; odd, larger after each takeover.
    pub state: i32,
    clients: BTreeMap<Client, Standing>,
    hosts: BTreeMap<String, Host>,
}

impl Ledger {
    /// An instance takes over: everyone has to reclaim.
    pub fn take(&mut self) {
        self.state = (self.state.wrapping_add(2) | 1).max(1);
        self.clients.values_mut().for_each(|standing| *standing = Standing::Before);
        self.hosts.values_mut().for_each(|host| host.standing = Standing::Before);
    }

    /// Grace has ended: who did not reclaim may not any more. Says whether anything changed.
    pub fn end_grace(&mut self) -> bool {
        let before = self.clients.len();
        self.clients.retain(|_, standing| *standing == Standing::Now);
        before != self.clients.len()
    }

    /// A client holds state of this instance. Says whether anything changed.
    pub fn remember(&mut self, client: Client) -> Result<bool, LedgerError> {
        if self.clients.len() >= MOST && !self.clients.contains_key(&client) {
            return Err(LedgerError::Full);
        }
        Ok(self.clients.insert(client, Standing::Now) != Some(Standing::Now))
    }

    /// A client is gone. The kernel does not name its principal then.
    pub fn forget(&mut self, name: &[u8]) -> bool {
        let before = self.clients.len();
        self.clients.retain(|client, _| client.name != name);
        before != self.clients.len()
    }

    /// A host has NFSv3 locks; its cookie goes back to lockd when the host restarts.
    pub fn watch(&mut self, host: &str, cookie: [u8; 16]) -> Result<bool, LedgerError> {
        if self.hosts.len() >= MOST && !self.hosts.contains_key(host) {
            return Err(LedgerError::Full);
        }
        let now = Host { standing: Standing::Now, cookie };
        Ok(self.hosts.insert(host.to_owned(), now).is_none())
    }

    /// The time to reclaim NFSv3 locks is over. Says whether anything changed.
    pub fn end_locks(&mut self) -> bool {
        let before = self.hosts.len();
        self.hosts.retain(|_, host| host.standing == Standing::Now);
        before != self.hosts.len()
    }

    /// A host has no NFSv3 locks any more.
    pub fn unwatch(&mut self, host: &str) -> bool {
        self.hosts.remove(host).is_some()
    }

    /// The cookie of a host.
    #[must_use]
    pub fn cookie(&self, host: &str) -> Option<[u8; 16]> {
        self.hosts.get(host).map(|host| host.cookie)
    }

    /// Every client, and its standing.
    pub fn clients(&self) -> impl Iterator<Item = (&Client, Standing)> {
        self.clients.iter().map(|(client, standing)| (client, *standing))
    }

    /// Whether every client that held state before the takeover has reclaimed it.
    #[must_use]
    pub fn clients_back(&self) -> bool {
        self.clients.values().all(|standing| *standing == Standing::Now)
    }

    /// Whether every host that had NFSv3 locks before the takeover has asked for some again.
    #[must_use]
    pub fn hosts_back(&self) -> bool {
        self.hosts.values().all(|host| host.standing == Standing::Now)
    }

    /// Every host with NFSv3 locks.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    /// As text, one entry a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\nstate {}\n", self.state);
        for (client, standing) in &self.clients {
            let word = if *standing == Standing::Now { "now" } else { "before" };
            let _ = writeln!(text, "{word} {} {}", hex(&client.name), hex(&client.principal));
        }
        for host in self.hosts.keys() {
            let _ = writeln!(text, "host {}", hex(host.as_bytes()));
        }
        text.push_str("end\n");
        text
    }

    /// From text; whole or not at all.
    pub fn from_text(text: &str) -> Result<Self, LedgerError> {
        let malformed = |line: usize| LedgerError::Malformed { line: line + 1 };
        let mut ledger = Self::default();
        let (mut head, mut end) = (false, false);
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(' ');
            let entry = (words.next(), words.next(), words.next(), words.next());
            match entry {
                _ if number == 0 && line == HEAD => head = true,
                _ if !head || end => return Err(malformed(number)),
                (Some("state"), Some(state), None, None) => {
                    ledger.state = state.parse().map_err(|_| malformed(number))?;
                }
                (Some(word @ ("now" | "before")), Some(name), Some(principal), None) => {
                    let name = unhex(name, LONGEST_NAME).ok_or(malformed(number))?;
                    let principal = unhex(principal, 32).ok_or(malformed(number))?;
                    let standing = if word == "now" { Standing::Now } else { Standing::Before };
                    ledger.clients.insert(Client { name, principal }, standing);
                }
                (Some("host"), Some(host), None, None) => {
                    let host = unhex(host, LONGEST_NAME).ok_or(malformed(number))?;
                    let host = String::from_utf8(host).map_err(|_| malformed(number))?;
                    let before = Host { standing: Standing::Before, cookie: [0; 16] };
                    ledger.hosts.insert(host, before);
                }
                (Some("end"), None, None, None) => end = true,
                _ => return Err(malformed(number)),
            }
            if ledger.clients.len().max(ledger.hosts.len()) > MOST {
                return Err(LedgerError::Full);
            }
        }
        if end { Ok(ledger) } else { Err(malformed(text.lines().count())) }
    }

    /// Reads it; a volume that never had one has an empty one.
    pub fn load(path: &Path) -> Result<Self, LedgerError> {
        let io = |doing| move |source| LedgerError::Io { doing, path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(io("open")(e)),
        };
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(io("read"))?;
        Self::from_text(&text)
    }

    /// Writes it durably: beside the old one, then in its place.
    pub fn store(&self, path: &Path) -> Result<(), LedgerError> {
        let io = |doing| move |source| LedgerError::Io { doing, path: path.to_owned(), source };
        let beside = path.with_extension("new");
        let mut file = File::create(&beside).map_err(io("create"))?;
        file.write_all(self.to_text().as_bytes()).map_err(io("write"))?;
        file.sync_all().map_err(io("sync"))?;
        fs::rename(&beside, path).map_err(io("rename"))?;
        let folder = path.parent().unwrap_or(path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync the folder of"))
    }
}

/// Bytes as hexadecimal digits; nothing is a dash, so that a line keeps its words.
fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from hexadecimal digits, at most `longest` of them.
fn unhex(text: &str, longest: usize) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(vec![]);
    }
    if !text.len().is_multiple_of(2) || text.len() > 2 * longest {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Ledger, LedgerError, Standing};
    use crate::nfsd::upcall::Client;

    fn client(name: &str) -> Client {
        Client { name: name.as_bytes().to_vec(), principal: vec![] }
    }

    fn standings(ledger: &Ledger) -> Vec<Standing> {
        ledger.clients().map(|(_, standing)| standing).collect()
    }

    #[test]
    fn a_ledger_comes_back_whole() {
        let mut ledger = Ledger::default();
        ledger.remember(client("Linux NFSv4.1 c")).unwrap();
        ledger.take();
        ledger.remember(Client { name: vec![0, 255], principal: vec![7; 32] }).unwrap();
        ledger.watch("10.20.0.4", [1; 16]).unwrap();
        let mut back = Ledger::from_text(&ledger.to_text()).unwrap();
        assert_eq!(back.hosts().collect::<Vec<_>>(), ["10.20.0.4"]);
        assert!(back.clients().eq(ledger.clients()));
        assert!(!back.hosts_back());
        assert!(back.end_locks(), "a host in a file is one that has yet to reclaim");
    }

    #[test]
    fn every_piece_of_a_ledger_is_refused() {
        let mut ledger = Ledger::default();
        ledger.remember(client("c")).unwrap();
        let text = ledger.to_text();
        for length in 0..text.len() - 1 {
            assert!(
                matches!(Ledger::from_text(&text[..length]), Err(LedgerError::Malformed { .. })),
                "{length} bytes of it were taken for a whole one"
            );
        }
    }

    #[test]
    fn who_did_not_reclaim_may_still_after_a_second_crash_but_not_after_grace() {
        let mut ledger = Ledger::default();
        ledger.remember(client("quick")).unwrap();
        ledger.remember(client("slow")).unwrap();
        ledger.take();
        assert!(ledger.remember(client("quick")).unwrap());
        ledger.take();
        assert_eq!(standings(&ledger), [Standing::Before, Standing::Before]);
        assert!(ledger.remember(client("quick")).unwrap());
        assert!(!ledger.clients_back(), "grace has to wait for the slow one");
        assert!(ledger.end_grace());
        assert!(ledger.clients_back());
        assert_eq!(ledger.clients().map(|(c, _)| c).collect::<Vec<_>>(), [&client("quick")]);
        assert!(!ledger.remember(client("quick")).unwrap(), "nothing new, nothing to store");
    }

    #[test]
    fn the_state_number_is_odd_and_grows() {
        let mut ledger = Ledger::default();
        let numbers: Vec<i32> = (0..3)
            .map(|_| {
                ledger.take();
                ledger.state
            })
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        assert!(numbers.iter().all(|number| number % 2 == 1), "{numbers:?}");
    }
}
