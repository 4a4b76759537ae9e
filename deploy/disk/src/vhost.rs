//! A disk as a virtio block device (Virtual I/O Device specification 1.2, section 5.2), served over
//! vhost-user: the guest's kernel puts requests into a ring in its own memory, which it shares with us.

use crate::SECTOR;
use crate::device::{Done, Refusal, Request};
use crate::queue::{Queue, Reply};
use crate::relay;
use crate::remind::Reminder;
use crate::store::SparseFile;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Backend, Error as Wrong, Listener};
use vhost_user_backend::{Error, VhostUserBackend, VhostUserDaemon, VringRwLock, VringT};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_queue::{DescriptorChain, QueueT};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryLoadGuard,
    GuestMemoryMmap,
};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
type Ring = VringRwLock<Memory>;
/// A piece of the guest's memory.
type Piece = (GuestAddress, u32);

/// Requests in the ring.
const RING: usize = 256;
/// Pieces of one request.
const PIECES: u32 = 126;
/// The longest request that is taken, in bytes: more than the pieces of Linux ever hold.
const REQUEST_MAX: u64 = 8 << 20;
/// Bytes of the header of a request: type, reserved, sector.
const HEADER: usize = 16;
/// Bytes of a disk's identity.
const IDENTITY: usize = 20;
/// Sectors of what the medium writes at once, as a power of two: 4,096 bytes.
const PHYSICAL_EXPONENT: u8 = 3;

/// One disk towards its guest; a boot of the guest is a connection.
pub(crate) struct Front {
    name: String,
    queue: Arc<Queue<SparseFile, Answer>>,
    handle: AtomicU64,
    memory: RwLock<Option<Memory>>,
    channel: Mutex<Option<Backend>>,
    closed: AtomicBool,
    /// The guest has booted and not asked yet.
    booted: AtomicBool,
    reminder: Arc<Reminder>,
}

impl Front {
    pub(crate) fn new(name: &str, queue: Arc<Queue<SparseFile, Answer>>) -> Self {
        // Nothing is served under this handle: the guest's first word opens one.
        let handle = AtomicU64::new(u64::MAX);
        let closed = AtomicBool::new(false);
        Self {
            name: name.to_owned(),
            queue,
            handle,
            memory: RwLock::default(),
            channel: Mutex::default(),
            closed,
            booted: AtomicBool::new(false),
            reminder: Reminder::start(),
        }
    }

    /// Serves one boot after the other until [`Self::close`]. The guest connects to `guests`, the
    /// library takes its connections from `own`, at `path`; [`crate::relay`] stands between.
    pub(crate) fn keep(self: &Arc<Self>, guests: &UnixListener, own: UnixListener, path: &Path) {
        let mut listener = Listener::from(own);
        while !self.closed.load(Ordering::Acquire) {
            let Ok((guest, _)) = guests.accept() else { return };
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            let Ok(library) = UnixStream::connect(path) else { return };
            let carrier = std::thread::spawn(move || relay::run(guest, library));
            let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
            let daemon = VhostUserDaemon::new(self.name.clone(), Arc::clone(self), memory);
            let Ok(mut daemon) = daemon else { return };
            // However the guest goes, its next boot is the next connection.
            match daemon.start(&mut listener).and_then(|()| daemon.wait()) {
                Ok(()) | Err(Error::HandleRequest(Wrong::Disconnected | Wrong::PartialMessage)) => {
                }
                Err(error) => eprintln!("disk {}: {error}", self.name),
            }
            let _ = carrier.join();
        }
    }

