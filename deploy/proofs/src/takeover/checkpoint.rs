//! Keeps the journal short: asks ext4 to write it back at intervals, so that whoever takes over has
//! little to replay, however large the journal is.

use crate::takeover::error::TakeoverError;
use crate::takeover::resident::now;
use base::Duration;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// EXT4_IOC_CHECKPOINT: _IOW('f', 43, __u32); since Linux 5.14.
const CHECKPOINT: libc::Ioctl = 0x4004_662b;

/// Checkpoints the file system at `folder` for ever, with pauses of `every`.
pub fn run(folder: &Path, every: Duration) -> Result<(), TakeoverError> {
    let doing = format!("open {}", folder.display());
    let folder = File::open(folder).map_err(TakeoverError::io(&doing))?;
    loop {
        let (began, flags) = (now(), 0u32);
        // SAFETY: the descriptor is open; `flags` lives through the call, which only reads it.
        if unsafe { libc::ioctl(folder.as_raw_fd(), CHECKPOINT, &raw const flags) } != 0 {
            return Err(TakeoverError::last("checkpoint the journal"));
        }
        let pause = (began + every).0.saturating_sub(now().0);
        std::thread::sleep(std::time::Duration::from_nanos(pause));
    }
}
