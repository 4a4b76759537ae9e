//! State transfer (PROTOCOL 2): who lacks what is below every base pulls a snapshot, slice by slice.
//!
//! Any replica that has a snapshot offers it to whoever asks for entries below its base; the asker pulls a few slices at a
//! time, so that the holder answers one message with one message and is never held up. When the holder falls silent,
//! whoever else offers the same snapshot goes on with it; another one begins anew. What is here whole is installed in
//! one step, and only if it is ahead of the own commit.
//!
//! *What was acknowledged is not forgotten*: a log that has the snapshot's last entry has all below it, and everything
//! above stays: then there is nothing to install, the offer alone says that it is committed. A log that lacks it, or has
//! another entry there, holds above its commit only what the snapshot has too, or what can never commit.

use crate::api::{Action, Destination, Status, StatusEvent};
use crate::log::Log;
use crate::replica::{Agreement, floor};
use crate::snapshot::{Head, Snapshot};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use base::Instant;
use wire::{Life, Message, NodeId, Op, Term};

/// Most slices that are asked for at a time.
const WINDOW: usize = 4;
/// A pull without a new slice for so many deadlines is given up.
const PATIENCE: u64 = 20;

/// A snapshot on its way here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pull {
    holder: NodeId,
    op: Op,
    op_term: Term,
    heads: usize,
    slices: Vec<Option<Arc<[u8]>>>,
    missing: usize,
    /// The first slice that was never asked for.
    next: usize,
    /// Slices that are asked for, and when.
    asked: BTreeMap<usize, Instant>,
    /// When the last new slice came, or the pull began.
    progress: Instant,
}

impl Pull {
    fn is(&self, op: Op, op_term: Term) -> bool {
        (self.op, self.op_term) == (op, op_term)
    }
    /// The slices to ask for now: new ones up to the window, and those asked for before `due`.
    fn wanted(&mut self, now: Instant, due: Instant) -> Vec<usize> {
        while self.asked.len() < WINDOW && self.next < self.slices.len() {
            self.asked.insert(self.next, Instant::ZERO);
            self.next += 1;
        }
        let again = self.asked.iter_mut().filter(|(_, at)| **at <= due);
        again.map(|(index, at)| (*index, *at = now).0).collect()
    }
    fn take(&mut self, now: Instant, index: usize, bytes: Arc<[u8]>) {
        self.asked.remove(&index);
        if let Some(slice @ None) = self.slices.get_mut(index) {
            *slice = Some(bytes);
            self.missing -= 1;
            self.progress = now;
        }
    }
}

impl Agreement {
    /// Offers what is left of entries below the base. An asker that has promised a later era wants none of this.
    pub(crate) fn offer(&mut self, now: Instant, to: NodeId) {
        let Some(snapshot) = self.snapshots.best(now, self.log.base()) else { return };
        let message = Message::Offer {
            op: snapshot.op,
            op_term: snapshot.op_term,
            heads: snapshot.heads as u32,
            slices: snapshot.slices.len() as u32,
            bytes: snapshot.bytes(),
        };
        self.send(Destination::Node(to), message);
    }

    pub(crate) fn on_fetch_slice(
        &mut self,
        now: Instant,
        from: Life,
        (op, op_term): (Op, Term),
        index: u32,
    ) {
        let Some(snapshot) = self.snapshots.find(now, op, op_term) else {
            return self.offer(now, from.node);
        };
        let slice = usize::try_from(index).ok().and_then(|index| snapshot.slices.get(index));
        if let Some(bytes) = slice.cloned() {
            let message = Message::Slice { op, op_term, index, bytes };
            self.send(Destination::Node(from.node), message);
        }
    }

    /// True if a snapshot at `op` would be news here, and of an era that this life may follow.
    fn wants(&self, op: Op, op_term: Term) -> bool {
        // Each era counts its ops anew.
        let other = self.era().is_some_and(|era| era != op_term.era);
        let ahead = op > self.commit || other || self.off("install-older");
        let follows = match self.era() {
            Some(era) if era == op_term.era => true,
            Some(era) => op_term.era > era && op_term.era >= self.term.era,
            None => op_term.era >= self.term.era,
        };
        ahead && (follows || self.off("install-era")) && self.status != Status::Primary
    }

    /// A peer has a snapshot of what was asked for.
    pub(crate) fn on_offer(
        &mut self,
        now: Instant,
        from: Life,
        (op, op_term): (Op, Term),
        heads: u32,
        slices: u32,
    ) {
        if op_term.era < self.term.era && !self.off("install-era") {
            self.ask_for_release();
            return;
        }
        let (heads, slices) = (heads as usize, slices as usize);
        if !self.wants(op, op_term) || heads == 0 || heads > slices || self.has_entry(op, op_term) {
            return;
        }
        let (interval, deadline) = (self.settings.interval, self.deadline());
        match &mut self.pull {
            Some(pull) if pull.is(op, op_term) && pull.slices.len() == slices => {
                if now.since(pull.progress) < deadline {
                    return;
                }
                // Its holder says nothing: this one has the same.
                pull.holder = from.node;
                pull.asked.values_mut().for_each(|at| *at = Instant::ZERO);
            }
            // Who is asked for a slice that it has not offers what it has. A pull that comes on is not given up for that.
            Some(pull) if pull.holder == from.node && now.since(pull.progress) < interval * 2 => {
                return;
            }
            Some(pull) if pull.holder != from.node && now.since(pull.progress) < deadline => return,
            _ => {
                self.pull = Some(Pull {
                    holder: from.node,
                    op,
                    op_term,
                    heads,
                    slices: vec![None; slices],
                    missing: slices,
                    next: 0,
                    asked: BTreeMap::new(),
                    progress: now,
                });
            }
        }
        self.ask_for_slices(now, Instant::ZERO);
    }