    /// Takes no further connection.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn take_requests(&self, ring: &Ring) -> io::Result<()> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let memory = memory.ok_or(io::ErrorKind::NotConnected)?;
        loop {
            let next = {
                let mut state = ring.get_mut();
                let queue = state.get_queue_mut();
                queue.pop_descriptor_chain(memory.memory())
            };
            let Some(chain) = next else { return Ok(()) };
            self.take(chain, &memory, ring);
        }
    }

    fn take(
        &self,
        chain: DescriptorChain<GuestMemoryLoadGuard<GuestMemoryMmap>>,
        memory: &Memory,
        ring: &Ring,
    ) {
        let head = chain.head_index();
        let (mut readable, mut writable): (Vec<Piece>, Vec<Piece>) = (vec![], vec![]);
        for piece in chain {
            let list = if piece.is_write_only() { &mut writable } else { &mut readable };
            list.push((piece.addr(), piece.len()));
        }
        let (memory, ring, reminder) = (memory.clone(), ring.clone(), Arc::clone(&self.reminder));
        let answer = Answer { memory, ring, head, writable, reminder };
        match answer.request(&readable) {
            Ok(Asked::Disk(request)) => {
                self.queue.submit(self.handle.load(Ordering::Acquire), request, answer);
            }
            Ok(Asked::Identity) => {
                let mut text = self.name.clone().into_bytes();
                text.resize(IDENTITY, 0);
                answer.finish(VIRTIO_BLK_S_OK, &text);
            }
            Ok(Asked::Unknown) => answer.finish(VIRTIO_BLK_S_UNSUPP, &[]),
            Err(_) => answer.finish(VIRTIO_BLK_S_IOERR, &[]),
        }
    }
}

impl VhostUserBackend for Front {
    type Bitmap = ();
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        RING
    }

    fn features(&self) -> u64 {
        let bits = [
            VIRTIO_F_VERSION_1,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_DISCARD,
            VIRTIO_BLK_F_WRITE_ZEROES,
        ];
        let device = bits.into_iter().fold(0, |all, bit| all | 1_u64 << bit);
        device | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    /// The guest's driver says what it can: a new boot has begun.
    fn acked_features(&self, _: u64) {
        self.handle.store(self.queue.open(), Ordering::Release);
        self.booted.store(true, Ordering::Release);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        // We have nothing to ask the guest; but it makes its interrupt only with that channel.
        VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::BACKEND_REQ
    }

    fn set_event_idx(&self, _: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let all = configuration(self.queue.bytes());
        let from = (offset as usize).min(all.len());
        let to = from.saturating_add(size as usize).min(all.len());
        let mut part = all.get(from..to).unwrap_or_default().to_vec();
        part.resize(size as usize, 0);
        part
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        Ok(())
    }

    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }

    /// Kept, not used: a guest that finds this channel closed takes its disk away.
    fn set_backend_req_fd(&self, channel: Backend) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    }

    fn handle_event(&self, _: u16, _: EventSet, rings: &[Ring], _: usize) -> io::Result<()> {
        let Some(ring) = rings.first() else { return Ok(()) };
        if self.booted.swap(false, Ordering::AcqRel) {
            let ring = ring.clone();
            self.reminder.raise_by(Box::new(move || drop(ring.signal_used_queue())));
        }
        self.take_requests(ring)
    }
}

/// The device's configuration (section 5.2.4), little endian.
fn configuration(bytes: u64) -> Vec<u8> {
    let limit = (REQUEST_MAX / SECTOR) as u32;
    let mut all = Vec::with_capacity(60);
    all.extend((bytes / SECTOR).to_le_bytes()); // capacity
    all.extend(0_u32.to_le_bytes()); // size_max
    all.extend(PIECES.to_le_bytes()); // seg_max
    all.extend([0; 4]); // geometry
    all.extend((SECTOR as u32).to_le_bytes()); // blk_size
    all.extend([PHYSICAL_EXPONENT, 0, 0, 0]); // topology: physical exponent, offset, minimal size
    all.extend(0_u32.to_le_bytes()); // topology: optimal size
    all.extend([0; 4]); // writeback, unused, queues
    all.extend(limit.to_le_bytes()); // discard: sectors,
    all.extend(1_u32.to_le_bytes()); // ranges,
    all.extend((1_u32 << PHYSICAL_EXPONENT).to_le_bytes()); // alignment
    all.extend(limit.to_le_bytes()); // write zeroes: sectors,
    all.extend(1_u32.to_le_bytes()); // ranges,
    all.extend([0; 4]); // may unmap
    all
}

