//! What this daemon asks of the machine, what it got, and what it costs where it did not.

use crate::system;
use api::{Alarm, Severity};
use std::io;
use std::net::IpAddr;

/// Code of the alarm about addresses that were left over; it fades.
pub const LEFTOVERS: &str = "address-left-over";

/// SCHED_FIFO priorities below the heartbeat's; none if the configuration wants none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priorities {
    /// The event loop.
    pub event_loop: Option<u8>,
    /// The driver threads.
    pub drivers: Option<u8>,
    /// The stream of large messages.
    pub stream: Option<u8>,
}

impl Priorities {
    /// Below fast's: the heartbeat goes first, then decisions, then what they start, then what is large.
    #[must_use]
    pub fn below(fast: u8) -> Self {
        let under = |steps: u8| (fast > 0).then(|| fast.saturating_sub(steps).max(1));
        Self { event_loop: under(10), drivers: under(20), stream: under(30) }
    }
}

/// What the machine gave.
#[derive(Debug)]
pub struct Standing {
    /// One line for the operator.
    pub line: String,
    /// The same for `ng status`: notices, because the cluster keeps its promises, only slower.
    pub alarms: Vec<Alarm>,
}

impl Standing {
    /// Asks for the calling thread's priority and for all memory of the process.
    /// `ends_connections` is false if this kernel cannot end those of a released address.
    #[must_use]
    pub fn take(priorities: Priorities, ends_connections: bool) -> Self {
        let real_time = priorities.event_loop.map(system::realtime);
        Self::judge(priorities, real_time, system::lock_memory(), ends_connections)
    }

    /// Floating addresses that a former life left on this machine: they are gone, and somebody should
    /// know that the life before did not end in good order.
    pub fn note_leftovers(&mut self, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            return;
        }
        let all: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        self.alarms.push(Alarm {
            code: LEFTOVERS.into(),
            severity: Severity::Notice,
            message: format!(
                "{} was still on an interface at the start: closed and removed before the first beat",
                all.join(", ")
            ),
            remedy: "see the journal for how the life before ended".into(),
            since_unix_ms: system::unix_ms(),
        });
    }

    fn judge(
        priorities: Priorities,
        real_time: Option<io::Result<()>>,
        memory: io::Result<()>,
        ends_connections: bool,
    ) -> Self {
        let mut alarms = Vec::new();
        let mut missing = |code: &str, message: String, remedy: &str| {
            let (code, remedy) = (code.to_owned(), remedy.to_owned());
            let line = message.clone();
            let since_unix_ms = system::unix_ms();
            alarms.push(Alarm { code, severity: Severity::Notice, message, remedy, since_unix_ms });
            line
        };
        let wanted = |priority: Option<u8>| priority.unwrap_or(0);
        let real_time = match real_time {
            Some(Ok(())) => format!(
                "real-time priority {}, drivers {}",
                wanted(priorities.event_loop),
                wanted(priorities.drivers)
            ),
            Some(Err(e)) => missing(
                "no-real-time",
                format!("no real-time priority ({e}): a loaded machine delays takeovers"),
                "start as root or with CAP_SYS_NICE; `ng doctor` shows what is allowed",
            ),
            None => missing(
                "no-real-time",
                "no real-time priority, as configured: a loaded machine delays takeovers".into(),
                "set `realtime_priority` in [local]",
            ),
        };
        let memory = match memory {
            Ok(()) => "memory locked".into(),
            Err(e) => missing(
                "memory-not-locked",
                format!("memory not locked ({e}): a machine short of memory delays takeovers"),
                "start as root, with CAP_IPC_LOCK, or with a larger `ulimit -l`; see `ng doctor`",
            ),
        };
        let mut line = format!("{real_time}; {memory}");
        if !ends_connections {
            let told = missing(
                "connections-stay",
                "this kernel cannot end the connections of a released address: clients notice \
                 a planned move late"
                    .into(),
                "use a kernel with CONFIG_INET_DIAG_DESTROY",
            );
            line = format!("{line}; {told}");
        }
        Self { line, alarms }
    }
}

#[cfg(test)]
mod tests {
    use super::{Priorities, Standing};
    use std::io;

    #[test]
    fn drivers_come_after_decisions_and_decisions_after_heartbeats() {
        let p = Priorities::below(50);
        assert_eq!((p.event_loop, p.drivers, p.stream), (Some(40), Some(30), Some(20)));
        let low = Priorities::below(5);
        assert_eq!((low.event_loop, low.drivers, low.stream), (Some(1), Some(1), Some(1)));
        assert_eq!(Priorities::below(0).event_loop, None);
    }

    #[test]
    fn what_is_missing_is_said_with_its_cost_and_its_remedy() {
        let refused = || Err(io::Error::from_raw_os_error(libc::EPERM));
        let priorities = Priorities::below(50);
        let all = Standing::judge(priorities, Some(Ok(())), Ok(()), true);
        assert_eq!(all.line, "real-time priority 40, drivers 30; memory locked");
        assert!(all.alarms.is_empty());
        let none = Standing::judge(priorities, Some(refused()), refused(), false);
        let codes: Vec<&str> = none.alarms.iter().map(|a| a.code.as_str()).collect();
        assert_eq!(codes, ["no-real-time", "memory-not-locked", "connections-stay"]);
        assert!(none.line.contains("delays takeovers"), "{}", none.line);
        assert!(none.alarms.iter().all(|a| !a.remedy.is_empty()));
    }
}
