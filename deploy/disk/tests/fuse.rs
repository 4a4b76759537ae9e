//! The disks as a reader sees them, through a real mount. Needs root and /dev/fuse.
//!
//! Each test mounts in a mount namespace of its own thread: nothing is left behind, even if it is
//! killed.

use disk::{Counters, Disk, DiskSpec, Disks, Fault, Kind};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const BYTES: u64 = 8 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// A mount of two disks, and its folders.
struct Bench {
    disks: Option<Disks>,
    folder: PathBuf,
}

impl Bench {
    fn new(cache_bytes: u64) -> Self {
        own_mounts();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("ng-disk-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        let folder = std::env::temp_dir().join(name);
        for part in ["mount", "store"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let mut bench = Self { disks: None, folder };
        bench.serve(cache_bytes);
        bench
    }

    fn serve(&mut self, cache_bytes: u64) {
        let spec = |name: &str| DiskSpec { name: name.into(), bytes: BYTES, cache_bytes, seed: 1 };
        let (mount, store) = (self.folder.join("mount"), self.folder.join("store"));
        self.disks = Some(Disks::serve(&mount, &store, &["a-0", "b-0"].map(spec)).unwrap());
    }

    fn disks(&self) -> &Disks {
        self.disks.as_ref().unwrap()
    }

    fn disk(&self, name: &str) -> &Disk {
        self.disks().disk(name).unwrap()
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new().read(true).write(true).open(self.disks().path(name)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.disks = None;
        // A folder that is left in the temporary one tells where to look.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Gives the calling thread, and the processes that it starts, a view of the mounts that ends with
/// them.
fn own_mounts() {
    // SAFETY: both calls take numbers and strings that live through them, and change only what this
    // thread sees.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
    };
    let why = io::Error::last_os_error();
    assert!(done, "this test mounts a filesystem: run it as root ({why})");
    assert!(Path::new("/dev/fuse").exists(), "this test needs /dev/fuse (modprobe fuse)");
}

fn sector(mark: u8) -> [u8; 512] {
    [mark; 512]
}

fn mark(file: &File, place: u64) -> u8 {
    let mut sector = sector(0xEE);
    file.read_exact_at(&mut sector, place * 512).unwrap();
    sector[0]
}

/// Waits until the counters are as wanted.
fn wait(disk: &Disk, what: &str, wanted: impl Fn(&Counters) -> bool) {
    let begin = Instant::now();
    while !wanted(&disk.counters()) {
        assert!(begin.elapsed() < LIMIT, "{what}: not so after {LIMIT:?}: {:?}", disk.counters());
        std::thread::yield_now();
    }
}

/// A process of its own that writes one sector to the disk.
fn writer(bench: &Bench, name: &str) -> Child {
    let target = format!("of={}", bench.disks().path(name).display());
    Command::new("dd")
        .args(["if=/dev/zero", &target, "bs=512", "count=1", "conv=notrunc"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn errno<T: std::fmt::Debug>(outcome: io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

/// The self-test of the lab: who skips fsync does lose data here, and who calls it does not.
#[test]
fn without_fsync_data_is_lost_and_with_it_none() {
    let bench = Bench::new(1 << 20);
    let (mut losses, mut kept) = (0, 0);
    for seed in 0..40_u64 {
        for synced in [false, true] {
            let file = bench.open("a-0");
            let round = (seed * 2 + u64::from(synced)) as u8 + 1;
            for place in 0..8 {
                file.write_all_at(&sector(round), place * 512).unwrap();
                if synced {
                    file.sync_data().unwrap();
                }
            }
            let report = bench.disk("a-0").cut(seed);
            let file = bench.open("a-0");
            let there = (0..8).filter(|place| mark(&file, *place) == round).count() as u64;
            if synced {
                assert_eq!((there, report.bytes_lost()), (8, 0), "seed {seed}");
            } else {
                assert_eq!(there, report.kept.writes, "seed {seed}: {report:?}");
                losses += report.lost.writes;
                kept += report.kept.writes;
            }
        }
    }
    assert!(losses > 80 && kept > 80, "of 320 writes {losses} were lost and {kept} survived");
}

#[test]
fn a_write_with_dsync_is_a_write_and_a_flush() {
    let bench = Bench::new(1 << 20);
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DSYNC | libc::O_DIRECT)
        .open(bench.disks().path("a-0"))
        .unwrap();
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    file.write_all_at(&Page([3; 4096]).0, 4096).unwrap();
    let counters = bench.disk("a-0").counters();
    assert_eq!((counters.writes, counters.flushes, counters.unflushed.writes), (1, 1, 0));
}

#[test]
fn a_stalled_disk_stops_no_other_and_a_cut_frees_its_killed_reader() {
    let bench = Bench::new(1 << 20);
    let stalled = bench.disk("a-0");
    stalled.set_fault(Fault::Stall { ms: None });
    let mut readers = [writer(&bench, "a-0"), writer(&bench, "a-0"), writer(&bench, "a-0")];
    wait(stalled, "three writers wait", |counters| counters.waiting == 3);

    let other = bench.open("b-0");
    other.write_all_at(&sector(5), 0).unwrap();
    other.sync_all().unwrap();
    assert_eq!(mark(&other, 0), 5);

    readers.iter_mut().for_each(|reader| reader.kill().unwrap());
    assert!(readers.iter_mut().all(|reader| reader.try_wait().unwrap().is_none()), "in the kernel");
    stalled.cut(1);
    readers.iter_mut().for_each(|reader| assert!(!reader.wait().unwrap().success()));
}

#[test]
fn a_stall_ends_and_the_reader_never_knew() {
    let bench = Bench::new(1 << 20);
    bench.disk("a-0").set_fault(Fault::Stall { ms: None });
    let mut reader = writer(&bench, "a-0");
    wait(bench.disk("a-0"), "the writer waits", |counters| counters.waiting == 1);
    bench.disk("a-0").clear_faults();
    assert!(reader.wait().unwrap().success());
}

#[test]
fn a_descriptor_from_before_the_cut_is_dead_for_good() {
    let bench = Bench::new(1 << 20);
    let before = bench.open("a-0");
    bench.disk("a-0").cut(1);
    let refused = || {
        let read = before.read_exact_at(&mut sector(0), 0);
        [errno(read), errno(before.write_all_at(&sector(1), 0)), errno(before.sync_all())]
    };
    assert_eq!(refused(), [libc::EIO; 3], "nobody has opened the disk again");
    let after = bench.open("a-0");
    assert_eq!(refused(), [libc::EIO; 3], "somebody has");
    after.write_all_at(&sector(2), 0).unwrap();
    assert_eq!(mark(&after, 0), 2);
}

#[test]
fn errors_reach_the_reader_as_a_disk_would_tell_them() {
    let bench = Bench::new(1 << 20);
    let (disk, file) = (bench.disk("a-0"), bench.open("a-0"));
    disk.set_fault(Fault::fail(Kind::Read));
    assert_eq!(errno(file.read_at(&mut sector(0), 0)), libc::EIO);
    disk.clear_faults();
    disk.set_fault(Fault::fail(Kind::Flush));
    assert_eq!(errno(file.sync_all()), libc::EIO);
    disk.clear_faults();
    disk.set_fault(Fault::Full { more: 1024 });
    file.write_all_at(&[1; 1024], 0).unwrap();
    assert_eq!(errno(file.write_at(&sector(1), 1024)), libc::ENOSPC);
    assert_eq!(disk.counters().errors_injected, 3);
    disk.clear_faults();
    assert_eq!(errno(file.write_at(&[1; 100], 0)), libc::EINVAL, "less than a sector");
    assert_eq!(errno(file.write_at(&sector(1), BYTES)), libc::ENOSPC, "beyond the end");
    assert_eq!(errno(file.set_len(BYTES / 2)), libc::EPERM);
}

/// What UBD does with its file besides reading and writing: size, lock, discard, zeroes.
#[test]
fn a_disk_is_a_file_as_ubd_needs_it() {
    let bench = Bench::new(1 << 20);
    let file = bench.open("a-0");
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.is_file(), metadata.uid()), (BYTES, true, 0));
    let names: Vec<_> = fs::read_dir(bench.folder.join("mount"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["a-0", "b-0"]);
    // SAFETY: the descriptor is open; `flock` is plain numbers, for which zero is a whole file.
    let locked = unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as libc::c_short;
        libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock)
    };
    assert_eq!(locked, 0);
    for mode in [libc::FALLOC_FL_PUNCH_HOLE, libc::FALLOC_FL_ZERO_RANGE] {
        file.write_all_at(&[7; 4096], 0).unwrap();
        let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open; the rest are numbers.
        assert_eq!(unsafe { libc::fallocate(file.as_raw_fd(), mode, 512, 1024) }, 0);
        assert_eq!([0, 1, 2, 3].map(|place| mark(&file, place)), [7, 0, 0, 7]);
    }
    file.sync_all().unwrap();
    assert_eq!(mark(&file, 1), 0);
    // A long read comes in pieces and in one.
    let mut all = vec![];
    (&file).read_to_end(&mut all).unwrap();
    assert_eq!(all.len() as u64, BYTES);
}

#[test]
fn who_ends_in_order_keeps_everything_and_leaves_no_mount() {
    let mut bench = Bench::new(1 << 20);
    let reader = bench.open("a-0");
    reader.write_all_at(&sector(9), 0).unwrap();
    bench.disks = None;
    assert_eq!(fs::read_dir(bench.folder.join("mount")).unwrap().count(), 0, "unmounted");
    assert_eq!(errno(reader.read_at(&mut sector(0), 0)), libc::EIO);
    bench.serve(1 << 20);
    assert_eq!(mark(&bench.open("a-0"), 0), 9);
}

#[test]
fn what_cannot_be_served_is_told() {
    own_mounts();
    let folder = std::env::temp_dir();
    let serve = |specs: &[(&str, u64)]| {
        let spec = |(name, bytes): &(&str, u64)| DiskSpec {
            name: (*name).into(),
            bytes: *bytes,
            cache_bytes: 0,
            seed: 0,
        };
        let specs: Vec<DiskSpec> = specs.iter().map(spec).collect();
        Disks::serve(&folder, &folder, &specs).unwrap_err().to_string()
    };
    assert!(serve(&[("../a", 512)]).contains("one part of a path"));
    assert!(serve(&[("a", 512), ("a", 512)]).contains("one disk only"));
    assert!(serve(&[("a", 513)]).contains("whole sectors"));
    assert!(serve(&[("a", 0)]).contains("whole sectors"));
    assert!(serve(&[("a", 512); 33]).contains("at most 32"));
}
