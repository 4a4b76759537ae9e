//! Two machines as namespaces: a node that owns the floating addresses, a client that asks.

use super::answer::Answerer;
use super::ask::{Asker, How, Origin};
use super::error::{ProofError, Result};
use super::row::Seen;
use base::Instant;
use gate::{Gate, Slot, Tc, Words};
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;
use testbed::error::{BedError, Context, run};
use testbed::namespace::Namespace;
use testbed::os;

/// The floating addresses.
pub(super) const FLOATING: &str = "10.99.0.100";
/// And of IPv6.
pub(super) const FLOATING6: &str = "fd99::64";
/// How long no answer must come before it counts as closed.
const SILENCE: Duration = Duration::from_millis(80);
/// How long an answer may take when the gate is open.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The two machines, and the gate of the node.
#[derive(Debug)]
pub(super) struct Stage {
    /// The node's gate.
    pub gate: Gate,
    /// The slots of the floating addresses.
    pub slots: [Slot; 2],
    /// Traffic control of the node.
    pub tc: Tc,
    answerers: Vec<Answerer>,
    /// The node.
    pub node: Namespace,
    /// The client.
    pub client: Namespace,
}

/// An address as it is written here.
pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// The two floating addresses.
pub(super) fn floating() -> [IpAddr; 2] {
    [ip(FLOATING), ip(FLOATING6)]
}

/// The client's own address of the family of `address`.
pub(super) fn client_of(address: IpAddr) -> IpAddr {
    ip(if address.is_ipv4() { "10.99.0.1" } else { "fd99::1" })
}

impl Stage {
    /// Two machines without a cable, and a gate that is closed and not attached.
    pub(super) fn bare() -> Result<Self> {
        let id = os::random() as u16;
        let node = Namespace::create(&format!("ng{id:04x}-node"))?;
        let client = Namespace::create(&format!("ng{id:04x}-client"))?;
        for namespace in [&node, &client] {
            namespace.inside(|| {
                // A client that comes another way is answered that way.
                std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")
                    .context("rp_filter")?;
                std::fs::write("/proc/sys/net/ipv4/conf/default/rp_filter", "0")
                    .context("rp_filter")
            })?;
        }
        let gate = Gate::load(Words::create()?)?;
        let slots = [gate.add(ip(FLOATING))?, gate.add(ip(FLOATING6))?];
        let tc = enter(&node, Tc::open)?;
        Ok(Self { gate, slots, tc, answerers: Vec::new(), node, client })
    }

    /// The usual: one cable, `e0` at both ends, addresses, and something that answers at them.
    pub(super) fn cabled() -> Result<Self> {
        let mut stage = Self::bare()?;
        stage.cable("e0", "e0")?;
        stage.address("e0", "e0")?;
        stage.answer()?;
        Ok(stage)
    }

    /// A pair of interfaces with known hardware addresses and without addresses of their own.
    pub(super) fn cable(&self, node: &str, client: &str) -> Result<()> {
        batch(
            &self.node,
            &format!(
                "link add {node} type veth peer name {client} netns {}\n\
                 link set {node} addrgenmode none up\n",
                self.client.name()
            ),
        )?;
        batch(&self.client, &format!("link set {client} addrgenmode none up\n"))
    }

    /// Own and floating addresses at one interface of each machine, and who is where.
    pub(super) fn address(&self, node: &str, client: &str) -> Result<()> {
        batch(
            &self.node,
            &format!(
                "addr add 10.99.0.2/24 dev {node}\n\
                 addr add fd99::2/64 dev {node} nodad\n\
                 addr add {FLOATING}/24 dev {node}\n\
                 addr add {FLOATING6}/64 dev {node} nodad\n"
            ),
        )?;
        batch(
            &self.client,
            &format!(
                "addr add 10.99.0.1/24 dev {client}\n\
                 addr add fd99::1/64 dev {client} nodad\n"
            ),
        )
    }

    /// Processes that answer at the floating addresses of the node.
    pub(super) fn answer(&mut self) -> Result<()> {
        for address in floating() {
            self.answerers.push(Answerer::start(&self.node, address)?);
        }
        Ok(())
    }

