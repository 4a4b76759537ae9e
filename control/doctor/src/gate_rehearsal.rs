//! The gate, tried: does this kernel take it, and does it close?
//!
//! The real programs are loaded and attached to `lo` of a namespace of one's own; a question is
//! sent to an address while its gate is open, while it is closed, and after its lease has ended.

use crate::files;
use crate::finding::{Area, Check, Finding};
use crate::os;
use crate::private;
use base::Duration;
use driver_address::{Address, FloatingAddress};
use gate::{Gate, Tc, Words};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

const CLOSES: Check = Check {
    area: Area::Gate,
    name: "gate-rehearsal",
    why: "the gate ends a stopped owner's answers (S2b); fence = \"lease\" needs it",
};
const COMPILED: Check = Check {
    area: Area::Gate,
    name: "gate-speed",
    why: "an interpreted gate costs some 90 ns a packet, a compiled one a fraction",
};
const STANDING: Check = Check {
    area: Area::Gate,
    name: "gate-attached",
    why: "an interface without the gate's filter answers although the lease has ended",
};

/// An address that exists only in the rehearsal's namespace.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 100);
/// How long the lease of the third question runs.
const LEASE: Duration = Duration::from_millis(200);
/// How long an answer may take before it counts as none.
const WAIT: std::time::Duration = std::time::Duration::from_millis(200);
/// How long silence is listened to.
const SILENCE: std::time::Duration = std::time::Duration::from_millis(30);

/// Who was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rehearsed {
    /// While the gate was open.
    pub open: bool,
    /// While it was closed.
    pub closed: bool,
    /// Under a lease, before it ended.
    pub leased: bool,
    /// After it had ended by itself.
    pub expired: bool,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) root: bool,
    pub(crate) kernel: String,
    /// bpf_jit_enable; none = not readable, as in every namespace but the first.
    pub(crate) compiler: Option<i64>,
    pub(crate) rehearsed: Result<Rehearsed, String>,
}

pub(crate) fn sample() -> Facts {
    Facts {
        root: os::is_root(),
        kernel: os::kernel(),
        compiler: files::number("/proc/sys/net/core/bpf_jit_enable"),
        rehearsed: rehearse_gate(),
    }
}

/// Tries the gate in a namespace of its own.
///
/// # Errors
/// When the kernel refuses the namespace or the gate.
pub fn rehearse_gate() -> Result<Rehearsed, String> {
    private::inside(|| {
        let gate = Words::create().and_then(Gate::load).map_err(|e| e.to_string())?;
        let slot = gate.add(ADDRESS.into()).map_err(|e| e.to_string())?;
        let mut tc = Tc::open().map_err(|e| e.to_string())?;
        for interface in tc.interfaces().map_err(|e| e.to_string())? {
            tc.attach(&gate, &interface).map_err(|e| e.to_string())?;
        }
        let spec = Address { address: ADDRESS.into(), prefix: 32, interface: "lo".into() };
        let mut address = FloatingAddress::open(spec).map_err(|e| e.to_string())?;
        address.start(os::now()).map_err(|e| e.to_string())?;
        let asker = Asker::open().map_err(|e| format!("no socket: {e}"))?;

        gate.words().set_lease_end(os::now() + Duration::from_millis(60_000));
        gate.open(slot, 1);
        let open = asker.is_answered(WAIT);
        gate.close(slot);
        let closed = asker.is_answered(SILENCE);
        let end = os::now() + LEASE;
        gate.words().set_lease_end(end);
        gate.open(slot, 2);
        let leased = asker.is_answered(std::time::Duration::from_nanos(LEASE.nanos()));
        os::sleep_until(end);
        let expired = asker.is_answered(SILENCE);
        Ok(Rehearsed { open, closed, leased, expired })
    })
}

/// Asks the address, and answers for it.
struct Asker {
    service: UdpSocket,
    client: UdpSocket,
}

impl Asker {
    fn open() -> std::io::Result<Self> {
        let service = UdpSocket::bind((IpAddr::from(ADDRESS), 0))?;
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        client.connect(service.local_addr()?)?;
        Ok(Self { service, client })
    }

    fn is_answered(&self, wait: std::time::Duration) -> bool {
        let mut byte = [0; 1];
        let ask = || -> std::io::Result<()> {
            self.service.set_read_timeout(Some(wait))?;
            self.client.set_read_timeout(Some(wait))?;
            self.client.send(b"?")?;
            let (_, from) = self.service.recv_from(&mut byte)?;
            self.service.send_to(b"!", from)?;
            self.client.recv(&mut [0; 1])?;
            Ok(())
        };
        let mut ask = ask;
        ask().is_ok()
    }
}

