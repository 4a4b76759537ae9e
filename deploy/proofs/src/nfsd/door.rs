//! What an instance lets in besides its clients: the keeper, and NFSv3 mounts.

use crate::takeover::error::TakeoverError;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Of the namespaces of the calling thread.
const CALLERS: &str = "/proc/thread-self/net/rpc/auth.unix.ip/channel";
const HANDLES: &str = "/proc/fs/nfsd/filehandle";
/// The domain of `takeover::exports`.
const DOMAIN: &str = "clients";
/// NFSv3's longest.
const LONGEST_HANDLE: usize = 64;

/// Lets calls from this node itself in. They need no export.
pub fn admit_keeper() -> Result<(), TakeoverError> {
    fs::write(CALLERS, format!("nfsd 127.0.0.1 2147483000 {DOMAIN}\n"))
        .map_err(TakeoverError::io("let the keeper in"))
}

/// The handle of an exported folder, as an NFSv3 mount gets it.
pub fn root_handle(folder: &Path) -> Result<Vec<u8>, TakeoverError> {
    let error = || TakeoverError::io("ask nfsd for a handle");
    let mut file = OpenOptions::new().read(true).write(true).open(HANDLES).map_err(error())?;
    let question = format!("{DOMAIN} {} {LONGEST_HANDLE}\n", folder.display());
    file.write_all(question.as_bytes()).map_err(error())?;
    let mut answer = String::new();
    file.take(4096).read_to_string(&mut answer).map_err(error())?;
    bytes(&answer).ok_or(io::ErrorKind::InvalidData.into()).map_err(error())
}

/// Bytes as the kernel's caches write them: `\x` and digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().strip_prefix("\\x")?;
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then_some(())?;
    digits.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn a_handle_is_read_whole_or_not_at_all() {
        assert_eq!(bytes("\\x01000165ff\n"), Some(vec![1, 0, 1, 0x65, 0xff]));
        for wrong in ["", "\\x0", "\\x0g", "0102"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