    /// One more that answers elsewhere.
    pub(super) fn answer_at(&mut self, namespace: &Namespace, address: IpAddr) -> Result<()> {
        self.answerers.push(Answerer::start(namespace, address)?);
        Ok(())
    }

    /// Nobody answers any more.
    pub(super) fn hush(&mut self) {
        self.answerers.clear();
    }

    /// Puts the gate on the named interfaces of the node, or on all.
    pub(super) fn attach(&mut self, only: Option<&[&str]>) -> Result<()> {
        for interface in self.tc.interfaces()? {
            if only.is_none_or(|names| names.contains(&interface.name.as_str())) {
                self.tc.attach(&self.gate, &interface)?;
            }
        }
        Ok(())
    }

    /// Opens both addresses, with a lease that does not end.
    pub(super) fn open(&self) {
        self.gate.words().reopen();
        self.gate.words().set_lease_end(Instant::MAX);
        for slot in self.slots {
            self.gate.open(slot, 1);
        }
    }

    /// The lease ends now.
    pub(super) fn close(&self) {
        self.gate.words().set_lease_end(Instant::ZERO);
    }

    /// The client on its first cable.
    pub(super) const fn client_at(&self, own: IpAddr) -> Origin<'_> {
        Origin { namespace: &self.client, interface: "e0", own }
    }

    /// Opens, sees it answer, lets the lease end, and tells whether it still answers.
    pub(super) fn see(&self, case: &str, from: Origin<'_>, to: IpAddr, how: How) -> Result<Seen> {
        self.open();
        let mut asker = self.asker(case, from, to, how)?;
        self.close();
        self.see_stopped(case, &mut asker, to)
    }

    /// Whether anything answers while it should not; silence counts only if the gate says that it
    /// has stopped something meanwhile.
    pub(super) fn see_stopped(&self, case: &str, asker: &mut Asker, to: IpAddr) -> Result<Seen> {
        let [v4, v6] = self.slots;
        let slot = if to.is_ipv4() { v4 } else { v6 };
        let before = self.gate.look(slot).dropped;
        let seen = see_closed(asker);
        if seen == Seen::Closes && self.gate.look(slot).dropped == before {
            return Err(ProofError::Unasked { case: case.to_owned() });
        }
        Ok(seen)
    }

    /// One that has been answered while the gate was open.
    pub(super) fn asker(
        &self,
        case: &str,
        from: Origin<'_>,
        to: IpAddr,
        how: How,
    ) -> Result<Asker> {
        let mut asker = Asker::open(from, to, how)?;
        if asker.is_answered_within(PATIENCE) {
            return Ok(asker);
        }
        Err(ProofError::Deaf { case: case.to_owned(), how: how.name(to).to_owned() })
    }
}

/// Whether anything answers while it should not.
pub(super) fn see_closed(asker: &mut Asker) -> Seen {
    if asker.is_answered_within(SILENCE) { Seen::Answers } else { Seen::Closes }
}

/// Whether it answers, given time.
pub(super) fn see_open(asker: &mut Asker) -> Seen {
    if asker.is_answered_within(PATIENCE) { Seen::Answers } else { Seen::Closes }
}

/// What another tool does that thinks the interface is its own.
pub(super) fn delete_clsact(stage: &Stage) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", stage.node.name(), "tc"]);
    run(command.args(["qdisc", "del", "dev", "e0", "clsact"]))?;
    Ok(())
}

/// Does something of the gate inside a namespace.
pub(super) fn enter<T: Send, E: Send + Into<ProofError>>(
    namespace: &Namespace,
    work: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> Result<T> {
    namespace.inside(|| Ok(work()))?.map_err(Into::into)
}

/// Many changes by one `ip` command.
pub(super) fn batch(namespace: &Namespace, lines: &str) -> Result<()> {
    let what = || format!("`ip -batch` in {}", namespace.name());
    let mut child = Command::new("ip")
        .args(["-n", namespace.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context(what())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).context(what())?;
    }
    let output = child.wait_with_output().context(what())?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BedError::Command { line: lines.to_owned(), output }.into())
}
