//! Frames: the same on a guest's serial line and on the lab's socket.
//!
//! `length u32` (of what follows the header), `id u32` (which command), `kind u8`, then the bytes;
//! little endian. A line of which one byte is lost is of no more use: there is no resynchronisation.

use std::io::{self, Read, Write};

/// The largest payload.
pub const PAYLOAD_MAX: usize = 64 * 1024;
/// Bytes before the payload.
const HEADER: usize = 9;

/// What a payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A message in JSON.
    Message,
    /// Standard input of a command, or its standard output.
    Bytes,
    /// Its standard error.
    Errors,
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Which command it belongs to.
    pub id: u32,
    /// What it carries.
    pub kind: Kind,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// Writes a frame in one call, so that writers behind one lock do not mix.
///
/// # Errors
/// Those of the writer, and a payload that is too large.
pub fn write(to: &mut impl Write, id: u32, kind: Kind, payload: &[u8]) -> io::Result<()> {
    if payload.len() > PAYLOAD_MAX {
        let text = format!("a frame of {} bytes; at most {PAYLOAD_MAX}", payload.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.push(kind as u8);
    bytes.extend(payload);
    to.write_all(&bytes)
}

/// Reads the next frame; `None` at a clean end.
///
/// # Errors
/// Those of the reader; `InvalidData` for what cannot be a frame.
pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut header = [0_u8; HEADER];
    if from.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..])?;
    let [l0, l1, l2, l3, i0, i1, i2, i3, kind] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let kind = match kind {
        0 => Kind::Message,
        1 => Kind::Bytes,
        2 => Kind::Errors,
        other => return Err(nonsense(format!("a frame of kind {other}"))),
    };
    if length > PAYLOAD_MAX {
        return Err(nonsense(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Some(Frame { id: u32::from_le_bytes([i0, i1, i2, i3]), kind, payload }))
}

fn nonsense(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::{Frame, Kind, PAYLOAD_MAX, read, write};

    #[test]
    fn what_is_written_is_read_and_then_the_end() {
        let mut line = Vec::new();
        write(&mut line, 7, Kind::Message, b"{}").unwrap();
        write(&mut line, u32::MAX, Kind::Errors, b"").unwrap();
        let mut rest = line.as_slice();
        let first = Frame { id: 7, kind: Kind::Message, payload: b"{}".to_vec() };
        let second = Frame { id: u32::MAX, kind: Kind::Errors, payload: vec![] };
        assert_eq!(read(&mut rest).unwrap(), Some(first));
        assert_eq!(read(&mut rest).unwrap(), Some(second));
        assert_eq!(read(&mut rest).unwrap(), None);
    }

    #[test]
    fn nonsense_and_cut_off_frames_are_errors_and_never_large() {
        let mut line = Vec::new();
        write(&mut line, 1, Kind::Bytes, b"abc").unwrap();
        for length in 1..line.len() {
            assert!(read(&mut &line[..length]).is_err(), "{length} bytes of a frame");
        }
        assert!(read(&mut [255_u8; 32].as_slice()).is_err());
        line[8] = 9;
        assert!(read(&mut line.as_slice()).is_err(), "an unknown kind");
        assert!(write(&mut Vec::new(), 1, Kind::Bytes, &vec![0; PAYLOAD_MAX + 1]).is_err());
    }
}