/// What the guest asks.
enum Asked {
    Disk(Request),
    Identity,
    Unknown,
}

/// Where the answer of a request goes: data, then a status byte, then the used ring.
pub(crate) struct Answer {
    memory: Memory,
    ring: Ring,
    head: u16,
    writable: Vec<Piece>,
    reminder: Arc<Reminder>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Front").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Answer").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Answer {
    /// What stands in the readable pieces.
    fn request(&self, readable: &[Piece]) -> io::Result<Asked> {
        let mut bytes = self.gather(readable)?;
        let (header, data) = bytes.split_at_checked(HEADER).ok_or_else(malformed)?;
        let kind = word(header, 0)?;
        let offset = long(header, 8)?.checked_mul(SECTOR).ok_or_else(malformed)?;
        Ok(match kind {
            VIRTIO_BLK_T_IN => {
                let room: u64 = self.writable.iter().map(|piece| u64::from(piece.1)).sum();
                let length = room.checked_sub(1).filter(|it| *it <= REQUEST_MAX);
                let length = length.ok_or_else(malformed)? as u32;
                Asked::Disk(Request::Read { offset, length })
            }
            VIRTIO_BLK_T_OUT => {
                bytes.drain(..HEADER);
                Asked::Disk(Request::Write { offset, data: bytes })
            }
            VIRTIO_BLK_T_FLUSH => Asked::Disk(Request::Flush),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                let offset = long(data, 0)?.checked_mul(SECTOR).ok_or_else(malformed)?;
                let length = u64::from(word(data, 8)?) * SECTOR;
                Asked::Disk(Request::Zero { offset, length })
            }
            VIRTIO_BLK_T_GET_ID => Asked::Identity,
            _ => Asked::Unknown,
        })
    }

    fn gather(&self, pieces: &[Piece]) -> io::Result<Vec<u8>> {
        let length: u64 = pieces.iter().map(|piece| u64::from(piece.1)).sum();
        if length > REQUEST_MAX + HEADER as u64 {
            return Err(malformed());
        }
        let mut bytes = vec![0; length as usize];
        let mut rest = bytes.as_mut_slice();
        let memory = self.memory.memory();
        for (address, length) in pieces {
            let (part, more) = rest.split_at_mut(*length as usize);
            memory.read_slice(part, *address).map_err(io::Error::other)?;
            rest = more;
        }
        Ok(bytes)
    }

    /// Writes data and status, and tells the guest. A guest that is gone, or gave addresses that are not
    /// its own, gets nothing.
    fn finish(&self, status: u32, data: &[u8]) {
        let memory = self.memory.memory();
        let mut pieces = self.writable.clone();
        let Some(last) = pieces.last_mut().filter(|piece| piece.1 > 0) else { return };
        last.1 -= 1;
        let place = last.0.0.saturating_add(u64::from(last.1));
        let mut rest = data;
        for (address, length) in pieces {
            let (part, more) = rest.split_at(rest.len().min(length as usize));
            if memory.write_slice(part, address).is_err() {
                return;
            }
            rest = more;
        }
        if memory.write_obj(status as u8, GuestAddress(place)).is_err() {
            return;
        }
        let written = (data.len() - rest.len() + 1) as u32;
        if self.ring.add_used(self.head, written).is_ok() {
            let _ = self.ring.signal_used_queue();
            self.reminder.answered();
        }
    }
}

impl Reply for Answer {
    fn send(self, outcome: Result<Done, Refusal>) {
        match outcome {
            Ok(Done::Data(data)) => self.finish(VIRTIO_BLK_S_OK, &data),
            Ok(Done::Done) => self.finish(VIRTIO_BLK_S_OK, &[]),
            Err(_) => self.finish(VIRTIO_BLK_S_IOERR, &[]),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> io::Result<u32> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map(|it| u32::from_le_bytes(*it)).ok_or_else(malformed)
}

fn long(bytes: &[u8], at: usize) -> io::Result<u64> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map(|it| u64::from_le_bytes(*it)).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed request")
}
