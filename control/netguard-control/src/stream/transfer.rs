//! A snapshot of 64 MiB over the stream: two agreements, what is large between them through real sockets, what fits a
//! datagram from hand to hand.

use super::Stream;
use super::tests::{life, node, stream, wait_for};
use crate::system;
use agreement::{Action, Agreement, Limits, Settings, Status};
use base::{Duration, Instant};
use link::Destination;
use std::collections::VecDeque;
use std::sync::Arc;
use wire::message::SLICE_MAX;
use wire::{Charter, ClientId, Configuration, Message, NodeSet, Op, Seq};

const SLICES: usize = 64 * 1024 * 1024 / SLICE_MAX;

struct End {
    agreement: Agreement,
    stream: Stream,
    /// What the state machines say for each snapshot.
    state: Vec<Arc<[u8]>>,
    installed: Option<Vec<Arc<[u8]>>>,
    /// The longest that one call took.
    longest: Duration,
}

/// One voter, and one member without a vote.
fn end(id: u8, port: u16, state: Vec<Arc<[u8]>>) -> End {
    let nodes: NodeSet = [1, 2].map(node).into_iter().collect();
    let voters: NodeSet = [node(1)].into_iter().collect();
    let file = Configuration { nodes, ..Configuration::plain(voters, NodeSet::EMPTY) };
    let settings = Settings {
        me: life(id, 1),
        charter: Charter::of_file(file),
        interval: Duration::from_millis(10),
        misses: 3,
        longest: Duration::from_millis(30),
        rate_ppm: 1_000,
        era_promised: 0,
        level: 1,
        limits: Limits { snapshot_every: 8, kept: 0, ..Limits::default() },
    };
    let agreement = Agreement::new(settings, system::now());
    let (installed, longest) = (None, Duration::ZERO);
    End { agreement, stream: stream(id, port, 1), state, installed, longest }
}

impl End {
    fn call(&mut self, f: impl FnOnce(&mut Agreement, Instant)) {
        let begin = system::now();
        f(&mut self.agreement, begin);
        self.longest = self.longest.max(system::now().since(begin));
    }

    /// Performs what it wants; what fits a datagram is left in `out`.
    fn perform(&mut self, out: &mut VecDeque<Message>) {
        while let Some(action) = self.agreement.poll_action() {
            match action {
                Action::Send { message, .. } if message.is_large() => {
                    let other =
                        if self.agreement.life().node == node(1) { node(2) } else { node(1) };
                    self.stream.send(Destination::Node(other), message);
                }
                Action::Send { message, .. } => out.push_back(message),
                Action::Freeze { node, stint } => {
                    self.call(|a, now| a.handle_frozen(now, node, stint, now));
                }
                Action::StoreEra { era } => self.call(|a, now| a.handle_era_stored(now, era)),
                Action::StoreConfiguration { charter } => {
                    let edition = charter.edition();
                    self.call(|a, now| a.handle_configuration_stored(now, edition));
                }
                Action::Snapshot { op } => {
                    let state = self.state.clone();
                    self.call(|a, now| a.handle_snapshot(now, op, state));
                }
                Action::Install { slices, .. } => self.installed = Some(slices),
                _ => {}
            }
        }
    }
}

/// One round: what is due, what came, what follows. `from_hand` holds what the other says in datagrams.
fn turn(end: &mut End, from_hand: &mut VecDeque<Message>, out: &mut VecDeque<Message>) {
    let other = if end.agreement.life().node == node(1) { life(2, 1) } else { life(1, 1) };
    if end.agreement.poll_deadline().is_some_and(|at| at <= system::now()) {
        end.call(Agreement::handle_timeout);
    }
    for message in std::mem::take(from_hand) {
        end.call(|a, now| a.handle_message(now, other, message));
        end.perform(out);
    }
    while let Some((header, message)) = end.stream.poll() {
        end.call(|a, now| a.handle_message(now, header.from, message));
        end.perform(out);
    }
    end.perform(out);
}

#[test]
fn sixty_four_megabytes_come_over_the_stream_while_the_holder_goes_on() {
    let slice = |n: usize| Arc::from(vec![n as u8; SLICE_MAX]);
    let state: Vec<Arc<[u8]>> = (0..SLICES).map(slice).collect();
    let (mut one, mut nobody) = (end(1, 46_500, state.clone()), VecDeque::new());
    let mut to_two = VecDeque::new();
    wait_for("it begins alone", || {
        turn(&mut one, &mut nobody, &mut to_two);
        one.agreement.status() == Status::Primary && one.agreement.commit() > Op::ZERO
    });
    for seq in 1..=40 {
        one.call(|a, now| a.handle_request(now, ClientId(7), Seq(seq), vec![1]).unwrap());
        one.perform(&mut to_two);
    }
    // What nobody lacks is forgotten within some deadlines.
    wait_for("the log has lost its beginning", || {
        turn(&mut one, &mut nobody, &mut to_two);
        one.agreement.log().base() > Op::ZERO
    });
    to_two.clear();
    let mut two = end(2, 46_500, Vec::new());
    let (begin, mut to_one) = (system::now(), VecDeque::new());
    one.longest = Duration::ZERO;
    wait_for("it is installed and admitted", || {
        turn(&mut one, &mut to_one, &mut to_two);
        turn(&mut two, &mut to_two, &mut to_one);
        two.installed.is_some() && two.agreement.roster().stint(life(2, 1)).is_member()
    });
    let took = system::now().since(begin);
    assert_eq!(two.installed.map(|slices| slices == state), Some(true));
    println!(
        "{SLICES} slices of {SLICE_MAX} bytes in {took}: {} MiB/s; the longest call took the holder {}, the puller {}",
        64_000_000_000 / took.nanos().max(1),
        one.longest,
        two.longest
    );
}
