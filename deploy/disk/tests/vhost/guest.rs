//! A guest as the disks see it: the driver's half of vhost-user and of one ring, word for word as User
//! Mode Linux 6.1 speaks it.

use disk::Disks;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any answer takes that comes at all.
const LIMIT: Duration = Duration::from_secs(20);
/// Where the guest's shared memory begins: below lie its code and data, which it does not share.
const BASE: u64 = 0x10_0000;
const SIZE: u64 = 0x40_0000;
/// The parts of the ring, and what lies behind it.
const TABLE: u64 = BASE;
const AVAILABLE: u64 = BASE + 0x1000;
const USED: u64 = BASE + 0x2000;
const BUFFERS: u64 = BASE + 0x1_0000;
/// Room of one request: header, data, status.
const ROOM: u64 = 0x2_0000;
const ENTRIES: u16 = 64;
const NEXT: u16 = 1;
const DEVICE_WRITES: u16 = 2;

const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;
const SET_BACKEND_REQ_FD: u32 = 21;
const GET_CONFIG: u32 = 24;
const VERSION: u32 = 1;
const ANSWER: u32 = 4;
const WANTS_ANSWER: u32 = 8;
/// Of the protocol's features, those that matter: answers to everything, a channel back, configuration.
const ANSWER_TO_ALL: u64 = 1 << 3;
const CHANNEL_BACK: u64 = 1 << 5;
const CONFIGURATION: u64 = 1 << 9;

pub(crate) const READ: u32 = 0;
pub(crate) const WRITE: u32 = 1;
pub(crate) const FLUSH: u32 = 4;
pub(crate) const IDENTITY: u32 = 8;
pub(crate) const DISCARD: u32 = 11;
pub(crate) const ZEROES: u32 = 13;
/// Statuses of answers; the last one is written beforehand and means that there is none.
pub(crate) const OK: u8 = 0;
pub(crate) const ERROR: u8 = 1;
pub(crate) const UNKNOWN: u8 = 2;
const NONE: u8 = 0xEE;

/// A booted guest with one disk.
pub(crate) struct Guest {
    socket: UnixStream,
    memory: File,
    kick: File,
    call: UnixStream,
    /// The channel back: nothing comes on it, but when it ends, the driver takes the disk away.
    back: UnixStream,
    features: u64,
    protocol: u64,
    /// Requests that were made, and answers that were seen.
    made: u16,
    seen: u16,
}

/// A request under way.
pub(crate) struct Ticket {
    /// Where the data of the answer goes; the status comes after it.
    place: u64,
    room: u32,
}

