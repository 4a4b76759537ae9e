//! Asks an address every millisecond whether it answers (ICMP echo, RFC 792 and RFC 4443), and keeps when it did not.

use crate::os;
use base::{Duration, Instant};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Between two questions.
pub const EVERY: Duration = Duration::from_millis(1);
/// An answer may take so long until the next question is due all the same.
const LISTEN: std::time::Duration = std::time::Duration::from_micros(500);

/// When each question that was answered was asked, and when its answer came.
type Answers = Vec<(Instant, Instant)>;

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Pinger {
    answers: Arc<Mutex<Answers>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pinger {
    /// Begins; the thread is real-time if that is allowed.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or if there is no way to the address.
    pub fn start(address: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.connect(&SocketAddr::new(address, 0).into())?;
        socket.set_read_timeout(Some(LISTEN))?;
        let (answers, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&answers), Arc::clone(&stop));
        let v6 = address.is_ipv6();
        let thread = std::thread::spawn(move || ask(&socket, v6, &shared.0, &shared.1));
        Ok(Self { answers, stop, thread: Some(thread) })
    }

    /// What was answered so far, in the order of the answers.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The longest time in which the address did not answer: from the last question that was answered before, to the first answer
/// after. None without two answers.
#[must_use]
pub fn longest_silence(answers: &[(Instant, Instant)]) -> Option<(Instant, Duration)> {
    let gaps = answers.windows(2).map(|pair| (pair[0].0, pair[1].1.since(pair[0].0)));
    gaps.max_by_key(|(_, silence)| *silence)
}

fn ask(socket: &Socket, v6: bool, answers: &Mutex<Answers>, stop: &AtomicBool) {
    let _ = os::realtime(os::PRIORITY_OBSERVER);
    let own = std::process::id() as u16;
    let begun = os::now();
    let (mut sequence, mut due) = (0_u64, begun);
    let mut reader = socket;
    let mut bytes = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        sequence += 1;
        let asked = os::now();
        // What cannot be sent is a question without an answer.
        let _ = socket.send(&question(v6, own, sequence, asked.since(begun)));
        due += EVERY;
        while os::now() < due {
            let Ok(length) = reader.read(&mut bytes) else { break };
            if let Some(at) = answered(bytes.get(..length).unwrap_or_default(), v6, own) {
                let now = os::now();
                answers.lock().unwrap_or_else(PoisonError::into_inner).push((begun + at, now));
            }
        }
        os::sleep_until(due);
        // After a stall of this machine it does not catch up.
        due = due.max(os::now());
    }
}

/// An echo request that carries its number and when it was sent.
fn question(v6: bool, own: u16, sequence: u64, since: Duration) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[0] = if v6 { 128 } else { 8 };
    bytes[4..6].copy_from_slice(&own.to_be_bytes());
    bytes[6..8].copy_from_slice(&(sequence as u16).to_be_bytes());
    bytes[8..16].copy_from_slice(&since.0.to_be_bytes());
    if !v6 {
        // For IPv6 the kernel does it (RFC 3542).
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// When the question was asked whose answer this is, if it is one of ours. IPv4 gives its own header with it.
fn answered(bytes: &[u8], v6: bool, own: u16) -> Option<Duration> {
    let header = if v6 { 0 } else { usize::from(bytes.first()? & 0x0F) * 4 };
    let echo = bytes.get(header..header + 16)?;
    let (kind, code) = (echo[0], echo[1]);
    let reply = kind == if v6 { 129 } else { 0 } && code == 0;
    let mine = echo[4..6] == own.to_be_bytes();
    let at: [u8; 8] = echo[8..16].try_into().ok()?;
    (reply && mine).then(|| Duration(u64::from_be_bytes(at)))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::{answered, checksum, longest_silence, question};
    use base::{Duration, Instant};

    #[test]
    fn a_question_comes_back_as_its_answer() {
        let at = Duration::from_millis(7);
        let mut echo = question(false, 0xABCD, 65_537, at);
        assert_eq!(checksum(&echo), 0, "the sum over all with its sum is zero");
        let mut packet = vec![0x45];
        packet.resize(20, 0);
        echo[0] = 0;
        packet.extend(echo);
        assert_eq!(answered(&packet, false, 0xABCD), Some(at));
        assert_eq!(answered(&packet, false, 0xABCE), None, "somebody else's");
        assert_eq!(answered(&packet[..30], false, 0xABCD), None);
        assert_eq!(answered(&[], false, 0xABCD), None);
        let mut echo = question(true, 1, 2, at);
        echo[0] = 129;
        assert_eq!(answered(&echo, true, 1), Some(at));
    }

    #[test]
    fn silence_is_from_the_last_question_that_was_answered_to_the_next_answer() {
        let at = |asked: u64, came: u64| (Instant(asked), Instant(came));
        let answers = [at(0, 1), at(10, 11), at(40, 42), at(50, 51)];
        assert_eq!(longest_silence(&answers), Some((Instant(10), Duration(32))));
        assert_eq!(longest_silence(&answers[..1]), None);
    }
}
