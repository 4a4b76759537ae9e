//! The client table (PROTOCOL 2, Client): the last number applied of each client. It is part of the state, so that every
//! replica answers a repetition in the same way: the same entries give the same table, whom it forgets included.

use alloc::collections::BTreeMap;
use wire::codec::{Malformed, Reader, Writer};
use wire::{ClientId, Op, Seq};

/// Most clients remembered; the one that was silent longest is forgotten first. A life is one client.
pub(crate) const CLIENTS_MAX: usize = 4_096;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Client {
    /// Highest number committed.
    applied: Seq,
    /// Where it last said something.
    at: Op,
}

/// What is applied of each client, by the committed log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Clients(BTreeMap<ClientId, Client>);

impl Clients {
    /// A request is committed. True if it is applied now, false if it was before.
    pub(crate) fn apply(&mut self, op: Op, client: ClientId, seq: Seq) -> bool {
        if self.0.len() >= CLIENTS_MAX && !self.0.contains_key(&client) {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.at).map(|(id, _)| *id);
            oldest.map(|id| self.0.remove(&id));
        }
        let known = self.0.entry(client).or_insert(Client { applied: Seq(0), at: op });
        known.at = op;
        let first = seq > known.applied;
        known.applied = known.applied.max(seq);
        first
    }
    /// Highest number applied of a client; 0 if none is known.
    pub(crate) fn applied(&self, client: ClientId) -> Seq {
        self.0.get(&client).map_or(Seq(0), |known| known.applied)
    }
    /// Appends its bytes: count, then id, number and op of each, by id.
    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u32(self.0.len() as u32);
        for (client, known) in &self.0 {
            to.u64(client.0);
            to.u64(known.applied.0);
            to.op(known.at);
        }
    }
    /// Takes a table.
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = from.count(CLIENTS_MAX, "clients")?;
        let client = |_| {
            let (client, applied) = (ClientId(from.u64()?), Seq(from.u64()?));
            Ok((client, Client { applied, at: from.op()? }))
        };
        (0..count).map(client).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{CLIENTS_MAX, Clients};
    use wire::codec::{Reader, Writer};
    use wire::{ClientId, Op, Seq};

    #[test]
    fn a_number_is_applied_once_and_the_table_comes_back_as_it_was() {
        let mut clients = Clients::default();
        assert!(clients.apply(Op(1), ClientId(7), Seq(1)));
        assert!(!clients.apply(Op(2), ClientId(7), Seq(1)));
        assert!(clients.apply(Op(3), ClientId(7), Seq(2)));
        assert!(clients.apply(Op(4), ClientId(8), Seq(1)));
        let mut to = Writer::new();
        clients.encode(&mut to);
        assert_eq!(Clients::decode(&mut Reader::new(&to.0)), Ok(clients));
        for end in 0..to.0.len() {
            assert!(Clients::decode(&mut Reader::new(&to.0[..end])).is_err());
        }
    }

    #[test]
    fn who_was_silent_longest_is_forgotten() {
        let mut clients = Clients::default();
        for n in 0..CLIENTS_MAX as u64 {
            clients.apply(Op(n + 1), ClientId(n), Seq(1));
        }
        clients.apply(Op(5_000), ClientId(0), Seq(1));
        clients.apply(Op(5_001), ClientId(9_999), Seq(1));
        assert_eq!(clients.applied(ClientId(0)), Seq(1));
        assert_eq!(clients.applied(ClientId(1)), Seq(0), "forgotten");
    }
}
