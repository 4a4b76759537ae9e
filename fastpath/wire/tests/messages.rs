//! The bytes of agreement messages: golden lines, round trips, and arbitrary bytes that must never panic.

use ng_wire::codec::{Malformed, Writer};
use ng_wire::entry::{BODY_MAX, FenceProof, RemovalCause};
use ng_wire::message::{Order, Suspicion};
use ng_wire::{
    ClientId, Entry, EntryKind, Incarnation, Life, Message, NodeId, Op, Seq, Stint, Term,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

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

/// One of everything; its lines in testdata/messages.txt are the contract.
fn samples() -> Vec<(&'static str, Message)> {
    let n5 = node(5);
    let i6 = Incarnation(6);
    let entries = vec![
        entry(EntryKind::Cold { era: 1, admits: 2 }),
        entry(EntryKind::Admit { node: n5, incarnation: i6 }),
        entry(EntryKind::Noop),
        entry(EntryKind::Request { client: ClientId(7), seq: Seq(8), body: vec![9, 10] }),
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
        ("join", Message::Join { removed_at: Op(11), op: Op(12), fresh: true, era: 1 }),
        ("stale", Message::Stale { node: n5, highest: i6 }),
        (
            "request",
            Message::Request { client: ClientId(7), seq: Seq(8), first: Seq(6), body: vec![9] },
        ),
        ("cold-request", Message::ColdRequest { term: term() }),
        ("cold-promise", Message::ColdPromise { term: term() }),
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
    let body = vec![0; BODY_MAX + 1];
    let fat = bytes(&Message::Request { client: ClientId(1), seq: Seq(1), first: Seq(1), body });
    assert_eq!(Message::decode(&fat), Err(Malformed::TooLong("request body")));
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
            EntryKind::Request { client: ClientId(client), seq: Seq(seq), body }
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
        (any::<u32>(), 0..=128_u8).prop_map(|(era, admits)| EntryKind::Cold { era, admits }),
    ]
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
        tag in 1..=19_u8, mut raw in vec(any::<u8>(), 0..200),
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
        assert_eq!(Message::decode(&bytes(&promise)), Ok(promise));
    }
}

#[test]
fn every_sample_comes_back_as_it_went() {
    for (name, message) in samples() {
        assert_eq!(Message::decode(&bytes(&message)), Ok(message), "{name}");
    }
}