impl Guest {
    /// Connects to a disk and sets up the ring.
    pub(crate) fn boot(disks: &Disks, name: &str) -> Self {
        let socket = UnixStream::connect(disks.path(name)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        // SAFETY: the call takes two numbers and returns a new descriptor, which the file owns.
        let kick = unsafe { File::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
        let (call, other) = UnixStream::pair().unwrap();
        call.set_read_timeout(Some(LIMIT)).unwrap();
        let (back, far) = UnixStream::pair().unwrap();
        back.set_nonblocking(true).unwrap();
        let memory = memory();
        let (features, protocol, made, seen) = (0, 0, 0, 0);
        let mut guest = Self { socket, memory, kick, call, back, features, protocol, made, seen };
        guest.negotiate(&far);
        guest.share_memory();
        guest.send(SET_VRING_CALL, &[0; 8], Some(other.as_raw_fd()));
        guest.send(SET_VRING_NUM, &pair(0, u32::from(ENTRIES)), None);
        guest.send(SET_VRING_BASE, &pair(0, 0), None);
        let places = [0, TABLE, USED, AVAILABLE, u64::MAX];
        guest.send(SET_VRING_ADDR, &places.map(u64::to_le_bytes).concat(), None);
        guest.send(SET_VRING_KICK, &[0; 8], Some(guest.kick.as_raw_fd()));
        guest.send(SET_VRING_ENABLE, &pair(0, 1), None);
        guest
    }

    fn negotiate(&mut self, channel: &UnixStream) {
        self.send(SET_OWNER, &[], None);
        self.features = self.ask(GET_FEATURES);
        let known = ANSWER_TO_ALL | CHANNEL_BACK | CONFIGURATION;
        let protocol = self.ask(GET_PROTOCOL_FEATURES) & known;
        self.send(SET_PROTOCOL_FEATURES, &protocol.to_le_bytes(), None);
        self.protocol = protocol;
        // Without a channel back the driver finds no interrupt for its ring.
        assert_eq!(protocol & (CHANNEL_BACK | CONFIGURATION), CHANNEL_BACK | CONFIGURATION);
        self.send(SET_BACKEND_REQ_FD, &[], Some(channel.as_raw_fd()));
        self.send(SET_FEATURES, &self.features.to_le_bytes(), None);
    }

    /// The message has room for two regions and always this length, however many it names.
    fn share_memory(&mut self) {
        let mut message = pair(1, 0).to_vec();
        message.extend([BASE, SIZE, BASE, BASE].map(u64::to_le_bytes).concat());
        message.resize(8 + 2 * 32, 0);
        self.send(SET_MEM_TABLE, &message, Some(self.memory.as_raw_fd()));
    }

    /// Whether the driver would still have its disk.
    pub(crate) fn has_disk(&self) -> bool {
        let end = (&self.back).read(&mut [0; 8]);
        end.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The features that the disk offers.
    pub(crate) const fn offers(&self, bit: u32) -> bool {
        self.features & 1 << bit != 0
    }

    /// Bytes of the disk, from its configuration.
    pub(crate) fn bytes(&mut self) -> u64 {
        let mut message = [0, 8, 0].map(u32::to_le_bytes).concat();
        message.extend([0; 8]);
        self.tell(GET_CONFIG, VERSION, &message, None);
        let answer = self.hear();
        u64::from_le_bytes(answer[12..20].try_into().unwrap()) * 512
    }

    /// A message without an answer, or with one that says that all is well.
    fn send(&mut self, kind: u32, payload: &[u8], descriptor: Option<RawFd>) {
        let answers = self.protocol & ANSWER_TO_ALL != 0;
        let flags = VERSION | if answers { WANTS_ANSWER } else { 0 };
        self.tell(kind, flags, payload, descriptor);
        if answers {
            assert_eq!(self.hear(), [0; 8], "message {kind} was refused");
        }
    }

    fn ask(&mut self, kind: u32) -> u64 {
        self.tell(kind, VERSION, &[], None);
        u64::from_le_bytes(self.hear().try_into().unwrap())
    }

    fn tell(&mut self, kind: u32, flags: u32, payload: &[u8], descriptor: Option<RawFd>) {
        let mut message = [kind, flags, payload.len() as u32].map(u32::to_le_bytes).concat();
        message.extend(payload);
        match descriptor {
            Some(descriptor) => send_with(&self.socket, &message, descriptor).unwrap(),
            None => self.socket.write_all(&message).unwrap(),
        }
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut header = [0; 12];
        self.socket.read_exact(&mut header).unwrap();
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(word(4), VERSION | ANSWER);
        let mut payload = vec![0; word(8) as usize];
        self.socket.read_exact(&mut payload).unwrap();
        payload
    }

    /// Puts a request into the ring and tells the disk: `data` goes there, `room` bytes come back.
    pub(crate) fn submit(&mut self, kind: u32, sector: u64, data: &[u8], room: u32) -> Ticket {
        let slot = u64::from(self.made % (ENTRIES / 4));
        let place = BUFFERS + slot * ROOM;
        let mut out = [kind, 0].map(u32::to_le_bytes).concat();
        out.extend(sector.to_le_bytes());
        out.extend(data);
        self.put(place, &out);
        let back = place + out.len() as u64;
        self.put(back + u64::from(room), &[NONE]);
        // Four entries for each slot: header, data, room, status, as the driver lays them out.
        let (head, length) = (slot as u16 * 4, data.len() as u32);
        let mut chain = vec![(place, 16, 0)];
        chain.extend((length > 0).then_some((place + 16, length, 0)));
        chain.extend((room > 0).then_some((back, room, DEVICE_WRITES)));
        chain.push((back + u64::from(room), 1, DEVICE_WRITES));
        self.chain(head, &chain);
        Ticket { place: back, room }
    }

    /// Lays a chain of (address, length, flags) into the table from `head` on, and makes it a request.
    pub(crate) fn chain(&mut self, head: u16, pieces: &[(u64, u32, u16)]) {
        for (entry, (address, length, flags)) in (head..).zip(pieces) {
            let last = usize::from(entry - head) + 1 == pieces.len();
            let flags = flags | if last { 0 } else { NEXT };
            self.descriptor(entry, *address, *length, flags, entry + 1);
        }
        self.offer(head);
    }

    /// One entry of the table.
    pub(crate) fn descriptor(&self, entry: u16, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend([flags, next].map(u16::to_le_bytes).concat());
        self.put(TABLE + u64::from(entry) * 16, &bytes);
    }

    /// Makes the chain at `head` a request.
    pub(crate) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.made % ENTRIES);
        self.put(AVAILABLE + 4 + slot * 2, &head.to_le_bytes());
        self.made = self.made.wrapping_add(1);
        self.put(AVAILABLE + 2, &self.made.to_le_bytes());
        self.kick.write_all(&1_u64.to_ne_bytes()).unwrap();
    }

    /// Waits for as many answers as there are requests, and returns this one's.
    pub(crate) fn wait(&mut self, ticket: &Ticket) -> (u8, Vec<u8>) {
        while self.seen != self.made {
            let mut call = [0; 8];
            let told = self.call.read_exact(&mut call);
            self.seen = u16::from_le_bytes(self.get(USED + 2, 2).try_into().unwrap());
            assert!(told.is_ok(), "{} of {} answers: {told:?}", self.seen, self.made);
        }
        self.look(ticket)
    }

    /// The answer as it is now.
    pub(crate) fn look(&self, ticket: &Ticket) -> (u8, Vec<u8>) {
        let mut bytes = self.get(ticket.place, ticket.room as usize + 1);
        (bytes.pop().unwrap(), bytes)
    }

    /// Whether there is no answer yet.
    pub(crate) fn is_waiting(&self, ticket: &Ticket) -> bool {
        self.look(ticket).0 == NONE
    }

    /// A request and its answer.
    pub(crate) fn call(&mut self, kind: u32, sector: u64, data: &[u8], room: u32) -> (u8, Vec<u8>) {
        let ticket = self.submit(kind, sector, data, room);
        self.wait(&ticket)
    }

    /// Writes sectors that consist of `mark`.
    pub(crate) fn write(&mut self, sector: u64, mark: u8, sectors: usize) -> u8 {
        self.call(WRITE, sector, &vec![mark; sectors * 512], 0).0
    }

    pub(crate) fn flush(&mut self) -> u8 {
        self.call(FLUSH, 0, &[], 0).0
    }

    /// The first byte of each sector.
    pub(crate) fn marks(&mut self, sector: u64, sectors: u32) -> Vec<u8> {
        let (status, data) = self.call(READ, sector, &[], sectors * 512);
        assert_eq!(status, OK);
        data.chunks(512).map(|sector| sector[0]).collect()
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, address).unwrap();
    }

    fn get(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        self.memory.read_exact_at(&mut buffer, address).unwrap();
        buffer
    }
}

fn pair(first: u32, second: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_le_bytes());
    bytes[4..].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// The guest's memory is a file that has lost its name, as User Mode Linux makes it.
fn memory() -> File {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let path = std::env::temp_dir().join(format!("ng-guest-{}-{number}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.set_len(BASE + SIZE).unwrap();
    file
}

/// Sends bytes and one descriptor.
fn send_with(socket: &UnixStream, bytes: &[u8], descriptor: RawFd) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let mut control = [0_u64; 4];
    // SAFETY: zero is a valid value of every field; `part`, `bytes` and `control` live through the call, and
    // `control` has the room (and the alignment) for a header and one descriptor that the macros
    // compute.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    if sent == bytes.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
}
