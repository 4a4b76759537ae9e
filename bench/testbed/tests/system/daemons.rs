//! Daemons that end while their machine lives: by order, or killed one at a time. Their peers hear
//! it (obituary) and do not wait for the silence.

use crate::Test;
use crate::arena::Arena;
use base::Duration;
use testbed::error::Result;
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::Spec;
use testbed::suite::Verdict;
use testbed::trial::REPEATS_MAX;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "daemons-stop-orderly", run: |programs| end(programs, &ORDERLY) },
    Test { name: "daemons-control-killed", run: |programs| end(programs, &CONTROL_KILLED) },
    Test { name: "daemons-fast-killed", run: |programs| end(programs, &FAST_KILLED) },
];

const SECONDS: Duration = Duration::from_millis(5_000);

/// How a daemon is ended, and the exit code that netguard-fast must have then, if it still can.
struct End {
    program: &'static str,
    signal: i32,
    code: Option<i32>,
}

const ORDERLY: End = End { program: "netguard-fast", signal: libc::SIGTERM, code: Some(0) };
const CONTROL_KILLED: End =
    End { program: "netguard-control", signal: libc::SIGKILL, code: Some(1) };
const FAST_KILLED: End = End { program: "netguard-fast", signal: libc::SIGKILL, code: None };

/// Ends a daemon of the owner: the service must answer elsewhere well within the time that a power
/// cut takes, and the old owner must give the address up.
fn end(programs: &Programs, how: &End) -> Result<Verdict> {
    let mut arena = Arena::start(Spec::default(), programs)?;
    for _ in 0..=REPEATS_MAX {
        arena.rest = arena.cluster.settle()?;
        let (owner, generation) = (arena.rest.owner, arena.rest.generation);
        let Some(pid) = arena.cluster.find(owner, how.program) else {
            return Ok(Verdict::Fail(format!("no {} on n{owner}", how.program)));
        };
        arena.cluster.bed().observer().record().begin_window();
        let begin = os::now();
        os::signal(pid, how.signal);
        let observer = arena.cluster.bed().observer();
        let answer = observer.wait_for(begin, SECONDS, |it| it.generation > generation);
        let Some(answer) = answer else {
            return Ok(Verdict::Fail("nobody took over".into()));
        };
        let took = answer.received.since(begin);
        os::sleep(Duration::from_millis(100));
        let stall = arena.meter.overlaps(begin, answer.received, Duration::from_millis(5));
        arena.cluster.retire(owner);
        let process = arena.cluster.bed_mut().processes(owner).first_mut();
        let status = process.and_then(|it| it.wait(SECONDS));
        hold!(status.is_some(), "netguard-fast of n{owner} goes on");
        if let Some(code) = how.code {
            let ended = status.and_then(|it| it.code());
            hold!(ended == Some(code), "netguard-fast ended with {ended:?}, not {code}");
        }
        hold!(arena.cluster.find(owner, "netguard-control").is_none(), "netguard-control goes on");
        hold!(!arena.has_address(owner), "n{owner} still has the address");
        if let Some(stall) = stall {
            println!("      void ({took}): core {} stood still {}", stall.core, stall.length());
            arena.cluster.restore(owner)?;
            continue;
        }
        // By the obituary, not by the silence: less than one deadline.
        let deadline = arena.cluster.spec().deadline();
        hold!(took < deadline, "{took} until the next owner answered; a silence takes {deadline}");
        return arena.end();
    }
    Ok(Verdict::Fail("void again and again: the machine stands still".into()))
}
