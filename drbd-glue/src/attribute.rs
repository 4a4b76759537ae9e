//! Netlink attributes: written into a buffer, walked in an answer.
//!
//! An attribute is length (header included), type, value, padding to four bytes. A nested one must
//! carry [`NESTED`]: since 5.2 the kernel parses strictly and answers EINVAL without it.

/// Marks an attribute whose value is a list of attributes.
pub const NESTED: u16 = 0x8000;
/// Type bits that are no part of the number: nested, byte order (DRBD uses it for "mandatory").
const FLAGS: u16 = 0xc000;
const HEADER_LEN: usize = 4;

/// Appends a list of attributes to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `bytes`, whose length must be a multiple of four.
    pub const fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes }
    }
    /// One attribute with its value as bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.header(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
        self
    }
    /// A 32-bit number.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }
    /// An 8-bit number; DRBD's flags are such.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }
    /// A text with its final zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.header(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
        self
    }
    /// A nested list, filled in by `fill`.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        let start = self.header(kind | NESTED);
        fill(&mut Writer { bytes: self.bytes });
        self.close(start);
        self
    }

    fn header(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }
    /// Fills in the length, which does not count the padding.
    fn close(&mut self, start: usize) {
        let len = (self.bytes.len() - start) as u16;
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(HEADER_LEN), 0);
    }
}

/// One attribute of an answer; the number is without flag bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Which one, as its family counts.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as a 32-bit number.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        self.value.first_chunk().map(|raw| u32::from_ne_bytes(*raw))
    }
    /// The value as a 16-bit number.
    #[must_use]
    pub fn u16(&self) -> Option<u16> {
        self.value.first_chunk().map(|raw| u16::from_ne_bytes(*raw))
    }
    /// The value as a 64-bit number.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        self.value.first_chunk().map(|raw| u64::from_ne_bytes(*raw))
    }
    /// The value as text, up to its final zero.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        let end = self.value.iter().position(|b| *b == 0).unwrap_or(self.value.len());
        std::str::from_utf8(self.value.get(..end)?).ok()
    }
}

/// Walks a list of attributes; ends at the first whose length does not fit.
pub fn walk(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk::<HEADER_LEN>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(HEADER_LEN)..).unwrap_or_default();
        Some(Attribute { kind: u16::from_ne_bytes([k0, k1]) & !FLAGS, value })
    })
}

/// The value of attribute `kind` in a list.
#[must_use]
pub fn find(bytes: &[u8], kind: u16) -> Option<Attribute<'_>> {
    walk(bytes).find(|a| a.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::{Attribute, Writer, find, walk};

    #[test]
    fn golden_nest_with_text_number_and_flag() {
        let mut bytes = vec![];
        Writer::new(&mut bytes)
            .nest(2, |inner| {
                inner.u32(1, 7).text(2, "r0");
            })
            .u8(6, 1);
        let wanted = [
            &[20u8, 0, 2, 0x80][..],
            &[8, 0, 1, 0, 7, 0, 0, 0],
            &[7, 0, 2, 0, b'r', b'0', 0, 0],
            &[5, 0, 6, 0, 1, 0, 0, 0],
        ];
        assert_eq!(bytes, wanted.concat());
    }

    #[test]
    fn what_is_written_is_found_again() {
        let mut bytes = vec![];
        Writer::new(&mut bytes).nest(2, |inner| {
            inner.bytes(3, &[1, 2, 3, 4, 5]).text(0x4002, "name");
        });
        let nest = find(&bytes, 2).unwrap();
        assert_eq!(find(nest.value, 3), Some(Attribute { kind: 3, value: &[1, 2, 3, 4, 5] }));
        assert_eq!(find(nest.value, 2).unwrap().text(), Some("name"));
        assert_eq!(find(nest.value, 9), None);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        for len in [0u16, 1, 3, 9, u16::MAX] {
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend([1, 0, 1, 1, 1, 1]);
            assert_eq!(walk(&bytes).count(), 0, "length {len}");
        }
        assert_eq!(Attribute { kind: 1, value: &[1, 2] }.u32(), None);
        assert_eq!(Attribute { kind: 1, value: &[0xff] }.text(), None);
    }
}
