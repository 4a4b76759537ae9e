//! What waits to be performed, with less to send.
//!
//! Several inputs may come in one turn of the event loop, and each makes the agreement say something: a
//! primary that takes ten requests has ten Prepares, a follower that takes ten Prepares has ten
//! acknowledgements, and who sees ten nodes fall silent has ten sets of suspects. A Prepare that the next one continues
//! joins it; an acknowledgement that a later one covers is not sent, nor a set that a later one replaces. All that only
//! makes a message later, to the place of the one that follows: what must be done
//! before a message (a freeze before the acknowledgement that rests on it) still is.
//!
//! A Prepare without entries only tells a commit, or that the primary is there. It comes after the answers to callers, and
//! not at all if one with entries, which tells as much, goes to all before. It overtakes no other message, nor is overtaken.

use crate::action::Action;
use agreement::Destination;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use wire::message::{ENTRIES_MAX, PREPARE_TARGET};
use wire::{Entry, Message, Op, Term};

/// How far ahead a message is looked for that continues or covers one.
const AHEAD_MAX: usize = 64;

/// The next action, after what can be left out. `late` gets what nobody waits for.
pub(crate) fn next(
    actions: &mut VecDeque<Action>,
    late: &mut Option<(Destination, Message)>,
) -> Option<Action> {
    while let Some(action) = actions.pop_front() {
        let Action::Send { to, message } = action else { return Some(action) };
        let left = match message {
            Message::PrepareOk { term, .. } if is_covered(actions, to, term) => None,
            Message::Suspect { .. } if is_replaced(actions) => None,
            Message::Prepare { .. } => join(actions, to, message),
            other => Some(other),
        };
        match left {
            Some(message @ Message::Prepare { .. }) if to == Destination::All => {
                // The newest says all that the others do.
                if is_bare(&message) {
                    *late = Some((to, message));
                } else {
                    // A large one takes the stream, and comes when it comes.
                    if !message.is_large() {
                        *late = None;
                    }
                    return Some(Action::Send { to, message });
                }
            }
            Some(message) => {
                // Messages keep their order: a promise to another term must not come before what was said in the last one.
                let send = Action::Send { to, message };
                let Some((to, message)) = late.take() else { return Some(send) };
                actions.push_front(send);
                return Some(Action::Send { to, message });
            }
            None => {}
        }
    }
    None
}

fn is_bare(message: &Message) -> bool {
    matches!(message, Message::Prepare { entries, .. } if entries.is_empty())
}

/// A later acknowledgement of the term says as much, and more.
fn is_covered(actions: &VecDeque<Action>, to: Destination, term: Term) -> bool {
    actions.iter().take(AHEAD_MAX).any(|action| match action {
        Action::Send { to: other, message: Message::PrepareOk { term: later, .. } } => {
            *other == to && *later == term
        }
        _ => false,
    })
}

/// A later set of suspects follows.
fn is_replaced(actions: &VecDeque<Action>) -> bool {
    let is_set = |action: &Action| {
        matches!(action, Action::Send { to: Destination::All, message: Message::Suspect { .. } })
    };
    actions.iter().take(AHEAD_MAX).any(is_set)
}

/// Puts the entries in front of those of the next Prepare, if that continues them and has room; else gives the
/// message back.
fn join(actions: &mut VecDeque<Action>, to: Destination, message: Message) -> Option<Message> {
    let Message::Prepare { term, prev_op, prev_term, entries, .. } = &message else {
        return Some(message);
    };
    let size = |list: &[Entry]| list.iter().map(Entry::size).sum::<usize>();
    let end = Op(prev_op.0.saturating_add(entries.len() as u64));
    let next = actions.iter_mut().take(AHEAD_MAX).find_map(|action| match action {
        Action::Send { to: other, message } if *other == to => Some(message),
        _ => None,
    });
    let Some(Message::Prepare {
        term: its_term,
        prev_op: its_op,
        prev_term: its_prev,
        entries: its,
        ..
    }) = next
    else {
        return Some(message);
    };
    let fits =
        size(entries) + size(its) <= PREPARE_TARGET && entries.len() + its.len() <= ENTRIES_MAX;
    if its_term != term || *its_op != end || !fits {
        return Some(message);
    }
    let mut all: Vec<Entry> = Vec::with_capacity(entries.len() + its.len());
    all.extend(entries.iter().cloned());
    all.append(its);
    (*its_op, *its_prev, *its) = (*prev_op, *prev_term, all);
    None
}

#[cfg(test)]
mod tests {
    use super::next;
    use crate::action::Action;
    use agreement::Destination;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use wire::{
        ClientId, Entry, EntryKind, Incarnation, Life, Message, NodeId, Op, Seq, Stint, Term,
    };

