//! The encoding of ONC RPC (RFC 4506): big-endian words, opaque bytes padded to four.

use thiserror::Error;

/// What a received message lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum XdrError {
    /// It ends too early.
    #[error("the message ends inside a value")]
    Short,
    /// A length beyond what this field may have.
    #[error("a length of {length} where at most {limit} is allowed")]
    TooLong {
        /// The length it names.
        length: u32,
        /// The most that is allowed.
        limit: u32,
    },
}

/// Builds a message.
#[derive(Clone, Default, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// One word.
    #[must_use]
    pub fn word(mut self, value: u32) -> Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Two words.
    #[must_use]
    pub fn double(mut self, value: u64) -> Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes whose number both sides know.
    #[must_use]
    pub fn fixed(mut self, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(value);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        self
    }

    /// Bytes behind their length.
    #[must_use]
    pub fn opaque(self, value: &[u8]) -> Self {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.word(length).fixed(value)
    }

    /// The message.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a message from its start.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One word.
    pub fn word(&mut self) -> Result<u32, XdrError> {
        let (word, rest) = self.rest.split_first_chunk::<4>().ok_or(XdrError::Short)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*word))
    }

    /// Two words.
    pub fn double(&mut self) -> Result<u64, XdrError> {
        let (double, rest) = self.rest.split_first_chunk::<8>().ok_or(XdrError::Short)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*double))
    }

    /// Bytes whose number both sides know.
    pub fn fixed(&mut self, length: usize) -> Result<&'a [u8], XdrError> {
        let padded = length.next_multiple_of(4);
        let (value, rest) = self.rest.split_at_checked(padded).ok_or(XdrError::Short)?;
        self.rest = rest;
        value.get(..length).ok_or(XdrError::Short)
    }

    /// Bytes behind their length, at most `limit` of them.
    pub fn opaque(&mut self, limit: u32) -> Result<&'a [u8], XdrError> {
        let length = self.word()?;
        if length > limit {
            return Err(XdrError::TooLong { length, limit });
        }
        self.fixed(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Writer, XdrError};

    #[test]
    fn values_come_back_and_bytes_are_padded() {
        let bytes = Writer::default().word(7).opaque(b"lab.c").double(9).finish();
        assert_eq!(bytes.len(), 4 + 4 + 8 + 8);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.word(), Ok(7));
        assert_eq!(reader.opaque(255), Ok(b"lab.c".as_slice()));
        assert_eq!(reader.double(), Ok(9));
        assert_eq!(reader.word(), Err(XdrError::Short));
    }

    #[test]
    fn a_length_is_never_trusted() {
        let lie = Writer::default().word(u32::MAX).finish();
        assert!(matches!(Reader::new(&lie).opaque(1024), Err(XdrError::TooLong { .. })));
        let short = Writer::default().word(8).word(0).finish();
        assert_eq!(Reader::new(&short).opaque(1024), Err(XdrError::Short));
    }
}
