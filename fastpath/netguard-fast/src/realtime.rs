//! What a thread needs to be on time: a core, a priority, memory that stays, exact timers. Each can
//! be refused; then the daemon says what it did not get and what that costs, and goes on without.

use shm::Core;
use std::io;

/// Something wanted that was not to be had.
#[derive(Debug)]
pub struct Shortfall {
    what: &'static str,
    why: String,
    cost: &'static str,
    remedy: &'static str,
}

impl std::fmt::Display for Shortfall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no {} ({}): {}; {}", self.what, self.why, self.cost, self.remedy)
    }
}

/// What the thread got.
#[derive(Debug, Default)]
pub struct Got {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Its SCHED_FIFO priority; 0 = none.
    pub priority: u8,
    /// Whether its memory is locked.
    pub locked: bool,
    /// What it did not get.
    pub missing: Vec<Shortfall>,
}

impl std::fmt::Display for Got {
    /// One line for what there is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.core {
            Some(core) => write!(f, "core {core}")?,
            None => f.write_str("any core")?,
        }
        match self.priority {
            0 => f.write_str(", normal priority")?,
            priority => write!(f, ", SCHED_FIFO {priority}")?,
        }
        f.write_str(if self.locked { ", memory locked" } else { ", memory not locked" })
    }
}

/// Takes all of it for this thread, after everything else has been allocated.
#[must_use]
pub fn take(core: Core, priority: u8) -> Got {
    let mut got = Got::default();
    match pin(core) {
        Ok(core) => got.core = core,
        Err(why) => got.missing.push(Shortfall {
            what: "core of its own",
            why,
            cost: "the beat thread moves between cores and can wait behind other real-time work",
            remedy: "allow the core in the daemon's CPU affinity, or set core = \"none\"",
        }),
    }
    // SAFETY: takes no pointer; concerns this thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    match lock_memory() {
        Ok(()) => got.locked = true,
        Err(error) => got.missing.push(Shortfall {
            what: "locked memory",
            why: error.to_string(),
            cost: "a page fault under memory pressure can delay beats by more than a deadline",
            remedy: "run as root, or set LimitMEMLOCK=infinity",
        }),
    }
    touch_stack();
    if priority != 0 {
        match set_priority(priority) {
            Ok(()) => got.priority = priority,
            Err(error) => got.missing.push(Shortfall {
                what: "real-time priority",
                why: error.to_string(),
                cost: "under load beats are late, and peers may take over from a node that lives",
                remedy: "run as root, or set LimitRTPRIO=99",
            }),
        }
    }
    got
}

/// Pins this thread; returns the core, or none if none is wanted.
fn pin(core: Core) -> Result<Option<usize>, String> {
    let wanted = match core {
        Core::None => return Ok(None),
        Core::Auto => None,
        Core::Number(n) => Some(usize::from(n)),
    };
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    // The last one: interrupts and everything that does not care begin at the first.
    let chosen = match wanted {
        None => allowed.last().copied(),
        Some(n) => allowed.iter().copied().find(|id| id.id == n),
    };
    let chosen = chosen.ok_or_else(|| match wanted {
        Some(n) => format!("core {n} is not among those that the daemon may use"),
        None => "the system names no core".to_owned(),
    })?;
    if core_affinity::set_for_current(chosen) {
        Ok(Some(chosen.id))
    } else {
        Err(io::Error::last_os_error().to_string())
    }
}

/// Keeps all pages, those of later mappings too, in memory.
fn lock_memory() -> io::Result<()> {
    // SAFETY: takes no pointer; changes no contents.
    match unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Touches the stack that the loop may ever need, so that it does not fault later.
#[inline(never)]
fn touch_stack() {
    let stack = [0_u8; 256 * 1024];
    std::hint::black_box(&stack);
}

/// SCHED_FIFO for this thread, not for what it starts.
fn set_priority(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority.into() };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameter outlives the call; 0 is this thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::{pin, take};
    use shm::Core;

    #[test]
    fn a_core_that_does_not_exist_is_missed_by_name_and_the_cost_is_said() {
        let got = take(Core::Number(9_999), 0);
        assert_eq!(got.core, None);
        let text = got.missing[0].to_string();
        assert!(text.contains("core 9999 is not among"), "{text}");
        assert!(text.contains("other real-time work"), "{text}");
    }

    #[test]
    fn automatic_takes_one_of_the_allowed_cores_and_none_takes_none() {
        std::thread::spawn(|| {
            let allowed: Vec<_> =
                core_affinity::get_core_ids().unwrap().iter().map(|core| core.id).collect();
            assert_eq!(pin(Core::None), Ok(None));
            let core = pin(Core::Auto).unwrap().unwrap();
            assert!(allowed.contains(&core));
            assert_eq!(core_affinity::get_core_ids().unwrap().len(), 1);
        })
        .join()
        .unwrap();
    }
}
