//! The bytes of agreement messages: golden lines, round trips, and arbitrary bytes that must never panic.

use ng_wire::codec::{Malformed, Writer};
use ng_wire::entry::{BODY_MAX, FenceProof, RemovalCause};
use ng_wire::message::{DATAGRAM_MAX, MESSAGE_MAX, Order, Suspicion};
use ng_wire::{
    Charter, ClientId, Configuration, Edition, Entry, EntryKind, Incarnation, Life, Message,
    NodeId, NodeSet, Op, Seq, Stint, Term,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::sync::Arc;

fn node(id: u8) -> NodeId {
    NodeId::new(id).expect("1..=128")
}

fn life(id: u8, incarnation: u32) -> Life {
    Life { node: node(id), incarnation: Incarnation(incarnation) }
}

fn term() -> Term {
    Term { era: 1, counter: 2, life: life(3, 4) }
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut to = Writer::new();
    message.encode(&mut to);
    to.0
}

fn entry(kind: EntryKind) -> Entry {
    Entry { term: term(), level: 1, kind }
}

fn edition() -> Edition {
    Edition { version: 30, term: term(), digest: 0x3132_3334_3536_3738 }
}

fn configuration() -> Arc<Configuration> {
    Arc::new(Configuration {
        version: 31,
        nodes: NodeSet(0x8000_0000_0000_0000_0000_0000_0000_0007),
        voters: NodeSet(7),
        witnesses: NodeSet(4),
        interval_us: 10_000,
        misses: 3,
        level: 1,
        digest: 0x3132_3334_3536_3738,
        document: Arc::from(*b"doc"),
    })
}

/// One of everything; its lines in testdata/messages.txt are the contract.
fn samples() -> Vec<(&'static str, Message)> {
    let n5 = node(5);
    let i6 = Incarnation(6);
    let entries = vec![
        entry(EntryKind::Cold {
            era: 1,
            admits: 2,
            version: 30,
            electorate: NodeSet(7),
            absent: NodeSet(4),
        }),
        entry(EntryKind::Configure { configuration: configuration() }),
        entry(EntryKind::Vote { version: 32, node: n5, incarnation: i6, votes: true }),
        entry(EntryKind::Admit { node: n5, incarnation: i6 }),
        entry(EntryKind::Noop),
        entry(EntryKind::Request { client: ClientId(7), seq: Seq(8), body: vec![9, 10].into() }),
        entry(EntryKind::Remove {
            node: n5,
            incarnation: i6,
            stint: Stint(2),
            cause: RemovalCause::Silent,
        }),
        entry(EntryKind::Fenced { node: n5, incarnation: i6, proof: FenceProof::Operator }),
    ];
    let set = vec![Suspicion { life: life(5, 6), stint: Stint(2), obituary: true }];
    vec![
        (
            "prepare",
            Message::Prepare {
                term: term(),
                prev_op: Op(11),
                prev_term: term(),
                entries: entries.clone(),
                commit: Op(12),
                release: Op(13),
                held: Op(14),
            },
        ),
        ("prepare-ok", Message::PrepareOk { term: term(), op: Op(11) }),
        ("reject", Message::Reject { term: term() }),
        ("fetch", Message::Fetch { term: term(), from: Op(11) }),
        ("suspect", Message::Suspect { term: term(), number: 14, set }),
        ("promise-request", Message::PromiseRequest { term: term() }),
        (
            "promise",
            Message::Promise {
                term: term(),
                commit: Op(12),
                last_op: Op(18),
                last_term: term(),
                prev_op: Op(12),
                prev_term: term(),
                tail: entries,
            },
        ),
        (
            "join",
            Message::Join {
                removed_at: Op(11),
                op: Op(12),
                fresh: true,
                era: 1,
                edition: edition(),
            },
        ),
        ("stale", Message::Stale { node: n5, highest: i6 }),
        (
            "request",
            Message::Request {
                client: ClientId(7),
                seq: Seq(8),
                first: Seq(6),
                body: vec![9].into(),
            },
        ),
        ("cold-request", Message::ColdRequest { term: term(), edition: edition() }),
        ("cold-promise", Message::ColdPromise { term: term(), edition: edition() }),
        ("cold-release", Message::ColdRelease { term: term() }),
        (
            "committed",
            Message::Committed {
                prev_op: Op(11),
                prev_term: term(),
                entries: vec![entry(EntryKind::Noop)],
            },
        ),
        ("order", Message::Order { life: life(5, 6), order: Order::Fenced }),
        ("ended", Message::Ended { life: life(5, 6) }),
        (
            "offer",
            Message::Offer { op: Op(11), op_term: term(), heads: 1, slices: 3, bytes: 40_000 },
        ),
        ("fetch-slice", Message::FetchSlice { op: Op(11), op_term: term(), index: 2 }),
        (
            "slice",
            Message::Slice {
                op: Op(11),
                op_term: term(),
                index: 2,
                bytes: [9, 10].as_slice().into(),
            },
        ),
        ("configure", Message::Configure { configuration: configuration() }),
        (
            "charter",
            Message::Charter {
                charter: Charter {
                    version: 33,
                    term: term(),
                    electorate: NodeSet(3),
                    configuration: configuration(),
                },
            },
        ),
    ]
}

#[test]
fn bytes_on_the_wire_are_the_golden_ones() {
    let golden = include_str!("../testdata/messages.txt");
    let now: String = samples()
        .iter()
        .map(|(name, message)| {
            let hex: String = bytes(message).iter().map(|b| format!("{b:02x}")).collect();
            format!("{name} {hex}\n")
        })
        .collect();
    assert_eq!(now, golden, "the format changed: take a new wire version, keep old numbers");
}

#[test]
fn what_is_left_over_or_out_of_range_is_named() {
    for (name, message) in samples() {
        let mut long = bytes(&message);
        long.push(0);
        assert_eq!(Message::decode(&long), Err(Malformed::Trailing), "{name}");
        let whole = bytes(&message);
        for cut in 0..whole.len() {
            let short = whole.get(..cut).unwrap_or(&[]);
            assert!(Message::decode(short).is_err(), "{name} cut at {cut}");
        }
    }
    assert_eq!(Message::decode(&[0]), Err(Malformed::OutOfRange("message kind")));
    let body = vec![0; BODY_MAX + 1].into();
    let fat = bytes(&Message::Request { client: ClientId(1), seq: Seq(1), first: Seq(1), body });
    assert_eq!(Message::decode(&fat), Err(Malformed::TooLong("request body")));
}

#[test]
fn a_list_longer_than_the_bytes_that_are_left_is_refused_before_anything_is_read() {
    let (_, prepare) = samples().swap_remove(0);
    let mut raw = bytes(&prepare);
    // The count stands before the entries, after number, term, op, term and three ops.
    let count_at = 1 + 13 + 8 + 13 + 3 * 8;
    raw[count_at..count_at + 4].copy_from_slice(&1_000_u32.to_le_bytes());
    assert_eq!(Message::decode(&raw), Err(Malformed::Truncated));
    raw[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::decode(&raw), Err(Malformed::TooLong("entries")));
}

#[test]
fn the_largest_request_is_one_message_and_says_that_it_is_large() {
    let body: Arc<[u8]> = vec![3; BODY_MAX].into();
    let (client, seq) = (ClientId(7), Seq(8));
    let request = entry(EntryKind::Request { client, seq, body: body.clone() });
    let (term, op) = (term(), Op(3));
    let (entries, tail) = (vec![request.clone()], vec![request]);
    let large = [
        Message::Request { client, seq, first: seq, body },
        Message::Prepare {
            term,
            prev_op: op,
            prev_term: term,
            entries: entries.clone(),
            commit: op,
            release: op,
            held: op,
        },
        Message::Promise {
            term,
            commit: op,
            last_op: op,
            last_term: term,
            prev_op: op,
            prev_term: term,
            tail,
        },
        Message::Committed { prev_op: op, prev_term: term, entries },
    ];
    for message in large {
        assert!(message.is_large());
        let raw = bytes(&message);
        assert!(raw.len() <= MESSAGE_MAX);
        assert_eq!(Message::decode(&raw), Ok(message));
    }
    assert_eq!(Message::decode(&vec![0; MESSAGE_MAX + 1]), Err(Malformed::TooLong("message")));
}

#[test]
fn what_is_not_large_fits_a_datagram() {
    for (name, message) in samples() {
        assert!(!message.is_large() && bytes(&message).len() <= message.size(), "{name}");
    }
    let (client, seq) = (ClientId(7), Seq(8));
    for length in DATAGRAM_MAX - 300..DATAGRAM_MAX + 100 {
        let body = vec![0; length].into();
        let message = Message::Request { client, seq, first: seq, body };
        assert!(message.is_large() || bytes(&message).len() <= DATAGRAM_MAX, "{length}");
    }
}

#[test]
fn the_length_bound_of_an_entry_holds() {
    for (_, message) in samples() {
        let Message::Prepare { entries, .. } = message else { continue };
        for entry in entries {
            let mut to = Writer::new();
            entry.encode(&mut to);
            assert!(to.0.len() <= entry.size(), "{entry:?}");
        }
    }
}

fn any_life() -> impl Strategy<Value = Life> {
    (1..=128_u8, any::<u32>()).prop_map(|(id, incarnation)| life(id, incarnation))
}

fn any_term() -> impl Strategy<Value = Term> {
    (any::<u32>(), any::<u32>(), any_life()).prop_map(|(era, counter, life)| Term {
        era,
        counter,
        life,
    })
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let causes = prop_oneof![
        Just(RemovalCause::Silent),
        Just(RemovalCause::Obituary),
        Just(RemovalCause::Progress),
        Just(RemovalCause::Superseded),
        Just(RemovalCause::Operator),
    ];
    prop_oneof![
        Just(EntryKind::Noop),
        (any::<u64>(), any::<u64>(), vec(any::<u8>(), 0..64)).prop_map(|(client, seq, body)| {
            EntryKind::Request { client: ClientId(client), seq: Seq(seq), body: body.into() }
        }),
        (any_life(), any::<u64>(), causes).prop_map(|(life, stint, cause)| EntryKind::Remove {
            node: life.node,
            incarnation: life.incarnation,
            stint: Stint(stint),
            cause
        }),
        any_life().prop_map(|l| EntryKind::Admit { node: l.node, incarnation: l.incarnation }),
        (any_life(), prop_oneof![Just(FenceProof::Operator), Just(FenceProof::NewLife)]).prop_map(
            |(Life { node, incarnation }, proof)| EntryKind::Fenced { node, incarnation, proof }
        ),
        (any::<[u32; 2]>(), 0..=128_u8, any::<[u128; 2]>()).prop_map(
            |([era, version], admits, [electorate, absent])| EntryKind::Cold {
                era,
                admits,
                version,
                electorate: NodeSet(electorate),
                absent: NodeSet(absent),
            }
        ),
        any_configuration().prop_map(|c| EntryKind::Configure { configuration: Arc::new(c) }),
        (any::<u32>(), any_life(), any::<bool>()).prop_map(|(version, l, votes)| EntryKind::Vote {
            version,
            node: l.node,
            incarnation: l.incarnation,
            votes
        }),
    ]
}

fn any_configuration() -> impl Strategy<Value = Configuration> {
    let numbers = (any::<[u32; 3]>(), any::<u16>(), any::<u64>());
    (any::<[u128; 3]>(), numbers, vec(any::<u8>(), 0..64)).prop_map(
        |(
            [nodes, voters, witnesses],
            ([version, interval_us, misses], level, digest),
            document,
        )| {
            Configuration {
                version,
                nodes: NodeSet(nodes),
                voters: NodeSet(voters),
                witnesses: NodeSet(witnesses),
                interval_us,
                misses,
                level,
                digest,
                document: document.into(),
            }
        },
    )
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    vec((any_term(), any::<u16>(), any_kind()), 0..20).prop_map(|list| {
        list.into_iter().map(|(term, level, kind)| Entry { term, level, kind }).collect()
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw in vec(any::<u8>(), 0..600)) {
        let _ = Message::decode(&raw);
    }

    #[test]
    fn a_known_kind_with_arbitrary_bytes_never_panics(
        tag in 1..=21_u8, mut raw in vec(any::<u8>(), 0..200),
    ) {
        raw.insert(0, tag);
        let _ = Message::decode(&raw);
    }

    #[test]
    fn prepares_and_promises_come_back_as_they_went(
        term in any_term(), other in any_term(), ops in any::<[u64; 3]>(), entries in any_entries(),
    ) {
        let [a, b, c] = ops.map(Op);
        let prepare = Message::Prepare {
            term, prev_op: a, prev_term: other, entries: entries.clone(), commit: b, release: c, held: a,
        };
        assert_eq!(Message::decode(&bytes(&prepare)), Ok(prepare));
        let promise = Message::Promise {
            term, commit: a, last_op: b, last_term: other, prev_op: c, prev_term: other, tail: entries,
        };
        assert!(bytes(&promise).len() <= promise.size());
        assert_eq!(Message::decode(&bytes(&promise)), Ok(promise));
    }
}

#[test]
fn every_sample_comes_back_as_it_went() {
    for (name, message) in samples() {
        assert_eq!(Message::decode(&bytes(&message)), Ok(message), "{name}");
    }
}
