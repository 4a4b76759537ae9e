//! A workload whose every piece can be recognised: what a power cut took is what is not there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a piece.
const PIECE: usize = 16 * 1024;
/// What direct I/O asks of addresses in memory.
const ALIGNED: usize = 4096;

/// How a piece is made sure of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Care {
    /// Written and fsynced.
    Fsync,
    /// Only written: it may not even have left this machine's memory.
    None,
    /// Given to the disk, which is not asked whether it kept it.
    Direct,
}

/// Writes `count` pieces of round `round` one after the other into `path`, a file or a disk.
///
/// # Errors
/// When one cannot be written, or made sure of.
pub fn write(path: &Path, round: u64, count: u64, care: Care) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    if care == Care::Direct {
        options.custom_flags(libc::O_DIRECT);
    }
    let file = options.open(path)?;
    let mut memory = vec![0; PIECE + ALIGNED];
    for number in 0..count {
        file.write_all_at(aligned(&mut memory, round, number), number * PIECE as u64)?;
        if care == Care::Fsync {
            file.sync_all()?;
        }
    }
    Ok(())
}

/// The numbers of the pieces of that round that are not there, or not whole.
///
/// # Errors
/// When the file cannot be opened although it exists; what cannot be read is not there.
pub fn missing(path: &Path, round: u64, count: u64) -> io::Result<Vec<u64>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0..count).collect()),
        Err(error) => return Err(error),
    };
    let mut memory = vec![0; PIECE + ALIGNED];
    let mut there = vec![0; PIECE];
    let mut list = vec![];
    for number in 0..count {
        let read = file.read_exact_at(&mut there, number * PIECE as u64);
        if read.is_err() || there != aligned(&mut memory, round, number) {
            list.push(number);
        }
    }
    Ok(list)
}

/// A piece at an address that direct I/O takes: every word of it says where it belongs.
fn aligned(memory: &mut [u8], round: u64, number: u64) -> &[u8] {
    let start = memory.as_ptr().align_offset(ALIGNED).min(ALIGNED);
    let piece = memory.get_mut(start..start + PIECE).unwrap_or_default();
    for (place, word) in piece.chunks_exact_mut(8).enumerate() {
        let value = round << 48 | number << 24 | place as u64;
        word.copy_from_slice(&value.to_le_bytes());
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::{PIECE, aligned};

    #[test]
    fn no_two_pieces_are_alike() {
        let (mut one, mut two) = (vec![0; PIECE + 4096], vec![0; PIECE + 4096]);
        let first = aligned(&mut one, 1, 2).to_vec();
        assert_eq!(first.len(), PIECE);
        assert_eq!(first, aligned(&mut two, 1, 2));
        assert_ne!(first, aligned(&mut two, 1, 3));
        assert_ne!(first, aligned(&mut two, 2, 2));
    }
}
