//! Exports written straight into the kernel's caches: three lines, no process, no upcall.
//!
//! nfsd asks three caches who a client is, what it may see, and which path a file handle means. A
//! cache that has no answer asks `mountd` and lets the client wait; a cache that was told
//! beforehand answers at once. The lines are written when the file system is mounted: the kernel
//! resolves the path while it takes the line.

use crate::takeover::error::TakeoverError;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

/// Until 2038: a cache line must have an end.
const FOR_EVER: u32 = 2_147_483_000;
/// NFSEXP_INSECURE_PORT, NFSEXP_FSID and NFSEXP_NOSUBTREECHECK; `sync` and read-write are the absence of bits.
const FLAGS: u32 = 0x2402;
const NOBODY: u32 = 65_534;
/// The kernel's name for "a file handle that holds a number".
const KEY_IS_NUMBER: u32 = 1;
/// The name that all clients of the export share.
const DOMAIN: &str = "clients";

/// One export to a list of clients, ready to be written.
#[derive(Debug)]
pub struct Exports {
    lines: Vec<(Channel, Vec<u8>)>,
    clients: File,
    exports: File,
    handles: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Clients,
    Exports,
    Handles,
}

impl Exports {
    /// Opens the caches' files and prepares the lines for `folder` under file system number `number`.
    pub fn open(folder: &Path, number: u32, clients: &[Ipv4Addr]) -> Result<Self, TakeoverError> {
        let open = |cache: &str| {
            let path = format!("/proc/net/rpc/{cache}/channel");
            OpenOptions::new().read(true).write(true).open(&path).map_err(TakeoverError::io(&path))
        };
        Ok(Self {
            lines: lines(&folder.to_string_lossy(), number, clients),
            clients: open("auth.unix.ip")?,
            exports: open("nfsd.export")?,
            handles: open("nfsd.fh")?,
        })
    }
    /// Tells the kernel. The folder must be mounted.
    pub fn write(&mut self) -> Result<(), TakeoverError> {
        for (channel, line) in &self.lines {
            let file = match channel {
                Channel::Clients => &mut self.clients,
                Channel::Exports => &mut self.exports,
                Channel::Handles => &mut self.handles,
            };
            file.write_all(line)
                .map_err(TakeoverError::io(&format!("tell nfsd's caches ({channel:?})")))?;
        }
        Ok(())
    }
}

/// The lines in the order in which they are written.
fn lines(folder: &str, number: u32, clients: &[Ipv4Addr]) -> Vec<(Channel, Vec<u8>)> {
    let folder = escape(folder);
    let client = |ip| format!("nfsd {ip} {FOR_EVER} {DOMAIN}\n");
    let export = format!("{DOMAIN} {folder} {FOR_EVER} {FLAGS} {NOBODY} {NOBODY} {number}\n");
    let mut all: Vec<(Channel, String)> =
        clients.iter().map(|ip| (Channel::Clients, client(*ip))).collect();
    all.push((Channel::Exports, export));
    // Number 0 is the root that NFSv4 clients begin with.
    for number in if number == 0 { vec![0] } else { vec![0, number] } {
        let bytes: String = number.to_ne_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let handle = format!("{DOMAIN} {KEY_IS_NUMBER} \\x{bytes} {FOR_EVER} {folder}\n");
        all.push((Channel::Handles, handle));
    }
    all.into_iter().map(|(channel, line)| (channel, line.into_bytes())).collect()
}

/// The caches take words separated by blanks; anything else in a path is written in octal.
fn escape(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'\\';
    path.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("\\{b:03o}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Channel, lines};

    #[test]
    fn the_three_caches_get_what_nfsd_will_ask_for() {
        let all = lines("/export", 7, &["10.20.0.4".parse().unwrap()]);
        let text: Vec<_> = all.iter().map(|(c, l)| (*c, std::str::from_utf8(l).unwrap())).collect();
        assert_eq!(
            text,
            [
                (Channel::Clients, "nfsd 10.20.0.4 2147483000 clients\n"),
                (Channel::Exports, "clients /export 2147483000 9218 65534 65534 7\n"),
                (Channel::Handles, "clients 1 \\x00000000 2147483000 /export\n"),
                (Channel::Handles, "clients 1 \\x07000000 2147483000 /export\n"),
            ]
        );
    }

    #[test]
    fn a_blank_in_a_path_does_not_end_the_word() {
        let all = lines("/my export", 0, &[]);
        assert_eq!(all.len(), 2);
        assert!(all[0].1.starts_with(b"clients /my\\040export "));
    }
}
