//! What no kernel need be asked for.

use super::{NAME_MAX, Tag, parts};

#[test]
fn a_tag_reads_back_and_foreign_numbers_are_none() {
    for tag in [
        Tag::Receive { port: 7, serial: u32::MAX },
        Tag::Send { port: 255, serial: 1 },
        Tag::Watch { place: 15 },
    ] {
        assert_eq!(Tag::of(tag.number()), Some(tag));
    }
    for number in [0, 4, u64::MAX, 0xFF00] {
        assert_eq!(Tag::of(number), None);
    }
}

/// A buffer whose head says these lengths.
fn buffer(name: u32, control: u32, payload: u32, flags: u32, room: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [name, control, payload, flags].iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.extend(vec![1; NAME_MAX]);
    bytes.extend(vec![2; 32]);
    bytes.extend(vec![3; room]);
    bytes
}

#[test]
fn a_buffer_is_taken_apart_by_its_own_lengths() {
    let bytes = buffer(16, 32, 5, libc::MSG_TRUNC as u32, 100);
    let parts = parts(&bytes).unwrap();
    assert_eq!(
        (parts.name, parts.control, parts.payload),
        (&[1; 16][..], &[2; 32][..], &[3; 5][..])
    );
    assert!(parts.truncated);
}

#[test]
fn lengths_that_cannot_be_are_bounded_and_a_short_buffer_is_none() {
    let bytes = buffer(u32::MAX, u32::MAX, u32::MAX, 0, 9);
    let all = parts(&bytes).unwrap();
    assert_eq!((all.name.len(), all.control.len(), all.payload.len()), (NAME_MAX, 32, 9));
    for length in 0..bytes.len() - 9 {
        assert!(parts(&bytes[..length]).is_none(), "{length}");
    }
}
