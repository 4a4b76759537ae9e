//! What control tells fast while both run: other settings, other peers. One record on the set-up socket, which stays open as
//! lifeline, says the whole of it; the last one counts.
//!
//! Control writes with [`ChangeWriter`], which never waits: what the socket does not take goes out later, and a newer change
//! replaces one that has not begun to. Fast reads with [`ChangeReader`], whose memory is taken at the start. It believes
//! nothing: a record with a value that cannot be is named and has no effect; after one whose length cannot be believed
//! nothing that follows can be, so all of it is thrown away.

use crate::counters::LINKS_MAX;
use crate::error::SetupError;
use crate::setup::Setup;
use crate::setup_record::Address;
use base::Duration;
use bytemuck::{Pod, Zeroable};
use std::io::{self, Read, Write};
use std::mem::size_of;
use std::net::IpAddr;
use wire::beat::{DEADLINE_MAX, DEADLINE_MIN};
use wire::{NODES_MAX, NodeId, NodeSet};

/// Version of the record; a new one for every change of a field.
pub const CHANGE_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"NGCHANGE";
/// Magic, version and size come first and never move.
const HEAD: usize = 16;

/// What control tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Time between beats.
    pub interval: Duration,
    /// Silent intervals until a peer is suspected.
    pub misses: u32,
    /// Bound of the clock's rate error.
    pub rate_ppm: u32,
    /// Time for the store and the read of the lease word.
    pub margin: Duration,
    /// All configured nodes, this one included.
    pub nodes: NodeSet,
    /// By link: the peers' addresses, without the own.
    pub peers: Vec<Vec<(NodeId, IpAddr)>>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Record {
    magic: [u8; 8],
    version: u32,
    size: u32,
    interval: u64,
    margin: u64,
    nodes: [u64; 2],
    misses: u32,
    rate_ppm: u32,
    links: u32,
    reserved: u32,
    /// By link, then by node from 0.
    peers: [[Address; NODES_MAX]; LINKS_MAX],
}

/// The field that is wrong.
type Wrong = &'static str;

/// This node as a change must fit it.
#[derive(Clone, Copy, Debug)]
struct Place {
    me: NodeId,
    links: usize,
    /// By link: it is IPv4.
    v4: [bool; LINKS_MAX],
}

impl Place {
    fn of(setup: &Setup) -> Self {
        let mut v4 = [false; LINKS_MAX];
        for (slot, link) in v4.iter_mut().zip(&setup.links) {
            *slot = link.own.is_ipv4();
        }
        Self { me: setup.me.node, links: setup.links.len(), v4 }
    }
}

impl Record {
    fn of(change: &Change) -> Box<Self> {
        let mut record: Box<Self> = bytemuck::zeroed_box();
        (record.magic, record.version) = (MAGIC, CHANGE_VERSION);
        record.size = size_of::<Self>() as u32;
        (record.interval, record.margin) = (change.interval.0, change.margin.0);
        record.nodes = [change.nodes.0 as u64, (change.nodes.0 >> 64) as u64];
        (record.misses, record.rate_ppm) = (change.misses, change.rate_ppm);
        record.links = change.peers.len() as u32;
        for (slots, peers) in record.peers.iter_mut().zip(&change.peers) {
            for (node, address) in peers {
                slots[node.index()] = Address::of(Some(*address));
            }
        }
        record
    }

    fn nodes(&self) -> NodeSet {
        NodeSet(u128::from(self.nodes[0]) | u128::from(self.nodes[1]) << 64)
    }

    /// False if what follows cannot be found.
    fn has_head(&self) -> bool {
        self.magic == MAGIC
            && self.version == CHANGE_VERSION
            && self.size as usize == size_of::<Self>()
    }

