//! etcd: the leader is cut, and clients go on writing to those that are left, one write every 5 ms whatever became of the
//! one before.

use crate::peer::{self, NODES, Peer};
use anyhow::{Context, Result};
use base::{Duration, Instant};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use testbed::bed::{Bed, wait_until};
use testbed::os;
use testbed::power::Cut;
use testbed::programs::Programs;
use testbed::topology::{Shape, address, node_name};

const PROGRAM: &str = "/usr/bin/etcd";
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const SETTLE: Duration = Duration::from_millis(30_000);
/// Between two writes.
const EVERY: Duration = Duration::from_millis(5);
/// The cut has come by then.
const SURELY: Duration = Duration::from_millis(60);
/// How long one client waits.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Three of them.
pub(crate) struct Etcd {
    bed: Bed,
    /// The term that was seen last: a higher one is another election.
    term: u64,
}

impl Etcd {
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        let bed = Bed::build(Shape { nodes: NODES, links: 1 }, programs.clone())?;
        let mut this = Self { bed, term: 0 };
        for node in 1..=NODES {
            this.launch(node)?;
        }
        Ok(this)
    }

    fn launch(&mut self, node: u8) -> Result<()> {
        let data = self.bed.topology().run().dir().join(format!("{}-etcd", node_name(node)));
        let own = address(node, 1);
        let cluster: Vec<_> = (1..=NODES)
            .map(|node| format!("{}=http://{}:{PEERS}", node_name(node), address(node, 1)))
            .collect();
        let mut command = Command::new(PROGRAM);
        command.args(["--name", &node_name(node), "--initial-cluster", &cluster.join(",")]);
        command.arg("--data-dir").arg(data);
        for (option, port) in [
            ("--listen-peer-urls", PEERS),
            ("--initial-advertise-peer-urls", PEERS),
            ("--listen-client-urls", CLIENTS),
            ("--advertise-client-urls", CLIENTS),
        ] {
            command.args([option, &format!("http://{own}:{port}")]);
        }
        command.args(["--heartbeat-interval", "10", "--election-timeout", "50"]);
        let log = format!("etcd-{:08x}", os::random() as u32);
        self.bed.start(node, &log, command)?;
        Ok(())
    }

    /// What each node says: its own id, the leader's and the term.
    fn states(&self) -> Result<Vec<Option<State>>> {
        let ask = || {
            let state = |node| state(&ask(address(node, 1), "/v3/maintenance/status", "{}")?);
            Ok((1..=NODES).map(state).collect())
        };
        Ok(self.bed.topology().client().inside(ask)?)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    me: String,
    leader: String,
    term: u64,
}

fn state(answer: &serde_json::Value) -> Option<State> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    Some(State {
        me: text(&answer["header"]["member_id"])?,
        leader: text(&answer["leader"])?,
        term: text(&answer["raftTerm"])?.parse().ok()?,
    })
}

/// One request over a connection of its own (HTTP/1.0, gRPC's JSON gateway); none if it fails.
fn ask(to: Ipv4Addr, path: &str, body: &str) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((to, CLIENTS)), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| serde_json::from_str(body).ok())?
}

impl Peer for Etcd {
    fn settle(&mut self) -> Result<u8> {
        let leader = wait_until("etcd to have one leader", SETTLE, || {
            let states = self.states().map_err(|error| error.to_string())?;
            let known: Vec<State> = states.iter().flatten().cloned().collect();
            let place =
                known.first().and_then(|first| known.iter().position(|it| it.me == first.leader));
            let agreed = known
                .windows(2)
                .all(|two| (&two[0].leader, two[0].term) == (&two[1].leader, two[1].term));
            match place {
                Some(place) if known.len() == usize::from(NODES) && agreed => {
                    self.term = known[place].term;
                    Ok(place as u8 + 1)
                }
                _ => Err(format!("{states:?}")),
            }
        })?;
        Ok(leader)
    }

    fn cut(&mut self, node: u8, limit: Duration) -> Result<(Cut, Option<Instant>)> {
        let survivors: Vec<Ipv4Addr> =
            (1..=NODES).filter(|it| *it != node).map(|it| address(it, 1)).collect();
        let client = self.bed.topology().client();
        // When each write that was acknowledged was begun, and when it was acknowledged.
        let done = Mutex::new(Vec::<(Instant, Instant)>::new());
        // What is acknowledged late may still have been begun before the cut.
        let enough = |done: &[(Instant, Instant)], began: Instant| {
            done.iter().any(|(begun, _)| begun.since(began) > SURELY)
        };
        let write = |to: Ipv4Addr| {
            let begun = os::now();
            if ask(to, "/v3/kv/put", r#"{"key":"bmc=","value":"bmV0Z3VhcmQ="}"#).is_some() {
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((begun, os::now()));
            }
        };
        let load = || {
            std::thread::scope(|scope| {
                let began = os::now();
                let mut due = began;
                for to in survivors.iter().cycle() {
                    let so_far = done.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if enough(&so_far, began) || os::now().since(began) > limit || os::interrupted()
                    {
                        break;
                    }
                    scope.spawn(|| write(*to));
                    due += EVERY;
                    os::sleep_until(due);
                }
            });
            Ok(())
        };
        let (cut, looked) = peer::cut_and_look(&self.bed, node, || client.inside(load))?;
        looked?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let after = done.iter().filter(|(begun, _)| *begun > cut.at).map(|(_, end)| *end);
        Ok((cut, after.min()))
    }

    fn restore(&mut self, node: u8) -> Result<()> {
        peer::restore(&mut self.bed, node)?;
        self.launch(node)
    }

    fn mistakes(&mut self) -> Result<u64> {
        let before = self.term;
        self.settle().context("after a time without a cut")?;
        Ok(self.term.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::{State, state};

    #[test]
    fn a_status_names_the_member_its_leader_and_the_term() {
        let answer = serde_json::json!({
            "header": { "cluster_id": "1", "member_id": "7", "raft_term": "4" },
            "version": "3.4.23", "leader": "9", "raftTerm": "4"
        });
        assert_eq!(state(&answer), Some(State { me: "7".into(), leader: "9".into(), term: 4 }));
        assert_eq!(state(&serde_json::json!({ "header": {} })), None);
    }
}