/// `needed`: a service's policy is `lease`.
pub(crate) fn judge(facts: &Facts, needed: bool) -> Vec<Finding> {
    let kernel = &facts.kernel;
    let without = |measured: String, remedy: &str| {
        if needed { CLOSES.failure(measured, remedy) } else { CLOSES.warning(measured, remedy) }
    };
    let closes = match &facts.rehearsed {
        Ok(Rehearsed { open: true, closed: false, leased: true, expired: false }) => CLOSES.ok(
            format!("kernel {kernel}: open it answers, closed and after the lease it does not"),
        ),
        Ok(Rehearsed { open: true, closed: false, expired: false, leased: false }) => CLOSES
            .notice(
                format!(
                    "kernel {kernel}: it closes; the question under a short lease came too late"
                ),
                "run it again on a machine that is less busy",
            ),
        Ok(Rehearsed { open: false, .. }) => without(
            format!("kernel {kernel}: no answer though the gate was open"),
            "look for other filters or programs of this kernel that drop packets on lo",
        ),
        Ok(_) => CLOSES.failure(
            format!("kernel {kernel}: the address answers though the gate is closed"),
            "do not use fence = \"lease\" on this kernel, and report it",
        ),
        Err(why) if !facts.root => CLOSES.unchecked(why, "run as root (CAP_BPF, CAP_NET_ADMIN)"),
        Err(why) => without(
            format!("kernel {kernel}: {why}"),
            "modprobe -a sch_ingress cls_bpf veth; allow CAP_BPF and CAP_NET_ADMIN to the daemons",
        ),
    };
    let compiled = match facts.compiler {
        Some(0) => COMPILED.notice("interpreted", "sysctl -w net.core.bpf_jit_enable=1"),
        Some(_) => COMPILED.ok("compiled"),
        None => COMPILED.unchecked(
            "net.core.bpf_jit_enable cannot be read here",
            "run as root in the machine's first network namespace",
        ),
    };
    vec![closes, compiled]
}

/// The gate of the daemons that run here, as they tell it.
pub(crate) fn judge_standing(gate: &api::Gate, needed: bool) -> Finding {
    let put_back = match gate.cured {
        0 => String::new(),
        n => format!("; put back after another tool took it away: {n}"),
    };
    if !gate.whole {
        let measured = format!("{}{put_back}", gate.lack);
        let remedy = "`tc filter show dev INTERFACE ingress` and `… egress` show whose filter stands \
                      first: remove it or give it a preference above 1; where nothing can be \
                      attached, see `gate-rehearsal`, then restart netguard-fast";
        return if needed {
            STANDING.failure(measured, remedy)
        } else {
            STANDING.warning(measured, remedy)
        };
    }
    let measured = format!("on every interface{put_back}");
    match gate.cured {
        0 => STANDING.ok(measured),
        _ => STANDING.notice(measured, "find what deletes clsact or filters, and stop it"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Rehearsed, judge, judge_standing};
    use crate::finding::Grade;

    const GOOD: Rehearsed = Rehearsed { open: true, closed: false, leased: true, expired: false };

    fn grade(rehearsed: Result<Rehearsed, String>, needed: bool, root: bool) -> Grade {
        let facts = Facts { root, kernel: "6.1".into(), compiler: Some(1), rehearsed };
        judge(&facts, needed)[0].grade
    }

    #[test]
    fn only_a_gate_that_opens_and_closes_twice_is_fine() {
        assert_eq!(grade(Ok(GOOD), true, true), Grade::Ok);
        for leak in [Rehearsed { closed: true, ..GOOD }, Rehearsed { expired: true, ..GOOD }] {
            assert_eq!(grade(Ok(leak), false, true), Grade::Failure, "{leak:?}");
        }
        assert_eq!(grade(Ok(Rehearsed { leased: false, ..GOOD }), true, true), Grade::Notice);
    }

    #[test]
    fn a_kernel_without_it_fails_where_a_service_needs_it() {
        assert_eq!(grade(Err("no".into()), true, true), Grade::Failure);
        assert_eq!(grade(Err("no".into()), false, true), Grade::Warning);
        assert_eq!(grade(Err("no".into()), true, false), Grade::Notice, "nobody tried as root");
        let shut = Rehearsed { open: false, leased: false, ..GOOD };
        assert_eq!(grade(Ok(shut), true, true), Grade::Failure);
    }

    #[test]
    fn the_standing_gate_is_judged_by_what_it_lacks_and_by_who_needs_it() {
        let gate = |whole, cured| api::Gate { whole, lack: "eth1 has none".into(), cured };
        assert_eq!(judge_standing(&gate(true, 0), true).grade, Grade::Ok);
        assert_eq!(judge_standing(&gate(true, 3), true).grade, Grade::Notice);
        let lost = judge_standing(&gate(false, 1), true);
        assert_eq!(
            (lost.grade, lost.measured.starts_with("eth1 has none")),
            (Grade::Failure, true)
        );
        assert_eq!(judge_standing(&gate(false, 0), false).grade, Grade::Warning);
    }
}
