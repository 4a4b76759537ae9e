//! Other people's work on the same machine: processors, memory and the network taken away.

use crate::error::{Context, Result};
use crate::os;
use crate::packet::{PacketSocket, udp};
use crate::spec::PORT_BEATS;
use crate::topology::{CLIENT_MAC, Topology, address, mac};
use base::Duration;
use std::fs;
use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// The group of link 1.
pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 1);

/// A machine that is no node: a node would drop what comes in from its own address.
const STRANGER: u8 = 99;

/// Threads that end when this is dropped.
#[derive(Debug, Default)]
struct Threads {
    stop: Arc<AtomicBool>,
    list: Vec<JoinHandle<()>>,
}

impl Threads {
    fn add(&mut self, mut work: impl FnMut() + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.list.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        }));
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.list.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Ordinary threads that never sleep, until dropped.
#[derive(Debug)]
pub struct Hogs {
    _threads: Threads,
}

impl Hogs {
    /// Four on two cores; more cores, more hogs.
    #[must_use]
    pub fn start() -> Self {
        let mut threads = Threads::default();
        for _ in 0..(os::cores().len() * 2).max(4) {
            threads.add(|| {
                (0..100_000_u64).fold(1, |n, it| black_box(it.wrapping_mul(31).wrapping_add(n)));
            });
        }
        Self { _threads: threads }
    }
}

/// Foreign frames at the ports of heartbeat and agreement, until dropped.
#[derive(Debug)]
pub struct Storm {
    sent: Arc<AtomicU64>,
    _threads: Threads,
}

impl Storm {
    /// Starts one of `rate` frames a second, to these nodes in turn, on link 1.
    ///
    /// # Errors
    /// When its socket cannot be opened.
    pub fn start(topology: &Topology, nodes: &[u8], rate: u64) -> Result<Self> {
        let socket = topology.client().inside(PacketSocket::sender)?;
        let mut frames = Vec::new();
        for (node, port) in nodes.iter().flat_map(|it| [(*it, PORT_BEATS), (*it, PORT_BEATS + 1)]) {
            let from = SocketAddrV4::new(address(STRANGER, 1), PORT_BEATS);
            let garbage: Vec<u8> = (0..120).map(|_| os::random() as u8 | 0x80).collect();
            let to = SocketAddrV4::new(GROUP, port);
            frames.push(udp((CLIENT_MAC, from), (mac(node, 1), to), &garbage));
        }
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let begin = os::now();
        let mut threads = Threads::default();
        threads.add(move || {
            os::sleep(Duration::from_millis(1));
            let due = os::now().since(begin).micros() * rate / 1_000_000;
            // What the machine did not let us send is not sent twice as fast later.
            let missing = due.saturating_sub(count.load(Ordering::Relaxed)).min(rate / 50);
            for frame in frames.iter().cycle().take(missing as usize) {
                socket.send(frame);
            }
            count.fetch_add(missing, Ordering::Relaxed);
        });
        Ok(Self { sent, _threads: threads })
    }

    /// How many frames it has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// What of a process's memory is resident, and how much of that is locked, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resident {
    /// All.
    pub kib: u64,
    /// Locked: the kernel must not take it.
    pub locked_kib: u64,
}

/// Reads it.
#[must_use]
pub fn resident(pid: i32) -> Resident {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|it| it.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Resident {
        kib: field("Rss:").unwrap_or_default(),
        locked_kib: field("Locked:").unwrap_or_default(),
    }
}

/// Takes every page of a process away that is not locked, as the kernel does when memory is short:
/// what a file backs is read again at the next touch, the rest goes to swap if there is any.
///
/// # Errors
/// When the kernel does not allow it (CAP_SYS_NICE) or cannot do it (before 5.10).
pub fn page_out(pid: i32) -> Result<()> {
    let what = format!("paging out process {pid}");
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).context(what.clone())?;
    let vectors: Vec<libc::iovec> = text.lines().filter_map(vector).collect();
    // SAFETY: no memory arguments; a descriptor or an error comes back.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error()).context(what);
    }
    for vector in vectors {
        // SAFETY: one valid vector, which names memory of the other process; the advice changes no
        // content. Mappings that cannot be paged out are an error of their own and left alone.
        unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                descriptor,
                &raw const vector,
                1_usize,
                libc::MADV_PAGEOUT,
                0,
            )
        };
    }
    // SAFETY: the descriptor was made above and is closed once.
    unsafe { libc::close(descriptor as libc::c_int) };
    Ok(())
}

fn vector(line: &str) -> Option<libc::iovec> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some(libc::iovec { iov_base: start as *mut libc::c_void, iov_len: end.checked_sub(start)? })
}

#[cfg(test)]
mod tests {
    use super::{page_out, resident, vector};

    #[test]
    fn a_line_of_maps_is_a_piece_of_memory() {
        let line = "7f00001000-7f00003000 r-xp 00000000 08:01 42 /usr/lib/x.so";
        let found = vector(line).expect("a piece");
        assert_eq!((found.iov_base as usize, found.iov_len), (0x7f_0000_1000, 0x2000));
        assert!(vector("nonsense").is_none());
    }

    #[test]
    fn ones_own_memory_is_resident() {
        assert!(resident(std::process::id() as i32).kib > 100);
        assert!(page_out(-1).is_err());
    }
}
