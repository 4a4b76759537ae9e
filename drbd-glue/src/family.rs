//! The number under which the kernel knows DRBD: generic netlink gives it out when the module loads.

use crate::attribute::{Writer, find};
use crate::error::DrbdError;
use crate::request::{HEADER_LEN, Header};

/// The family that tells about families; its number is fixed.
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const CONTROLLER_VERSION: u8 = 1;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const FAMILY_VERSION: u16 = 3;

/// The version of DRBD's interface in 8.4; DRBD 9 counts from 2.
pub const VERSION: u32 = 1;

/// Writes the question for DRBD's family into `buffer`.
pub fn ask(buffer: &mut Vec<u8>, sequence: u32) {
    let header =
        Header { family: CONTROLLER, command: GET_FAMILY, version: CONTROLLER_VERSION, sequence };
    header.begin(buffer);
    Writer::new(buffer).text(FAMILY_NAME, "drbd");
    Header::finish(buffer);
}

/// The family's number, from the whole answer; only of the version that this crate speaks.
pub fn read(message: &[u8]) -> Result<u16, DrbdError> {
    let doing = "ask for DRBD's netlink family";
    let list = message.get(HEADER_LEN..).unwrap_or_default();
    let number = |kind| find(list, kind);
    let id = number(FAMILY_ID).and_then(|a| a.u16()).ok_or(DrbdError::Answer { doing })?;
    let version =
        number(FAMILY_VERSION).and_then(|a| a.u32()).ok_or(DrbdError::Answer { doing })?;
    if version != VERSION {
        return Err(DrbdError::Version { found: version, spoken: VERSION });
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::{FAMILY_ID, FAMILY_VERSION, HEADER_LEN, Writer, ask, read};
    use crate::error::DrbdError;

    #[test]
    fn golden_question() {
        let mut bytes = vec![];
        ask(&mut bytes, 9);
        let wanted = [
            &[32u8, 0, 0, 0, 16, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0][..],
            &[3, 1, 0, 0],
            &[9, 0, 2, 0, b'd', b'r', b'b', b'd', 0, 0, 0, 0],
        ];
        assert_eq!(bytes, wanted.concat());
    }

    fn answer(id: u16, version: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        Writer::new(&mut bytes).bytes(FAMILY_ID, &id.to_ne_bytes()).u32(FAMILY_VERSION, version);
        bytes
    }

    #[test]
    fn another_drbd_is_refused_by_its_version() {
        assert_eq!(read(&answer(27, 1)).unwrap(), 27);
        let refused = read(&answer(27, 2));
        assert!(matches!(refused, Err(DrbdError::Version { found: 2, spoken: 1 })));
        assert!(matches!(read(&[0; 7]), Err(DrbdError::Answer { .. })));
    }
}
