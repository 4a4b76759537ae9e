//! The key file: 64 hexadecimal digits that only its owner (and a group, if the operator wants so)
//! can read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest key file that is read: the digits, a newline and some space.
const FILE_MAX: u64 = 256;

/// The cluster's key. It is not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// No such file.
    #[error("the key file {} does not exist", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the key file {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// Everybody can read it.
    #[error("the key file {} can be used by every user (mode {mode:04o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not 64 hexadecimal digits. What it holds instead is not shown: it may be a key.
    #[error("the key file {} does not hold 64 hexadecimal digits: {found}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
}

impl KeyFault {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { path } => {
                let path = path.display();
                format!("copy it from another node, or make the cluster's key: ng key new {path}")
            }
            Self::Unreadable { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or as a user that may read it".into()
            }
            Self::Unreadable { .. } => "put a plain file with the cluster's key there".into(),
            Self::Open { path, .. } => format!("chmod 0600 {}", path.display()),
            Self::Malformed { .. } => {
                "copy the file from another node; all nodes need the same key".into()
            }
        }
    }
}

/// Reads the key.
pub fn read_key(path: &Path) -> Result<Key, KeyFault> {
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => KeyFault::Missing { path: path.into() },
        _ => KeyFault::Unreadable { path: path.into(), cause },
    };
    // A FIFO would make open() wait for ever: look before opening, check again on what was opened.
    let plain = |meta: &std::fs::Metadata| {
        if meta.is_file() { Ok(()) } else { Err(io::Error::other("it is not a plain file")) }
    };
    plain(&std::fs::metadata(path).map_err(unreadable)?).map_err(unreadable)?;
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    plain(&meta).map_err(unreadable)?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(KeyFault::Open { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    decode(&bytes).map(Key).map_err(|found| KeyFault::Malformed { path: path.into(), found })
}

/// 64 digits, with space around them.
fn decode(bytes: &[u8]) -> Result<[u8; 32], String> {
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is longer than {FILE_MAX} bytes"));
    }
    let digits = bytes.trim_ascii();
    let mut key = [0; 32];
    if digits.len() != 64 {
        return Err(format!("it holds {} characters", digits.len()));
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|c| char::from(c).to_digit(16));
        let (Some(high), Some(low)) = (high, low) else {
            return Err("it holds other characters".into());
        };
        *byte = (high << 4 | low) as u8;
    }
    // What a careless `head -c 64 /dev/zero | xxd` or a template leaves; no random key looks so.
    if key.iter().all(|byte| *byte == key[0]) {
        return Err("all its bytes are the same, which is no key".into());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::{KeyFault, decode, read_key};
    use std::path::Path;

    #[test]
    fn reads_digits_with_a_newline() {
        let text = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\n";
        let key = decode(text.as_bytes()).unwrap();
        assert_eq!((key[0], key[1], key[31]), (0x00, 0x11, 0xff));
    }

    #[test]
    fn refuses_the_rest() {
        for (bytes, why) in [
            (&b""[..], "0 characters"),
            (b"0011", "4 characters"),
            (&[b'g'; 64], "other characters"),
            (&[b'0'; 64], "no key"),
            (&[b'0'; 300], "longer than"),
            (&[0xff; 64], "other characters"),
        ] {
            let found = decode(bytes).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn a_missing_file_names_the_command_that_makes_one() {
        let fault = read_key(Path::new("/nonexistent/cluster.key")).unwrap_err();
        assert!(matches!(fault, KeyFault::Missing { .. }));
        assert!(fault.remedy().contains("ng key new /nonexistent/cluster.key"));
        let fault = read_key(Path::new("/dev/null")).unwrap_err();
        assert!(fault.to_string().contains("not a plain file"), "{fault}");
    }
}
