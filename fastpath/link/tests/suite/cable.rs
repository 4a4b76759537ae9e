//! Two namespaces and what joins them.

use crate::fixture::{BackEnd, End};
use ng_link::{Mode, OpenError, Settings};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use wire::LinkId;

/// Longest frame of the cases.
pub(crate) const FRAME_MAX: usize = 1_400;

/// Two namespaces, joined by a pair of interfaces `l0` with 10.99.0.N/24 and fd99::N/64.
pub(crate) struct Cable([String; 2]);

impl Cable {
    /// None (and a word about it) without root.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: takes nothing, cannot fail.
        if unsafe { libc::geteuid() } != 0 || !ip("netns list") {
            println!("SKIPPED: needs root and iproute2");
            assert!(std::env::var_os("CI").is_none(), "must not be skipped in CI");
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |n| format!("ngl{}c{count}n{n}", std::process::id());
        let cable = Self([name(1), name(2)]);
        for name in &cable.0 {
            assert!(ip(&format!("netns add {name}")));
            assert!(ip(&format!("-n {name} link set lo up")));
        }
        cable.join("l0");
        for n in [1, 2] {
            cable.address(n, "l0", 0);
        }
        Some(cable)
    }

    /// A pair of interfaces of that name, down.
    pub(crate) fn join(&self, name: &str) {
        let [one, two] = &self.0;
        assert!(ip(&format!("-n {one} link add {name} type veth peer name {name} netns {two}")));
    }

    /// Gives an interface of side `n` 10.99.`net`.N/24 and fd99:`net`::N/64, and has it up.
    pub(crate) fn address(&self, n: u8, interface: &str, net: u8) {
        self.must(n, &format!("addr add 10.99.{net}.{n}/24 brd + dev {interface}"));
        let v6 = if net == 0 { format!("fd99::{n}") } else { format!("fd99:{net}::{n}") };
        self.must(n, &format!("addr add {v6}/64 dev {interface} nodad"));
        self.must(n, &format!("link set {interface} up"));
    }

    /// `ip` on side `n`.
    #[track_caller]
    pub(crate) fn must(&self, n: u8, arguments: &str) {
        assert!(ip(&format!("-n {} {arguments}", self.name(n))), "ip {arguments}");
    }

    /// The same for a kind of interface that a kernel may lack: false, and a word about it.
    #[track_caller]
    pub(crate) fn can(&self, n: u8, arguments: &str, module: &str) -> bool {
        let can = ip(&format!("-n {} {arguments}", self.name(n)));
        if !can {
            println!("SKIPPED: this kernel has no {module}");
        }
        can
    }

    /// Opens a link on an interface of side `n`; sockets stay in the namespace in which they were made.
    pub(crate) fn open(
        &self,
        back_end: &BackEnd,
        n: u8,
        interface: &str,
        mode: Mode,
        own: &str,
    ) -> Result<End, OpenError> {
        self.inside(n, || {
            (back_end.open)(&Settings {
                id: LinkId(0),
                mode,
                own: own.parse().unwrap(),
                interface: index(interface),
                peers: Vec::new(),
                frame_max: FRAME_MAX,
                stamped: true,
            })
        })
    }

    /// Runs something on side `n`.
    pub(crate) fn inside<T>(&self, n: u8, run: impl FnOnce() -> T) -> T {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        let there = File::open(format!("/run/netns/{}", self.name(n))).unwrap();
        enter(there.as_fd());
        let result = run();
        enter(home.as_fd());
        result
    }

    /// The Ethernet address of an interface of side `n`.
    pub(crate) fn mac(&self, n: u8, interface: &str) -> [u8; 6] {
        let shown = Command::new("ip")
            .args(["-n", self.name(n), "-br", "link", "show", interface])
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let text = shown.split_whitespace().find(|word| word.len() == 17).unwrap();
        let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        std::array::from_fn(|_| bytes.next().unwrap())
    }

    fn name(&self, n: u8) -> &str {
        &self.0[usize::from(n) - 1]
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.0 {
            ip(&format!("netns del {name}"));
        }
    }
}

/// The index of an interface of the namespace that this thread is in.
pub(crate) fn index(interface: &str) -> u32 {
    let name = CString::new(interface).unwrap();
    // SAFETY: a C string, alive during the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "no interface {interface}");
    index
}

/// Moves this thread into a network namespace.
fn enter(namespace: BorrowedFd<'_>) {
    // SAFETY: takes a descriptor that is open; moves only this thread.
    assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
}

fn ip(arguments: &str) -> bool {
    let out = Command::new("ip").args(arguments.split(' ')).output();
    out.is_ok_and(|out| {
        if !out.status.success() {
            println!("ip {arguments}: {}", String::from_utf8_lossy(&out.stderr));
        }
        out.status.success()
    })
}
