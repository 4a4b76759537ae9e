//! A file system that is mounted by one system call, its words built beforehand.

use crate::takeover::error::TakeoverError;
use std::ffi::CString;
use std::path::Path;

/// A mount that is ready to be made.
#[derive(Debug)]
pub struct Mount {
    device: CString,
    folder: CString,
    kind: CString,
    data: CString,
    flags: libc::c_ulong,
}

impl Mount {
    /// Prepares the mount of `device` at `folder`; `options` as in fstab, comma-separated.
    pub fn new(
        device: &Path,
        folder: &Path,
        kind: &str,
        options: &str,
    ) -> Result<Self, TakeoverError> {
        std::fs::create_dir_all(folder)
            .map_err(TakeoverError::io(&format!("make the folder {}", folder.display())))?;
        let (flags, data) = split(options);
        Ok(Self {
            device: text(&device.to_string_lossy())?,
            folder: text(&folder.to_string_lossy())?,
            kind: text(kind)?,
            data: text(&data)?,
            flags,
        })
    }
    /// Mounts it.
    pub fn mount(&self) -> Result<(), TakeoverError> {
        // SAFETY: the four strings end in zero and live through the call.
        let result = unsafe {
            libc::mount(
                self.device.as_ptr(),
                self.folder.as_ptr(),
                self.kind.as_ptr(),
                self.flags,
                self.data.as_ptr().cast(),
            )
        };
        if result == 0 { Ok(()) } else { Err(TakeoverError::last("mount the file system")) }
    }
}

/// Options that the system call takes as bits, and the rest, which the file system reads itself.
fn split(options: &str) -> (libc::c_ulong, String) {
    let mut flags = 0;
    let mut rest: Vec<&str> = vec![];
    for word in options.split(',').filter(|word| !word.is_empty()) {
        match word {
            "noatime" => flags |= libc::MS_NOATIME,
            "nodiratime" => flags |= libc::MS_NODIRATIME,
            "relatime" => flags |= libc::MS_RELATIME,
            "lazytime" => flags |= libc::MS_LAZYTIME,
            "nodev" => flags |= libc::MS_NODEV,
            "nosuid" => flags |= libc::MS_NOSUID,
            "noexec" => flags |= libc::MS_NOEXEC,
            "ro" => flags |= libc::MS_RDONLY,
            "rw" | "defaults" => {}
            other => rest.push(other),
        }
    }
    (flags, rest.join(","))
}

fn text(word: &str) -> Result<CString, TakeoverError> {
    CString::new(word).map_err(|_| TakeoverError::Asked(format!("a zero byte in {word:?}")))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn bits_go_to_the_kernel_and_words_to_the_file_system() {
        let (flags, data) = split("noatime,data=ordered,lazytime,,journal_checksum");
        assert_eq!(flags, libc::MS_NOATIME | libc::MS_LAZYTIME);
        assert_eq!(data, "data=ordered,journal_checksum");
        assert_eq!(split("defaults"), (0, String::new()));
    }
}
