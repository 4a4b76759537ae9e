//! Blocks whose content says which number they are, so that a lost write is seen byte for byte (S4).

use crate::takeover::error::TakeoverError;
use base::Prng;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// One write.
pub const BLOCK_LEN: usize = 4096;
/// More wrong blocks than this are only counted.
const TOLD_MAX: usize = 16;

/// A block in memory that O_DIRECT accepts.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_LEN]);

impl Block {
    /// Zeroes.
    #[must_use]
    pub const fn zeroed() -> Self {
        Self([0; BLOCK_LEN])
    }
    /// Becomes block `number` of the file that `seed` names.
    pub fn fill(&mut self, seed: u64, number: u64) {
        let mut random = Prng::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (words, _) = self.0.as_chunks_mut::<8>();
        for word in words.iter_mut() {
            *word = random.next_u64().to_le_bytes();
        }
        if let Some(first) = words.first_mut() {
            *first = number.to_le_bytes();
        }
    }
}

/// What a file holds of the blocks that it should hold.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Blocks compared.
    pub checked: u64,
    /// Blocks that are not what was written.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Vec<u64>,
}

/// Compares blocks 0 to `count` of a file with what was written.
pub fn verify(file: &Path, seed: u64, count: u64) -> Result<Verdict, TakeoverError> {
    let doing = format!("read {}", file.display());
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(file)
        .map_err(TakeoverError::io(&doing))?;
    let mut verdict = Verdict::default();
    let (mut found, mut wanted) = (Block::zeroed(), Block::zeroed());
    for number in 0..count {
        wanted.fill(seed, number);
        let same = match file.read_exact_at(&mut found.0, number * BLOCK_LEN as u64) {
            Ok(()) => found.0 == wanted.0,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => false,
            Err(e) => return Err(TakeoverError::io(&doing)(e)),
        };
        verdict.checked += 1;
        if !same {
            verdict.wrong += 1;
            if verdict.first_wrong.len() < TOLD_MAX {
                verdict.first_wrong.push(number);
            }
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_LEN, Block, verify};
    use std::io::Write;

    #[test]
    fn a_missing_a_wrong_and_an_exchanged_block_are_told() {
        let path = std::env::temp_dir().join(format!("ng-pattern-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        let mut block = Block::zeroed();
        for number in [0, 1, 3, 3] {
            block.fill(7, number);
            file.write_all(&block.0).unwrap();
        }
        let verdict = verify(&path, 7, 5);
        std::fs::remove_file(&path).unwrap();
        let verdict = verdict.unwrap();
        assert_eq!((verdict.checked, verdict.wrong), (5, 2));
        assert_eq!(verdict.first_wrong, [2, 4]);
    }

    #[test]
    fn blocks_differ_by_number_and_by_seed_everywhere() {
        let (mut a, mut b) = (Block::zeroed(), Block::zeroed());
        a.fill(1, 1);
        b.fill(1, 2);
        let same = a.0.iter().zip(&b.0).filter(|(x, y)| x == y).count();
        assert!(same < BLOCK_LEN / 32, "{same} bytes are the same");
        b.fill(2, 1);
        assert_ne!(a.0, b.0);
    }
}
