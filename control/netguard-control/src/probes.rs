//! Probes: entries that change nothing, for measurements and tests (`cargo xtask bench agree`).
//!
//! They are ordered over the local socket and measured in here, from the moment in which one is handed
//! to the node until its commit is known: what socket, JSON and the client's own wake-ups cost is not
//! the agreement's. Because they fill the log, a daemon takes only few and small ones, for `ng bench agree`, unless its
//! environment allows more.

use crate::server::Ask;
use crate::system;
use api::{Answer, ErrorCode, Probed, Refusal, ReplyBody, Request};
use base::{Duration, Instant};
use node::{Command, CommandDone, CommandRefused, Node};
use std::collections::BTreeMap;

/// What every daemon takes: one after another, so many in one order, none longer.
const FEW: u32 = 500;
const SMALL: u32 = 64;
/// A daemon with this in its environment takes any.
pub const ALLOWED: &str = "NETGUARD_TEST_PROBES";
/// Most probes of one order.
const COUNT_MAX: u32 = 100_000;
/// Most that are under way at a time: what the agreement takes of one node.
const WINDOW_MAX: u32 = 64;
/// An order that is not done by then is answered with what there is, before the socket gives up.
const PATIENCE: Duration = Duration::from_millis(3_000);
/// Tags of probes; those of the socket's questions are far below.
const TAGS: u64 = 1 << 62;

/// One order under way.
#[derive(Debug)]
struct Run {
    token: u64,
    bytes: u32,
    /// Still to be given to the node.
    left: u32,
    under_way: BTreeMap<u64, Instant>,
    done: Probed,
    began: Instant,
}

/// The order under way, if there is one.
#[derive(Debug)]
pub struct Probes {
    allowed: bool,
    last_tag: u64,
    run: Option<Run>,
}

impl Probes {
    /// As the environment allows.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new(std::env::var_os(ALLOWED).is_some())
    }

    const fn new(allowed: bool) -> Self {
        Self { allowed, last_tag: TAGS, run: None }
    }

    /// Takes an order for probes. The answer comes at once only if it is refused.
    pub fn begin(&mut self, ask: &Ask, node: &mut Node) -> Option<ReplyBody> {
        let Request::Probe { bytes, count, window } = ask.request else { return None };
        let refuse = |code, message: &str, remedy: &str| {
            Some(ReplyBody::Error(Refusal::new(code, message, remedy)))
        };
        if !self.allowed && (count > FEW || bytes > SMALL || window > 1) {
            let message = format!("no more than {FEW} probes of {SMALL} bytes, one after another");
            let remedy = format!(
                "order fewer, or start the daemons with {ALLOWED}=1; never where it matters"
            );
            return refuse(ErrorCode::Permission, &message, &remedy);
        }
        if self.run.is_some() {
            return refuse(ErrorCode::Busy, "probes are under way", "wait for them");
        }
        let left = count.clamp(1, COUNT_MAX);
        self.run = Some(Run {
            token: ask.token,
            bytes,
            left,
            under_way: BTreeMap::new(),
            done: Probed::default(),
            began: system::now(),
        });
        for _ in 0..window.clamp(1, WINDOW_MAX) {
            self.give_one(node);
        }
        None
    }

    fn give_one(&mut self, node: &mut Node) {
        let Some(run) = self.run.as_mut().filter(|run| run.left > 0) else { return };
        run.left -= 1;
        self.last_tag += 1;
        let now = system::now();
        run.under_way.insert(self.last_tag, now);
        node.handle_command(now, self.last_tag, Command::Probe { bytes: run.bytes });
    }

    /// True if the node's answer is about a probe; the next one is given to it.
    pub fn take(
        &mut self,
        tag: u64,
        result: &Result<CommandDone, CommandRefused>,
        node: &mut Node,
    ) -> bool {
        if tag <= TAGS {
            return false;
        }
        let Some(run) = &mut self.run else { return true };
        let Some(given) = run.under_way.remove(&tag) else { return true };
        match result {
            Ok(_) => run.done.nanos.push(system::now().since(given).nanos()),
            Err(_) => run.done.refused += 1,
        }
        self.give_one(node);
        true
    }

    /// The answer to an order that is done, or has taken too long.
    pub fn poll(&mut self, now: Instant) -> Option<(u64, ReplyBody)> {
        let run = self.run.as_ref()?;
        let done = run.left == 0 && run.under_way.is_empty();
        if !done && now.since(run.began) < PATIENCE {
            return None;
        }
        let run = self.run.take()?;
        let open = run.left + run.under_way.len() as u32;
        let took_ns = system::now().since(run.began).nanos();
        Some((run.token, ReplyBody::Answer(Answer::Probed(Probed { took_ns, open, ..run.done }))))
    }
}

#[cfg(test)]
mod tests {
    use super::{Probes, TAGS};
    use crate::identity::Identity;
    use crate::server::Ask;
    use api::{ErrorCode, ReplyBody, Request};
    use base::Instant;
    use node::Node;
    use wire::{Incarnation, Life, NodeId};

    #[test]
    fn without_leave_few_and_small_probes_are_taken_and_answers_to_others_are_left_alone() {
        let mut probes = Probes::new(false);
        let text = "[cluster]\nname = \"x\"\nkey_file = \"k\"\n\
                    [[link]]\nname = \"a\"\nmode = \"unicast\"\nport = 5800\n\
                    [[node]]\nid = 1\nname = \"n1\"\naddresses = [\"127.0.1.1\"]\n\
                    [[node]]\nid = 2\nname = \"n2\"\naddresses = [\"127.0.1.2\"]\n";
        let (config, _) = config::parse("test", text).unwrap();
        let me = NodeId::new(1).unwrap();
        let (key, links) = ([0; 32], Vec::new());
        let identity = Identity { config, key, me, name: "n1".into(), links };
        let life = Life { node: me, incarnation: Incarnation(1) };
        let configuration = crate::agreed::configuration(&identity.config, "", 0, 1);
        let charter = wire::Charter::of_file(configuration);
        let settings =
            crate::start::node_settings(&identity, life, charter, 0, base::Duration::ZERO);
        let mut node = Node::new(settings, Instant(1));
        for (bytes, count, window) in [(65, 1, 1), (64, 501, 1), (64, 500, 2)] {
            let request = Request::Probe { bytes, count, window };
            let refused = probes.begin(&Ask { token: 7, request }, &mut node);
            assert!(
                matches!(refused, Some(ReplyBody::Error(r)) if r.code == ErrorCode::Permission)
            );
        }
        let request = Request::Probe { bytes: 64, count: 500, window: 1 };
        assert!(probes.begin(&Ask { token: 7, request }, &mut node).is_none());
        let result = Err(node::CommandRefused::Busy);
        assert!(!probes.take(7, &result, &mut node), "somebody else's");
        assert!(probes.take(TAGS + 1, &result, &mut node), "one that was given up");
    }
}