    /// Checks every relation that fast relies on.
    fn check(&self, place: &Place) -> Result<(), Wrong> {
        let ensure = |good, field| if good { Ok(()) } else { Err(field) };
        let millisecond = Duration::from_millis(1);
        let (interval, margin) = (Duration(self.interval), Duration(self.margin));
        ensure((millisecond..=millisecond * 1_000).contains(&interval), "interval")?;
        ensure((1..=100).contains(&self.misses), "misses")?;
        let deadline = interval * u64::from(self.misses);
        ensure((DEADLINE_MIN..=DEADLINE_MAX).contains(&deadline), "deadline")?;
        ensure(self.rate_ppm <= 100_000, "rate_ppm")?;
        ensure(margin < interval, "margin")?;
        ensure(self.nodes().contains(place.me), "nodes")?;
        ensure(self.links as usize == place.links, "links")?;
        ensure(self.reserved == 0, "reserved")?;
        for (link, slots) in self.peers.iter().enumerate() {
            for (index, address) in slots.iter().enumerate() {
                let Some(address) = address.read().map_err(|_| "address family")? else { continue };
                let node = NodeId::from_index(index).filter(|node| *node != place.me);
                let known = node.is_some_and(|node| self.nodes().contains(node));
                ensure(known && link < place.links, "peers")?;
                ensure(place.v4.get(link) == Some(&address.is_ipv4()), "peer address")?;
            }
        }
        Ok(())
    }
}

/// A change that fast has read and checked.
#[derive(Clone, Copy)]
pub struct Told<'r>(&'r Record);

impl Told<'_> {
    /// Time between beats.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration(self.0.interval)
    }
    /// Silent intervals until a peer is suspected.
    #[must_use]
    pub const fn misses(&self) -> u32 {
        self.0.misses
    }
    /// Bound of the clock's rate error.
    #[must_use]
    pub const fn rate_ppm(&self) -> u32 {
        self.0.rate_ppm
    }
    /// Time for the store and the read of the lease word.
    #[must_use]
    pub const fn margin(&self) -> Duration {
        Duration(self.0.margin)
    }
    /// All configured nodes, this one included.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        self.0.nodes()
    }
    /// Where each node is on a link; none = nowhere. Every node is named, so that one that is gone is forgotten.
    pub fn peers(&self, link: usize) -> impl Iterator<Item = (NodeId, Option<IpAddr>)> + '_ {
        let slots = self.0.peers.get(link).into_iter().flatten().enumerate();
        slots.filter_map(|(index, address)| {
            Some((NodeId::from_index(index)?, address.read().ok().flatten()))
        })
    }
}

/// What a read from the socket yields.
pub enum Took<'r> {
    /// Nothing whole is there.
    Nothing,
    /// The other end is gone.
    Closed,
    /// A change.
    Change(Told<'r>),
    /// A record that cannot be; it has no effect.
    Bad(&'static str),
}

/// Fast's end.
pub struct ChangeReader {
    record: Box<Record>,
    filled: usize,
    place: Place,
    /// Where the next record begins is not known any more.
    deaf: bool,
}

impl ChangeReader {
    /// All memory that it will ever use is taken here.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let place = Place::of(setup);
        Self { record: bytemuck::zeroed_box(), filled: 0, place, deaf: false }
    }

    /// Takes at most one record from a socket that does not block. Call it again until nothing is left.
    pub fn take(&mut self, mut socket: impl Read) -> Took<'_> {
        loop {
            let bytes = bytemuck::bytes_of_mut(&mut *self.record);
            // The head first: a record of another version may have another size.
            let until = if self.filled < HEAD && !self.deaf { HEAD } else { bytes.len() };
            let from = if self.deaf { 0 } else { self.filled };
            let count = match socket.read(bytes.get_mut(from..until).unwrap_or_default()) {
                Ok(0) => return Took::Closed,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Took::Nothing,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Took::Nothing,
                Err(_) => return Took::Closed,
            };
            if self.deaf {
                continue;
            }
            self.filled += count;
            if self.filled == HEAD && !self.record.has_head() {
                self.deaf = true;
                return Took::Bad("version or size");
            }
            if self.filled == size_of::<Record>() {
                self.filled = 0;
                return match self.record.check(&self.place) {
                    Ok(()) => Took::Change(Told(&self.record)),
                    Err(field) => Took::Bad(field),
                };
            }
        }
    }
}

/// Control's end.
#[derive(Debug)]
pub struct ChangeWriter {
    place: Place,
    /// What is on its way, and how much of it is out.
    sending: Vec<u8>,
    sent: usize,
    next: Option<Vec<u8>>,
}