    fn term(counter: u32) -> Term {
        let life = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) };
        Term { era: 1, counter, life }
    }

    fn entry(seq: u64, bytes: usize) -> Entry {
        let (client, body) = (ClientId(1), alloc::vec![0; bytes].into());
        let kind = EntryKind::Request { client, seq: Seq(seq), body };
        Entry { term: term(1), level: 1, kind }
    }

    /// A Prepare of the entries after `prev`, numbered by their ops.
    fn prepare(to: Destination, counter: u32, prev: u64, count: u64, bytes: usize) -> Action {
        let entries = (prev + 1..=prev + count).map(|op| entry(op, bytes)).collect();
        let (term, op, commit) = (term(counter), Op(prev), Op(prev / 2));
        let message = Message::Prepare {
            term,
            prev_op: op,
            prev_term: term,
            entries,
            commit,
            release: commit,
            held: op,
        };
        Action::Send { to, message }
    }

    fn ok(to: u8, counter: u32, op: u64) -> Action {
        let message = Message::PrepareOk { term: term(counter), op: Op(op) };
        Action::Send { to: Destination::Node(NodeId::new(to).unwrap()), message }
    }

    fn freeze() -> Action {
        Action::Freeze { node: NodeId::new(2).unwrap(), stint: Stint(7) }
    }

    fn all(list: impl IntoIterator<Item = Action>) -> Vec<Action> {
        let mut actions: VecDeque<Action> = list.into_iter().collect();
        let mut late = None;
        let mut list: Vec<_> = core::iter::from_fn(|| next(&mut actions, &mut late)).collect();
        list.extend(late.map(|(to, message)| Action::Send { to, message }));
        list
    }

    #[test]
    fn prepares_that_continue_each_other_are_one_and_it_says_what_the_last_says() {
        let to = Destination::All;
        let joined = all([
            prepare(to, 1, 4, 1, 64),
            prepare(to, 1, 5, 2, 64),
            freeze(),
            prepare(to, 1, 7, 0, 0),
        ]);
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[0], freeze(), "nothing is sent before what stood before it");
        let Action::Send {
            message: Message::Prepare { prev_op, entries, commit, held, .. }, ..
        } = &joined[1]
        else {
            panic!("{joined:?}")
        };
        assert_eq!((*prev_op, entries.len(), *commit, *held), (Op(4), 3, Op(3), Op(7)));
        assert_eq!(entries[2], entry(7, 64));
    }

    #[test]
    fn what_does_not_continue_or_does_not_fit_stays_as_it_is() {
        let (every, one) = (Destination::All, Destination::Node(NodeId::new(3).unwrap()));
        for list in [
            [prepare(every, 1, 4, 1, 64), prepare(every, 1, 6, 1, 64)],
            [prepare(every, 1, 4, 1, 64), prepare(every, 2, 5, 1, 64)],
            [prepare(every, 1, 4, 1, 64), prepare(one, 1, 5, 1, 64)],
            [prepare(every, 1, 4, 1, 700), prepare(every, 1, 5, 1, 700)],
        ] {
            assert_eq!(all(list.clone()), list);
        }
    }

    #[test]
    fn a_bare_prepare_comes_last_and_not_at_all_before_one_with_entries() {
        let to = Destination::All;
        let bare = prepare(to, 1, 4, 0, 0);
        assert_eq!(all([bare.clone(), freeze()]), [freeze(), bare.clone()]);
        let next_one = prepare(to, 1, 5, 1, 64);
        assert_eq!(all([bare.clone(), freeze(), next_one.clone()]), [freeze(), next_one]);
        let promise = ok(2, 2, 4);
        assert_eq!(all([bare.clone(), freeze(), promise.clone()]), [freeze(), bare, promise]);
        let one = Destination::Node(NodeId::new(3).unwrap());
        let list = [prepare(one, 1, 4, 0, 0), freeze()];
        assert_eq!(all(list.clone()), list, "to one node it is an answer");
    }

    #[test]
    fn only_the_last_acknowledgement_of_a_term_is_sent() {
        let left = all([ok(1, 1, 4), freeze(), ok(1, 1, 5), ok(2, 1, 5), ok(1, 2, 6)]);
        assert_eq!(left, [freeze(), ok(1, 1, 5), ok(2, 1, 5), ok(1, 2, 6)]);
    }

    #[test]
    fn only_the_last_set_of_suspects_is_sent() {
        let set = |number| {
            let message = Message::Suspect { term: term(1), number, set: Vec::new() };
            Action::Send { to: Destination::All, message }
        };
        assert_eq!(all([set(1), freeze(), set(2), ok(1, 1, 4)]), [freeze(), set(2), ok(1, 1, 4)]);
    }
}