    /// The log has the snapshot's last entry: it has all below, and knows now that it is committed.
    fn has_entry(&mut self, op: Op, op_term: Term) -> bool {
        let has = self.log.op() >= op && self.log.term_at(op) == Some(op_term);
        let old = self.off("install-older") && op <= self.commit;
        let has = has && !old && !self.off("install-tail");
        if has {
            self.commit_to(op);
        }
        has
    }

    pub(crate) fn on_slice(
        &mut self,
        now: Instant,
        (op, op_term): (Op, Term),
        index: u32,
        bytes: Arc<[u8]>,
    ) {
        let Some(pull) = self.pull.as_mut().filter(|pull| pull.is(op, op_term)) else { return };
        pull.take(now, usize::try_from(index).unwrap_or(usize::MAX), bytes);
        if pull.missing > 0 {
            self.ask_for_slices(now, Instant::ZERO);
        } else if let Some(pull) = self.pull.take() {
            self.finish(now, pull);
        }
    }

    /// Asks the holder for new slices up to the window, and again for what was asked for before `due`.
    fn ask_for_slices(&mut self, now: Instant, due: Instant) {
        let Some(pull) = &mut self.pull else { return };
        let (to, op, op_term) = (Destination::Node(pull.holder), pull.op, pull.op_term);
        for index in pull.wanted(now, due) {
            let message = Message::FetchSlice { op, op_term, index: index as u32 };
            self.send(to, message);
        }
    }

    /// True while a snapshot is on its way: entries below it are not asked for meanwhile.
    pub(crate) const fn is_pulling(&self) -> bool {
        self.pull.is_some()
    }

    /// Every interval while pulling: what was lost is asked for again; others are asked when the holder says nothing.
    pub(crate) fn pull_again(&mut self, now: Instant) {
        let (deadline, interval) = (self.deadline(), self.settings.interval);
        let Some(pull) = &self.pull else { return };
        let (op, op_term, silent) = (pull.op, pull.op_term, now.since(pull.progress));
        if silent >= deadline * PATIENCE || !self.wants(op, op_term) {
            self.pull = None;
            return;
        }
        if silent >= deadline {
            let from = self.commit.next();
            self.send(Destination::All, Message::Fetch { term: self.term, from });
        }
        self.ask_for_slices(now, Instant(now.0.saturating_sub(interval.0)));
    }

    /// All slices are here.
    fn finish(&mut self, now: Instant, pull: Pull) {
        let Pull { op, op_term, heads, slices, .. } = pull;
        if !self.wants(op, op_term) || self.has_entry(op, op_term) {
            return;
        }
        let slices: Vec<Arc<[u8]>> = slices.into_iter().flatten().collect();
        let head: Vec<u8> = slices.iter().take(heads).flat_map(|s| s.iter().copied()).collect();
        let fits = |h: &Head| (h.op, h.op_term) == (op, op_term) && h.begun.era == op_term.era;
        match Head::decode(&head).ok().filter(fits) {
            Some(head) => self.install(now, head, Snapshot { op, op_term, heads, slices }),
            None => self.fault(),
        }
    }

    /// Takes the place of everything up to the snapshot's op.
    fn install(&mut self, now: Instant, head: Head, snapshot: Snapshot) {
        let Head { op, op_term, begun, roster, clients } = head;
        if self.era() != Some(op_term.era) {
            if self.cold.was_released_from(begun) && roster.votes(self.me) {
                // Its era counted on this life, which has not kept to it since: only the next life may follow.
                self.renumber(self.me.incarnation);
                return;
            }
            self.cold.follow();
            if self.log.op() > Op::ZERO {
                self.forget_era(op_term.era);
            } else if self.term.era < op_term.era {
                self.enter(floor(op_term.era));
            }
        }
        let (was_member, before) = (self.is_member(), self.commit);
        self.unseal_for(&roster);
        self.log = Log::after_snapshot(op, op_term, begun);
        // Nothing is known any more of what the primary's log has above the own commit.
        self.matched = self.matched.min(before);
        self.commit = op;
        self.tail_bytes = 0;
        self.committed = roster;
        self.latest = self.committed.clone();
        self.charter_installed();
        self.requests.installed(clients);
        self.change.attempt = 0;
        self.change.promises.ask_anew();
        let slices = snapshot.slices.iter().skip(snapshot.heads).cloned().collect();
        self.snapshots.installed(snapshot);
        self.installed = op;
        self.actions.push_back(Action::Install { op, slices });
        self.publish();
        if was_member && !self.is_member() {
            let seat = self.committed.seat(self.me.node);
            let own = seat.filter(|seat| seat.incarnation == self.me.incarnation);
            let removed_at = own.map_or(op, |seat| seat.removed_at);
            self.actions.push_back(Action::Reflex { removed_at });
        }
        if op_term > self.term {
            self.enter(op_term);
            let votes = self.votes();
            self.turn(if votes { StatusEvent::FollowPrimary } else { StatusEvent::LearnFrom });
        }
        let lives: Vec<Life> = self.committed.seats().map(|(node, seat)| seat.life(node)).collect();
        lives.into_iter().for_each(|life| self.meet(life));
        if self.was_ended(self.me) {
            self.said_to_be_off();
        }
        self.settled = self.settled.max(now);
    }

    /// The op of the last snapshot that was installed; 0 if none was.
    #[must_use]
    pub const fn installed(&self) -> Op {
        self.installed
    }
}