impl ChangeWriter {
    /// For the fast path that got this set-up.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        Self { place: Place::of(setup), sending: Vec::new(), sent: 0, next: None }
    }

    /// Takes a change to be told, instead of any that has not begun to be. One that fast would not believe is refused.
    pub fn push(&mut self, change: &Change) -> Result<(), SetupError> {
        let record = Record::of(change);
        let many = change.peers.len() > LINKS_MAX;
        let fits = if many { Err("links") } else { record.check(&self.place) };
        fits.map_err(|field| SetupError::OutOfRange { field })?;
        self.next = Some(bytemuck::bytes_of(&*record).to_vec());
        Ok(())
    }

    /// Writes as much as a socket takes that does not block; true if something is left.
    pub fn flush(&mut self, mut socket: impl Write) -> io::Result<bool> {
        loop {
            if self.sent == self.sending.len() {
                let Some(next) = self.next.take() else { return Ok(false) };
                (self.sending, self.sent) = (next, 0);
            }
            match socket.write(self.sending.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, ChangeReader, ChangeWriter, HEAD, Record, Took};
    use crate::error::SetupError;
    use crate::setup::tests::{ip, node, sample};
    use base::{Duration, Prng};
    use std::io::{Read, Write};
    use std::mem::size_of;
    use std::net::IpAddr;
    use std::os::unix::net::UnixStream;
    use wire::{NodeId, NodeSet};

    fn change(interval_ms: u64) -> Change {
        Change {
            interval: Duration::from_millis(interval_ms),
            misses: 4,
            rate_ppm: 500,
            margin: Duration::from_micros(60),
            nodes: [node(1), node(2), node(9)].into_iter().collect(),
            peers: vec![
                vec![(node(2), ip("10.0.0.2")), (node(9), ip("10.0.0.9"))],
                vec![(node(2), ip("fd00::2"))],
                vec![],
            ],
        }
    }

    /// Both ends of a socket that does not block.
    fn socket() -> (UnixStream, UnixStream) {
        let (control, fast) = UnixStream::pair().unwrap();
        control.set_nonblocking(true).unwrap();
        fast.set_nonblocking(true).unwrap();
        (control, fast)
    }

    fn written(change: &Change) -> Vec<u8> {
        let mut writer = ChangeWriter::new(&sample());
        writer.push(change).unwrap();
        let mut bytes = Vec::new();
        assert!(!writer.flush(&mut bytes).unwrap());
        bytes
    }

    /// A change as fast sees it, so that two can be compared.
    fn seen(told: &super::Told<'_>) -> Change {
        let peers = |link| -> Vec<(NodeId, IpAddr)> {
            told.peers(link).filter_map(|(node, at)| Some((node, at?))).collect()
        };
        Change {
            interval: told.interval(),
            misses: told.misses(),
            rate_ppm: told.rate_ppm(),
            margin: told.margin(),
            nodes: told.nodes(),
            peers: (0..3).map(peers).collect(),
        }
    }

    /// All that fast reads.
    fn read(reader: &mut ChangeReader, mut from: impl Read) -> (Vec<Change>, Vec<&'static str>) {
        let (mut changes, mut bad) = (vec![], vec![]);
        loop {
            match reader.take(&mut from) {
                Took::Nothing | Took::Closed => return (changes, bad),
                Took::Change(told) => changes.push(seen(&told)),
                Took::Bad(field) => bad.push(field),
            }
        }
    }

    #[test]
    fn fast_reads_what_control_wrote_in_pieces_of_any_size() {
        let bytes = [written(&change(10)), written(&change(20))].concat();
        for piece in [1, 7, HEAD, HEAD + 1, 4_000, bytes.len()] {
            let mut reader = ChangeReader::new(&sample());
            let mut all = vec![];
            for part in bytes.chunks(piece) {
                let (changes, bad) = read(&mut reader, part);
                assert!(bad.is_empty());
                all.extend(changes);
            }
            assert_eq!(all, [change(10), change(20)], "pieces of {piece}");
        }
        let told: Vec<_> = {
            let mut reader = ChangeReader::new(&sample());
            let Took::Change(told) = reader.take(&*bytes) else { panic!("no change") };
            told.peers(1).collect()
        };
        assert_eq!(told.len(), 128, "who is nowhere is named too");
        assert_eq!(told[8], (node(9), None));
    }

    #[test]
    fn a_hang_up_is_heard_behind_the_last_change() {
        let (mut control, fast) = socket();
        let mut reader = ChangeReader::new(&sample());
        assert!(matches!(reader.take(&fast), Took::Nothing));
        control.write_all(&written(&change(10))).unwrap();
        drop(control);
        assert!(matches!(reader.take(&fast), Took::Change(_)));
        assert!(matches!(reader.take(&fast), Took::Closed));
    }

    #[test]
    fn a_fast_path_that_does_not_read_holds_nobody_up_and_gets_the_last_change() {
        let (control, fast) = socket();
        let mut writer = ChangeWriter::new(&sample());
        let mut left = false;
        for n in 1..200 {
            writer.push(&change(1 + n % 100)).unwrap();
            left = writer.flush(&control).unwrap();
        }
        assert!(left, "the socket was to be full");
        writer.push(&change(77)).unwrap();
        let mut reader = ChangeReader::new(&sample());
        let mut last = None;
        while left {
            let (changes, bad) = read(&mut reader, &fast);
            assert!(bad.is_empty(), "{bad:?}");
            last = changes.last().cloned().or(last);
            left = writer.flush(&control).unwrap();
        }
        last = read(&mut reader, &fast).0.last().cloned().or(last);
        assert_eq!(last, Some(change(77)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_field_on_both_ends() {
        let mut writer = ChangeWriter::new(&sample());
        let mut reader = ChangeReader::new(&sample());
        let mut refused = |spoil: &dyn Fn(&mut Change)| {
            let mut bad = change(10);
            spoil(&mut bad);
            let field = match writer.push(&bad) {
                Err(SetupError::OutOfRange { field }) => field,
                other => panic!("{other:?}"),
            };
            let record = Record::of(&bad);
            let (changes, fields) = read(&mut reader, bytemuck::bytes_of(&*record));
            if bad.peers.len() <= 4 {
                assert_eq!((changes, fields), (vec![], vec![field]));
            }
            field
        };
        assert_eq!(refused(&|c| c.interval = Duration::from_micros(999)), "interval");
        assert_eq!(refused(&|c| c.misses = 0), "misses");
        assert_eq!(
            refused(&|c| (c.interval, c.misses) = (Duration::from_millis(1), 2)),
            "deadline"
        );
        assert_eq!(
            refused(&|c| (c.interval, c.misses) = (Duration::from_millis(1_000), 61)),
            "deadline"
        );
        assert_eq!(refused(&|c| c.rate_ppm = 100_001), "rate_ppm");
        assert_eq!(refused(&|c| c.margin = c.interval), "margin");
        assert_eq!(refused(&|c| c.nodes = NodeSet::EMPTY), "nodes");
        assert_eq!(refused(&|c| c.peers.truncate(2)), "links");
        assert_eq!(refused(&|c| c.peers.resize(5, vec![])), "links");
        assert_eq!(refused(&|c| c.peers[0][0].0 = node(3)), "peers");
        assert_eq!(refused(&|c| c.peers[0][0].0 = node(1)), "peers");
        assert_eq!(refused(&|c| c.peers[0][0].1 = ip("fd00::2")), "peer address");
    }

    #[test]
    fn a_bad_record_costs_nothing_but_itself_and_one_of_another_size_all_that_follows() {
        let mut reader = ChangeReader::new(&sample());
        let mut bad = written(&change(10));
        bad[16..24].fill(0);
        let (changes, fields) = read(&mut reader, &*[bad, written(&change(30))].concat());
        assert_eq!((changes, fields), (vec![change(30)], vec!["interval"]));
        let mut other = written(&change(10));
        other[8] = 99;
        let bytes = [other, written(&change(40))].concat();
        let (changes, fields) = read(&mut reader, &*bytes);
        assert_eq!((changes, fields), (vec![], vec!["version or size"]));
        // It still hears the end.
        let (control, fast) = socket();
        drop(control);
        assert!(matches!(reader.take(&fast), Took::Closed));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_taken_is_within_bounds() {
        let mut dice = Prng::new(5);
        for _ in 0..200 {
            let mut reader = ChangeReader::new(&sample());
            let mut bytes = written(&change(10));
            for _ in 0..1 + dice.below(40) {
                let at = dice.below(size_of::<Record>() as u64) as usize;
                bytes[at] = dice.next_u64() as u8;
            }
            let (changes, _) = read(&mut reader, &*bytes);
            for change in changes {
                assert!(change.interval.millis() >= 1 && change.nodes.contains(node(1)));
                assert!(change.peers.iter().flatten().all(|(n, _)| *n != node(1)));
            }
        }
    }
}
