//! bpf(2), directly: no library, no compiler.

use crate::assembler::Instruction;
use crate::error::GateError;
use crate::program::{Direction, Framing};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const PROGRAM_LOAD: i32 = 5;
const PROGRAM_ATTACH: i32 = 8;
const PROGRAM_DETACH: i32 = 9;
const PROGRAM_TEST_RUN: i32 = 10;
const PROGRAM_BY_ID: i32 = 13;
const OBJECT_INFO: i32 = 15;
const PROGRAM_QUERY: i32 = 16;

const MAP_HASH: u32 = 1;
const MAP_ARRAY: u32 = 2;
const MAP_MMAPABLE: u32 = 1 << 10;
const PROGRAM_SCHED_CLS: u32 = 3;
const PROGRAM_CGROUP_SKB: u32 = 8;
/// Beside those of other tools.
const ALLOW_MULTI: u32 = 2;
/// Programs that one control group can have.
const PROGRAMS_MAX: usize = 64;
const NAME: [u8; 16] = *b"netguard_gate\0\0\0";
const KEY_LEN: usize = 16;
const LOG_LEN: usize = 64 * 1024;
/// What of the verifier's log is worth showing: its end.
const LOG_SHOWN: usize = 1_500;

/// `BPF_MAP_CREATE`, as far as used.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_len: u32,
    value_len: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// `BPF_MAP_UPDATE_ELEM`, `BPF_MAP_DELETE_ELEM`.
#[repr(C)]
#[derive(Default)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_PROG_LOAD`, as far as used.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_len: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_kind: u32,
}

/// `BPF_PROG_ATTACH`, `BPF_PROG_DETACH`, as far as used.
#[repr(C)]
#[derive(Default)]
struct ProgramAttach {
    target: u32,
    program: u32,
    attach_kind: u32,
    flags: u32,
}

/// `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct GetById {
    id: u32,
    next: u32,
    flags: u32,
}

/// `BPF_PROG_TEST_RUN`, as far as used.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    in_len: u32,
    out_len: u32,
    input: u64,
    output: u64,
    repeat: u32,
    duration_ns: u32,
    context: [u64; 3],
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    descriptor: u32,
    len: u32,
    info: u64,
}

/// `BPF_PROG_QUERY`, as far as used.
#[repr(C)]
#[derive(Default)]
struct ProgramQuery {
    target: u32,
    attach_kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    id_flags: [u64; 4],
}

/// The map that is shared with this process.
pub(crate) fn create_words(len: usize) -> Result<OwnedFd, GateError> {
    let mut attribute = MapCreate {
        kind: MAP_ARRAY,
        key_len: 4,
        value_len: len as u32,
        entries: 1,
        flags: MAP_MMAPABLE,
        name: NAME,
        ..MapCreate::default()
    };
    descriptor(MAP_CREATE, &mut attribute, "make the gate's words")
}

/// The map from addresses to slots.
pub(crate) fn create_addresses(entries: usize) -> Result<OwnedFd, GateError> {
    let mut attribute = MapCreate {
        kind: MAP_HASH,
        key_len: KEY_LEN as u32,
        value_len: 4,
        entries: entries as u32,
        name: NAME,
        ..MapCreate::default()
    };
    descriptor(MAP_CREATE, &mut attribute, "make the gate's addresses")
}

/// Stores an address's slot.
pub(crate) fn set(map: BorrowedFd<'_>, key: [u8; KEY_LEN], slot: u32) -> Result<(), GateError> {
    let mut attribute = MapElement {
        map: map.as_raw_fd() as u32,
        key: (&raw const key) as u64,
        value: (&raw const slot) as u64,
        ..MapElement::default()
    };
    call(MAP_UPDATE, &mut attribute, "gate an address").map(drop)
}

/// Takes an address out.
pub(crate) fn remove(map: BorrowedFd<'_>, key: [u8; KEY_LEN]) -> Result<(), GateError> {
    let mut attribute = MapElement {
        map: map.as_raw_fd() as u32,
        key: (&raw const key) as u64,
        ..MapElement::default()
    };
    call(MAP_DELETE, &mut attribute, "take an address from the gate").map(drop)
}

/// `BPF_CGROUP_INET_INGRESS`, `BPF_CGROUP_INET_EGRESS`.
const fn at_sockets(direction: Direction) -> u32 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

/// Loads a program; if the verifier refuses, once more for its reasons.
pub(crate) fn load(
    code: &[Instruction],
    framing: Framing,
    direction: Direction,
) -> Result<OwnedFd, GateError> {
    let doing = "load the gate's program";
    let (kind, attach_kind) = match framing {
        Framing::Ethernet | Framing::Network => (PROGRAM_SCHED_CLS, 0),
        Framing::Socket => (PROGRAM_CGROUP_SKB, at_sockets(direction)),
    };
    let mut attribute = ProgramLoad {
        kind,
        attach_kind,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        name: NAME,
        ..ProgramLoad::default()
    };
    match descriptor(PROGRAM_LOAD, &mut attribute, doing) {
        Err(GateError::Kernel { .. } | GateError::Privilege { .. }) if is_root() => {}
        answer => return answer,
    }
    let mut log = vec![0_u8; LOG_LEN];
    attribute.log_level = 1;
    attribute.log_len = log.len() as u32;
    attribute.log = log.as_mut_ptr() as u64;
    let answer = raw(PROGRAM_LOAD, &mut attribute);
    match answer {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(number) => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        Err(source) => {
            let text = String::from_utf8_lossy(&log);
            let text = text.trim_end_matches('\0').trim_end();
            let from = text.len().saturating_sub(LOG_SHOWN);
            let log = text.get(from..).unwrap_or(text).to_owned();
            Err(GateError::Refused { source, log })
        }
    }
}

