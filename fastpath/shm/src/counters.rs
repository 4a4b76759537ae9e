//! Named numbers for people: a block for each of the two processes, so that each word has one
//! writer.
//!
//! ```text
//! word of the block   what
//!   0 ..  63          four links, 16 words each: LinkCounter
//!  64 .. 127          rejected frames by wire::Reject
//! 128 .. 255          Counter
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use wire::LinkId;

/// Most links.
pub const LINKS_MAX: usize = 4;

const LINK_WORDS: usize = 16;
const REJECTS_AT: usize = LINKS_MAX * LINK_WORDS;
const REJECT_WORDS: usize = 64;
const SCALARS_AT: usize = REJECTS_AT + REJECT_WORDS;
const SCALAR_WORDS: usize = 128;
const BLOCK: usize = SCALARS_AT + SCALAR_WORDS;

/// Whose block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// netguard-fast.
    Fast,
    /// netguard-control.
    Control,
}

macro_rules! named {
    ($(#[$m:meta])* $name:ident: $($(#[$vm:meta])* $variant:ident = $text:literal,)+) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$vm])* $variant),+ }
        impl $name {
            /// All, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name that tools print.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

named! {
    /// Counted per link. New ones go to the end.
    LinkCounter:
    /// Datagrams sent.
    Sent = "sent",
    /// Datagrams received.
    Received = "received",
    /// Not sent: no buffer.
    NoBuffer = "send_no_buffer",
    /// Not sent: network or host unreachable, or the interface down.
    Unreachable = "send_unreachable",
    /// Not sent: forbidden, by a packet filter for instance.
    Forbidden = "send_forbidden",
    /// Not sent for another reason.
    SendFailed = "send_failed",
    /// Received longer than any frame, dropped.
    Oversize = "received_oversize",
    /// Own frames that came back, dropped.
    Own = "received_own",
    /// The receive call failed.
    ReceiveFailed = "receive_failed",
    /// Sent to a node that has no address on this link.
    NoAddress = "send_no_address",
    /// Dropped, doubled or delayed on purpose (tests).
    Disturbed = "disturbed_by_test",
}

named! {
    /// Counted per process. New ones go to the end.
    Counter:
    /// Turns of the loop.
    Wakes = "wakes",
    /// Wake-ups more than 1 ms late.
    LateWakes = "late_wakes",
    /// Latest wake-up, in microseconds.
    LateMaxUs = "late_max_us",
    /// Wake-ups so late that they count as a stall (S10).
    Stalls = "stalls",
    /// Sum of all stalls, in microseconds.
    StalledUs = "stalled_us",
    /// Longest time between a wake-up and the next sleep, in microseconds.
    DutyMaxUs = "duty_max_us",
    /// Beats made (each goes out on every link).
    Beats = "beats",
    /// Answers to beats of owners.
    Answers = "answers",
    /// Obituaries sent.
    Obituaries = "obituaries",
    /// Events for control that did not fit the ring.
    EventsLost = "events_lost",
    /// Frames of a kind that does not belong on this socket.
    WrongKind = "wrong_kind",
    /// Log lines that did not fit their queue.
    LogLost = "log_lost",
    /// Requests refused because a queue was full.
    QueueFull = "queue_full",
    /// Lives told that they are outlived (R-RENUMBER).
    StaleAnswered = "stale_answered",
    /// What the heartbeat core wanted done and had no room to say.
    ActionsLost = "actions_lost",
    /// Changes of settings and peers taken while running.
    Changes = "changes",
    /// Changes that could not be believed, and had no effect.
    BadChanges = "bad_changes",
    /// Messages that fit no datagram, written to the stream.
    StreamSent = "stream_sent",
    /// Their bytes.
    StreamSentBytes = "stream_sent_bytes",
    /// Messages that came by stream.
    StreamReceived = "stream_received",
    /// Their bytes.
    StreamReceivedBytes = "stream_received_bytes",
    /// Not sent, because the same message was on its way already.
    StreamRepeated = "stream_repeated",
    /// Not sent or not taken: no room, or no connection.
    StreamDropped = "stream_dropped",
    /// Connections made to peers.
    StreamConnected = "stream_connected",
    /// Connections to peers that ended or could not be made.
    StreamBroken = "stream_broken",
    /// Of those: no progress for too long.
    StreamStalled = "stream_stalled",
    /// Connections refused: from no configured address, too many, or nobody said who speaks.
    StreamStrangers = "stream_strangers",
    /// How long the peers may have to wait for this node's next beat, in microseconds; 0 while too little is measured.
    DetectionBudgetUs = "detection_budget_us",
}

const _: () = assert!(LinkCounter::ALL.len() <= LINK_WORDS && Counter::ALL.len() <= SCALAR_WORDS);
const _: () = assert!(wire::Reject::COUNT <= REJECT_WORDS);

/// The page of numbers.
#[repr(C)]
#[derive(Debug)]
pub struct Counters([[AtomicU64; BLOCK]; 2]);

impl Counters {
    /// Adds one to a process's counter.
    pub fn count(&self, side: Side, counter: Counter) {
        self.add(side, counter, 1);
    }
    /// Adds `n` to a process's counter.
    pub fn add(&self, side: Side, counter: Counter, n: u64) {
        self.block(side)[SCALARS_AT + counter as usize].fetch_add(n, Ordering::Relaxed);
    }
    /// Raises a process's counter to `value` if it is lower.
    pub fn raise(&self, side: Side, counter: Counter, value: u64) {
        self.block(side)[SCALARS_AT + counter as usize].fetch_max(value, Ordering::Relaxed);
    }
    /// Stores a process's counter as one of its threads keeps it.
    pub fn set(&self, side: Side, counter: Counter, value: u64) {
        self.block(side)[SCALARS_AT + counter as usize].store(value, Ordering::Relaxed);
    }
    /// Adds one to the frames rejected for `reason`.
    pub fn reject(&self, side: Side, reason: wire::Reject) {
        self.add_rejects(side, reason, 1);
    }
    /// Adds `n` to the frames rejected for `reason`.
    pub fn add_rejects(&self, side: Side, reason: wire::Reject, n: u64) {
        if let Some(word) = self.block(side).get(REJECTS_AT + reason.index()) {
            word.fetch_add(n, Ordering::Relaxed);
        }
    }
    /// Stores a link's count as the link itself keeps it.
    pub fn set_link(&self, side: Side, link: LinkId, counter: LinkCounter, value: u64) {
        let link = usize::from(link.0);
        if link < LINKS_MAX {
            self.block(side)[link * LINK_WORDS + counter as usize].store(value, Ordering::Relaxed);
        }
    }

    /// One process's counter.
    pub fn get(&self, side: Side, counter: Counter) -> u64 {
        self.block(side)[SCALARS_AT + counter as usize].load(Ordering::Relaxed)
    }
    /// Frames that one process rejected for `reason`.
    pub fn rejected(&self, side: Side, reason: wire::Reject) -> u64 {
        self.block(side)
            .get(REJECTS_AT + reason.index())
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }
    /// A link's count.
    pub fn link(&self, side: Side, link: LinkId, counter: LinkCounter) -> u64 {
        let link = usize::from(link.0);
        if link >= LINKS_MAX {
            return 0;
        }
        self.block(side)[link * LINK_WORDS + counter as usize].load(Ordering::Relaxed)
    }

    /// Every number with its name, as `fast.link0.sent`, `control.reject.forged`, `fast.stalls`.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        [(Side::Fast, "fast"), (Side::Control, "control")].into_iter().flat_map(
            move |(side, who)| {
                let scalars = Counter::ALL
                    .iter()
                    .map(move |&c| (format!("{who}.{}", c.name()), self.get(side, c)));
                let links = (0..LINKS_MAX as u8).flat_map(move |n| {
                    LinkCounter::ALL.iter().map(move |&c| {
                        (format!("{who}.link{n}.{}", c.name()), self.link(side, LinkId(n), c))
                    })
                });
                let rejects = wire::Reject::ALL
                    .iter()
                    .map(move |&r| (format!("{who}.reject.{}", r.name()), self.rejected(side, r)));
                scalars.chain(links).chain(rejects)
            },
        )
    }

    fn block(&self, side: Side) -> &[AtomicU64; BLOCK] {
        &self.0[side as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, LinkCounter, Side};
    use crate::map::Map;
    use std::collections::BTreeMap;
    use wire::LinkId;

    #[test]
    fn every_number_has_a_name_of_its_own_and_a_word_of_its_own() {
        let map = Map::nameless().unwrap();
        let counters = map.counters();
        counters.count(Side::Fast, Counter::Stalls);
        counters.add(Side::Control, Counter::Stalls, 5);
        counters.raise(Side::Fast, Counter::DutyMaxUs, 90);
        counters.raise(Side::Fast, Counter::DutyMaxUs, 70);
        counters.set_link(Side::Fast, LinkId(3), LinkCounter::Sent, 11);
        counters.set_link(Side::Fast, LinkId(4), LinkCounter::Sent, 12);
        let reason = wire::Reject::ALL[wire::Reject::COUNT - 1];
        counters.reject(Side::Control, reason);
        let all: Vec<_> = counters.iter().collect();
        let named: BTreeMap<_, _> = all.iter().cloned().collect();
        assert_eq!(named.len(), all.len());
        assert_eq!(named["fast.stalls"], 1);
        assert_eq!(named["control.stalls"], 5);
        assert_eq!(named["fast.duty_max_us"], 90);
        assert_eq!(named["fast.link3.sent"], 11);
        assert_eq!(named[&format!("control.reject.{}", reason.name())], 1);
        assert_eq!(named.values().filter(|&&n| n != 0).count(), 5);
    }
}
