//! Bytes as decisions (the idea is Hypothesis': MacIver, Donaldson, ECOOP 2020). When the bytes are
//! used up every decision is the first one, so that cutting an input makes its case smaller.

use base::Prng;

/// Decisions still to be read.
#[derive(Clone, Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
    /// True when every further decision is the first one.
    #[must_use]
    pub const fn are_used_up(&self) -> bool {
        self.0.is_empty()
    }
    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }
    /// `n` bytes as one number.
    fn number(&mut self, n: usize) -> u64 {
        (0..n).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }
    /// A number in `0..bound`; 0 for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        let width = match bound {
            0 | 1 => return 0,
            2..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        self.number(width) % bound
    }
    /// True in about `numerator` of `denominator` cases; a small `numerator` is the rarer one, and
    /// false is the first.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) >= denominator.saturating_sub(numerator)
    }
    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let at = self.below(of.len() as u64);
        of.get(usize::try_from(at).ok()?).copied()
    }
    /// A number that is often at an edge: small, a power of two, or the largest.
    pub fn edge(&mut self, bits: u32) -> u64 {
        let most = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        match self.byte() % 6 {
            0 | 1 => u64::from(self.byte()) % 8,
            2 => u64::from(self.byte()),
            3 => most - u64::from(self.byte()) % 4,
            4 => (1_u64 << (u32::from(self.byte()) % bits)).wrapping_sub(self.below(2)) & most,
            _ => self.number(8) & most,
        }
    }
    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.byte()).collect()
    }
    /// A short text; some characters take more than one byte.
    pub fn text(&mut self, most: u64) -> String {
        const LETTERS: &[char] =
            &['a', 'z', '0', '-', ' ', '"', '\\', '\n', '{', 'ä', '€', '𝄞', '\0'];
        let length = self.below(most + 1);
        (0..length).filter_map(|_| self.pick(LETTERS)).collect()
    }
}

/// Decisions of a seed: mostly few, sometimes many.
#[must_use]
pub fn random(dice: &mut Prng, most: u64) -> Vec<u8> {
    let length = most >> dice.below(6);
    let length = dice.below(length + 1);
    // Small bytes now and then: they are the first of several choices.
    let calm = dice.below(3);
    (0..length)
        .map(|_| {
            let byte = dice.next_u64() as u8;
            if calm > 0 && dice.chance(calm, 6) { byte % 4 } else { byte }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Choices;

    #[test]
    fn used_up_choices_are_the_first_ones() {
        let mut choices = Choices::new(&[7, 1]);
        assert_eq!((choices.below(5), choices.chance(1, 2), choices.below(300)), (2, true, 0));
        assert!(choices.are_used_up());
        assert_eq!(
            (choices.below(u64::MAX), choices.chance(1, 2), choices.edge(64)),
            (0, false, 0)
        );
        assert_eq!((choices.pick(&[3, 4]), choices.text(9)), (Some(3), String::new()));
    }
}