/// What a program says to a frame, and what one run took on average.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
) -> Result<(i32, u32), GateError> {
    let mut attribute = TestRun {
        program: program.as_raw_fd() as u32,
        in_len: frame.len() as u32,
        input: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    call(PROGRAM_TEST_RUN, &mut attribute, "rehearse the gate's program")?;
    Ok((attribute.result as i32, attribute.duration_ns))
}

/// The kernel's number of a program, by which a filter can be told from another's.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> Result<u32, GateError> {
    Ok(info(program)?.id)
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    code: [u64; 2],
    loaded_at: u64,
    user: u32,
    maps: u32,
    map_ids: u64,
    name: [u8; 16],
}

fn info(program: BorrowedFd<'_>) -> Result<ProgramInfo, GateError> {
    let mut info = ProgramInfo::default();
    let mut attribute = ObjectInfo {
        descriptor: program.as_raw_fd() as u32,
        len: size_of::<ProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    call(OBJECT_INFO, &mut attribute, "read the number of a program")?;
    Ok(info)
}

/// Puts a program at the sockets of a control group, beside whatever is there.
pub(crate) fn attach(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    direction: Direction,
) -> Result<(), GateError> {
    let mut attribute = ProgramAttach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        attach_kind: at_sockets(direction),
        flags: ALLOW_MULTI,
    };
    call(PROGRAM_ATTACH, &mut attribute, "put the gate at the sockets").map(drop)
}

/// Takes every gate but `keep` off the sockets of a control group.
pub(crate) fn detach_gates(
    group: BorrowedFd<'_>,
    direction: Direction,
    keep: Option<u32>,
) -> Result<(), GateError> {
    for id in attached(group, direction)?.into_iter().filter(|id| Some(*id) != keep) {
        let doing = "read the programs at the sockets";
        let program = descriptor(PROGRAM_BY_ID, &mut GetById { id, next: 0, flags: 0 }, doing)?;
        if info(program.as_fd())?.name == NAME {
            let mut attribute = ProgramAttach {
                target: group.as_raw_fd() as u32,
                program: program.as_raw_fd() as u32,
                attach_kind: at_sockets(direction),
                flags: 0,
            };
            call(PROGRAM_DETACH, &mut attribute, "take a gate from the sockets")?;
        }
    }
    Ok(())
}

/// The numbers of the programs at the sockets of a control group itself.
pub(crate) fn attached(group: BorrowedFd<'_>, direction: Direction) -> Result<Vec<u32>, GateError> {
    let mut ids = vec![0_u32; PROGRAMS_MAX];
    let mut attribute = ProgramQuery {
        target: group.as_raw_fd() as u32,
        attach_kind: at_sockets(direction),
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..ProgramQuery::default()
    };
    call(PROGRAM_QUERY, &mut attribute, "read the programs at the sockets")?;
    ids.truncate(attribute.count as usize);
    Ok(ids)
}

/// How many programs of the newer kind (TCX, from 6.6) run before all filters of an interface.
pub(crate) fn programs_before_filters(interface: u32, attach_kind: u32) -> u32 {
    let mut attribute = ProgramQuery { target: interface, attach_kind, ..ProgramQuery::default() };
    match raw(PROGRAM_QUERY, &mut attribute) {
        Ok(_) => attribute.count,
        // An older kernel, which has none.
        Err(_) => 0,
    }
}

fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn descriptor<T>(
    command: i32,
    attribute: &mut T,
    doing: &'static str,
) -> Result<OwnedFd, GateError> {
    let number = call(command, attribute, doing)?;
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec, as it always does).
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn call<T>(command: i32, attribute: &mut T, doing: &'static str) -> Result<i32, GateError> {
    raw(command, attribute).map_err(|source| GateError::from_io(doing, source))
}

/// Every struct above begins as the kernel's union does for its command, and everything that it
/// points to outlives the call.
fn raw<T>(command: i32, attribute: &mut T) -> io::Result<i32> {
    let len = size_of::<T>();
    // SAFETY: a valid struct of this length, which the kernel reads and for some commands writes;
    // it takes bytes that are not given as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, (&raw mut *attribute), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

#[cfg(test)]
mod tests {
    use super::{MapCreate, MapElement, ProgramInfo, ProgramLoad, ProgramQuery, TestRun};
    use std::mem::offset_of;

    #[test]
    fn structs_lie_as_the_kernel_declares_them() {
        assert_eq!(offset_of!(MapCreate, name), 28);
        assert_eq!(offset_of!(MapElement, key), 8);
        assert_eq!(offset_of!(ProgramLoad, log), 32);
        assert_eq!(offset_of!(ProgramLoad, name), 48);
        assert_eq!(offset_of!(ProgramLoad, attach_kind), 68);
        assert_eq!(offset_of!(ProgramInfo, name), 64);
        assert_eq!(offset_of!(TestRun, input), 16);
        assert_eq!(offset_of!(TestRun, duration_ns), 36);
        assert_eq!(offset_of!(ProgramQuery, ids), 16);
        assert_eq!(offset_of!(ProgramQuery, count), 24);
    }
}
