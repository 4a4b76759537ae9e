//! What the kernel lets through to the ring: a classic BPF program over the frame, from its Ethernet header on. A link shares
//! its wire with whatever else is there; what is not for it must cost neither a wake-up nor a place in the ring.
//!
//! What the frame itself says is checked again when it is read.

use crate::packet::frame::{HEADER_LEN, OVERHEAD};
use libc::sock_filter;
use wire::ethernet::{ETHERTYPE, PORT_AT, TO_AT};
use wire::{ClusterId, NodeId};

const ETHERTYPE_AT: usize = 12;
/// Of the cluster id in the frame's header.
const CLUSTER_AT: usize = OVERHEAD + wire::frame::CLUSTER_AT;
/// The whole frame.
const TAKE: u32 = u32::MAX;
const DROP: u32 = 0;

/// Instructions of the program.
pub(crate) const LENGTH: usize = 17;

/// The program. Frames for other stations do not pass either: a card in promiscuous mode sees them, and those of a VLAN that has
/// no interface here. Nor do frames for an interface that stands on this one (VLAN, macvlan): the kernel offers them to whoever
/// listens below, too.
pub(crate) const fn program(
    me: NodeId,
    interface: u32,
    port: u16,
    ClusterId(cluster): ClusterId,
) -> [sock_filter; LENGTH] {
    // The id lies little-endian, and the program loads big-endian.
    let cluster = cluster.swap_bytes();
    let drop_at = LENGTH - 1;
    let kind_at = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    let interface_at = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32;
    [
        load(libc::BPF_H, ETHERTYPE_AT as u32),
        unless(ETHERTYPE as u32, 1, drop_at),
        load(libc::BPF_B, kind_at),
        when(libc::PACKET_OTHERHOST as u32, 3, drop_at),
        load(libc::BPF_W, interface_at),
        unless(interface, 5, drop_at),
        load(libc::BPF_H, (HEADER_LEN + PORT_AT) as u32),
        unless(port as u32, 7, drop_at),
        load(libc::BPF_W, CLUSTER_AT as u32),
        unless((cluster >> 32) as u32, 9, drop_at),
        load(libc::BPF_W, CLUSTER_AT as u32 + 4),
        unless(cluster as u32, 11, drop_at),
        load(libc::BPF_B, (HEADER_LEN + TO_AT) as u32),
        // For all.
        when(0, 13, drop_at - 1),
        unless(me.get() as u32, 14, drop_at),
        give(TAKE),
        give(DROP),
    ]
}

/// Loads a number of the frame; where the frame is too short, the kernel drops it.
const fn load(size: u32, at: u32) -> sock_filter {
    instruction(libc::BPF_LD | size | libc::BPF_ABS, at, 0, 0)
}

/// At `here`: goes to `to` if the number is `value`.
const fn when(value: u32, here: usize, to: usize) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, (to - here - 1) as u8, 0)
}

/// At `here`: goes to `to` if the number is not `value`.
const fn unless(value: u32, here: usize, to: usize) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 0, (to - here - 1) as u8)
}

const fn give(length: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, length, 0, 0)
}

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::{DROP, TAKE, program};
    use crate::packet::frame::{OVERHEAD, build, read};
    use base::Prng;
    use libc::sock_filter;
    use wire::ethernet::Envelope;
    use wire::{ClusterId, NodeId};

    /// The instructions that the program has, as the kernel documents them (networking/filter).
    fn run(program: &[sock_filter], frame: &[u8], kind: u8, interface: u32) -> u32 {
        let (mut at, mut a) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let word = |size: usize| {
                let bytes = frame.get(k as usize..)?.get(..size)?;
                Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
            };
            let loaded = match u32::from(code) {
                0x28 => word(2),
                0x20 if k == (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32 => Some(interface),
                0x20 => word(4),
                0x30 if k == (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32 => Some(kind.into()),
                0x30 => word(1),
                0x15 => {
                    at += usize::from(if a == k { jt } else { jf });
                    continue;
                }
                0x06 => return k,
                other => panic!("an instruction {other:x}"),
            };
            match loaded {
                Some(word) => a = word,
                None => return DROP,
            }
        }
    }

    const CLUSTER: ClusterId = ClusterId(0x0102_0304_A5B6_C7D8);

    fn frame(to: Option<u8>, port: u16, cluster: ClusterId) -> Vec<u8> {
        let mut inner = b"NG\x02\x01\x40\x00\x01\x00".to_vec();
        inner.extend(cluster.0.to_le_bytes());
        inner.extend([0; 48]);
        let envelope = Envelope { to: to.and_then(NodeId::new), port };
        build(&mut [0; 200], ([2; 6], [4; 6]), envelope, &inner).unwrap().to_vec()
    }

    #[test]
    fn what_is_for_all_or_for_this_node_passes_and_nothing_else() {
        let program = program(NodeId::new(7).unwrap(), 3, 5800, CLUSTER);
        let passes = |frame: &[u8], kind| run(&program, frame, kind, 3) == TAKE;
        for to in [None, Some(7)] {
            let frame = frame(to, 5800, CLUSTER);
            for kind in [libc::PACKET_HOST, libc::PACKET_BROADCAST, libc::PACKET_MULTICAST] {
                assert!(passes(&frame, kind));
            }
            assert!(!passes(&frame, libc::PACKET_OTHERHOST));
            // Of a VLAN on this interface.
            assert_eq!(run(&program, &frame, libc::PACKET_HOST, 4), DROP);
            for end in 0..OVERHEAD + 16 {
                assert!(!passes(&frame[..end], libc::PACKET_HOST), "{end} bytes");
            }
        }
        assert!(!passes(&frame(Some(8), 5800, CLUSTER), libc::PACKET_HOST));
        assert!(!passes(&frame(None, 5801, CLUSTER), libc::PACKET_HOST));
        for bit in 0..64 {
            let other = ClusterId(CLUSTER.0 ^ 1 << bit);
            assert!(!passes(&frame(None, 5800, other), libc::PACKET_HOST), "bit {bit}");
        }
        let mut ip = frame(None, 5800, CLUSTER);
        ip[12..14].copy_from_slice(&[8, 0]);
        assert!(!passes(&ip, libc::PACKET_HOST));
    }

    /// The program and who reads what it lets through mean the same by every byte.
    #[test]
    fn the_kernel_and_the_reader_agree_on_any_bytes() {
        let me = NodeId::new(7).unwrap();
        let program = program(me, 3, 5800, CLUSTER);
        let mut prng = Prng::new(3);
        let (mut passed, mut dropped) = (0, 0);
        for _ in 0..50_000 {
            let mut bytes = frame([None, Some(7)][prng.below(2) as usize], 5800, CLUSTER);
            for _ in 0..prng.below(3) {
                let at = prng.below(40) as usize;
                bytes[at] = prng.below(256) as u8;
            }
            let passes = run(&program, &bytes, libc::PACKET_HOST, 3) == TAKE;
            let for_me = |it: Envelope| it.port == 5800 && it.to.is_none_or(|to| to == me);
            let ours = bytes[OVERHEAD + 8..OVERHEAD + 16] == CLUSTER.0.to_le_bytes();
            match read(&bytes) {
                Some(it) if it.envelope.is_some() => {
                    assert_eq!(passes, ours && it.envelope.is_some_and(for_me), "{bytes:?}");
                }
                // Version and length are judged by the reader alone.
                Some(_) => {}
                None => assert!(!passes, "{bytes:?}"),
            }
            passed += usize::from(passes);
            dropped += usize::from(!passes);
        }
        assert!(passed > 5_000 && dropped > 5_000, "{passed} {dropped}");
    }
}
