//! The disks as a guest sees them, through their sockets. No root, no kernel: [`guest::Guest`] is the
//! driver.

mod guest;

use disk::{Counters, Disk, DiskSpec, Disks, Fault, Kind};
use guest::{DISCARD, ERROR, FLUSH, Guest, IDENTITY, OK, READ, UNKNOWN, WRITE, ZEROES};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const BYTES: u64 = 8 << 20;
const LIMIT: Duration = Duration::from_secs(20);

/// Two disks, and their folders.
struct Bench {
    disks: Option<Disks>,
    folder: PathBuf,
}

impl Bench {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ng-disk-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for part in ["sockets", "store"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        let mut bench = Self { disks: None, folder };
        bench.serve();
        bench
    }

    fn serve(&mut self) {
        let spec = |name: &str| DiskSpec {
            name: name.into(),
            bytes: BYTES,
            cache_bytes: 1 << 20,
            seed: 1,
        };
        let (sockets, store) = (self.folder.join("sockets"), self.folder.join("store"));
        self.disks = Some(Disks::serve(&sockets, &store, &["a-0", "b-0"].map(spec)).unwrap());
    }

    fn disk(&self, name: &str) -> &Disk {
        self.disks.as_ref().unwrap().disk(name).unwrap()
    }

    fn boot(&self, name: &str) -> Guest {
        Guest::boot(self.disks.as_ref().unwrap(), name)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.disks = None;
        // A folder that is left in the temporary one tells where to look.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits until the counters are as wanted.
fn wait(disk: &Disk, what: &str, wanted: impl Fn(&Counters) -> bool) {
    let begin = Instant::now();
    while !wanted(&disk.counters()) {
        assert!(begin.elapsed() < LIMIT, "{what}: not so after {LIMIT:?}: {:?}", disk.counters());
        std::thread::yield_now();
    }
}

#[test]
fn a_guest_sees_a_disk_with_a_volatile_cache() {
    let bench = Bench::new();
    let mut guest = bench.boot("a-0");
    assert_eq!(guest.bytes(), BYTES);
    let flush = 9;
    assert!(guest.offers(flush), "without it the guest's kernel never flushes");
    let (status, name) = guest.call(IDENTITY, 0, &[], 20);
    assert!(status == OK && name.starts_with(b"a-0\0"), "{name:?}");
    assert_eq!(guest.write(8, 7, 4), OK);
    assert_eq!(bench.disk("a-0").counters().unflushed.bytes, 2048);
    assert_eq!(guest.flush(), OK);
    assert_eq!(bench.disk("a-0").counters().unflushed.bytes, 0);
    assert_eq!(guest.marks(7, 6), [0, 7, 7, 7, 7, 0]);
    let segment = |kind, sector: u64, guest: &mut Guest| {
        let mut range = sector.to_le_bytes().to_vec();
        range.extend([1, 0].map(u32::to_le_bytes).concat());
        guest.call(kind, 0, &range, 0).0
    };
    assert_eq!(segment(DISCARD, 8, &mut guest), OK);
    assert_eq!(segment(ZEROES, 10, &mut guest), OK);
    assert_eq!(guest.marks(8, 4), [0, 7, 0, 7]);
    assert!(guest.has_disk());
}

/// The self-test of the lab: who skips the flush does lose data here, and who flushes does not.
#[test]
fn without_a_flush_data_is_lost_and_with_it_none() {
    let bench = Bench::new();
    let (mut losses, mut kept) = (0, 0);
    for seed in 0..20_u8 {
        for flushed in [false, true] {
            let round = seed * 2 + u8::from(flushed) + 1;
            let mut guest = bench.boot("a-0");
            for sector in 0..8 {
                assert_eq!(guest.write(sector, round, 1), OK);
            }
            if flushed {
                assert_eq!(guest.flush(), OK);
            }
            let report = bench.disk("a-0").cut(u64::from(seed));
            drop(guest);
            let marks = bench.boot("a-0").marks(0, 8);
            let there = marks.iter().filter(|mark| **mark == round).count() as u64;
            if flushed {
                assert_eq!((there, report.bytes_lost()), (8, 0), "seed {seed}");
            } else {
                assert_eq!(there, report.kept.writes, "seed {seed}: {report:?}");
                losses += report.lost.writes;
                kept += report.kept.writes;
            }
        }
    }
    assert!(losses > 40 && kept > 40, "of 160 writes {losses} were lost and {kept} survived");
}

#[test]
fn a_stalled_disk_stops_no_other_and_goes_on() {
    let bench = Bench::new();
    let (mut guest, mut other) = (bench.boot("a-0"), bench.boot("b-0"));
    bench.disk("a-0").set_fault(Fault::Stall { ms: None });
    let held = [guest.submit(WRITE, 0, &[5; 512], 0), guest.submit(READ, 0, &[], 512)];
    wait(bench.disk("a-0"), "two requests wait", |counters| counters.waiting == 2);
    assert_eq!((other.write(0, 1, 1), other.flush()), (OK, OK));
    assert!(held.iter().all(|ticket| guest.is_waiting(ticket)));
    bench.disk("a-0").clear_faults();
    assert_eq!(guest.wait(&held[0]).0, OK);
    assert_eq!(guest.wait(&held[1]), (OK, vec![5; 512]));
}

#[test]
fn after_a_cut_the_guest_from_before_reaches_nothing_and_the_next_one_does() {
    let bench = Bench::new();
    let mut before = bench.boot("a-0");
    bench.disk("a-0").set_fault(Fault::Stall { ms: None });
    let held = before.submit(WRITE, 0, &[5; 512], 0);
    wait(bench.disk("a-0"), "a request waits", |counters| counters.waiting == 1);
    bench.disk("a-0").cut(1);
    assert_eq!(before.wait(&held).0, ERROR);
    assert_eq!(before.write(0, 6, 1), ERROR, "stalled");
    bench.disk("a-0").clear_faults();
    assert_eq!(before.write(0, 6, 1), ERROR);
    drop(before);
    let mut after = bench.boot("a-0");
    assert_eq!(after.write(1, 7, 1), OK);
    assert_eq!(after.marks(0, 2), [0, 7]);
}

#[test]
fn errors_reach_the_guest() {
    let bench = Bench::new();
    let (disk, mut guest) = (bench.disk("a-0"), bench.boot("a-0"));
    disk.set_fault(Fault::fail(Kind::Read));
    assert_eq!(guest.call(READ, 0, &[], 512).0, ERROR);
    disk.clear_faults();
    disk.set_fault(Fault::fail(Kind::Flush));
    assert_eq!(guest.flush(), ERROR);
    disk.clear_faults();
    disk.set_fault(Fault::Full { more: 1024 });
    assert_eq!((guest.write(0, 1, 2), guest.write(2, 1, 1)), (OK, ERROR));
    disk.clear_faults();
    assert_eq!(guest.write(BYTES / 512, 1, 1), ERROR, "beyond the end");
    assert_eq!(disk.counters().errors_injected, 3);
}

/// A guest's kernel may be broken: that costs it its answer, and the disk nothing.
#[test]
fn nonsense_in_the_ring_harms_nobody() {
    let bench = Bench::new();
    let mut guest = bench.boot("a-0");
    assert_eq!(guest.call(99, 0, &[], 0).0, UNKNOWN);
    assert_eq!(guest.call(READ, u64::MAX, &[], 512).0, ERROR);
    assert_eq!(guest.call(READ, u64::MAX / 512, &[], 512).0, ERROR);
    assert_eq!(guest.call(WRITE, 0, &[1; 100], 0).0, ERROR, "part of a sector");
    assert_eq!(guest.call(DISCARD, 0, &[1; 3], 0).0, ERROR, "part of a range");
    // What follows has no place for a status.
    let mut guest = bench.boot("b-0");
    for address in [0, 1 << 20, 1 << 40, u64::MAX - 8] {
        guest.chain(0, &[(address, 16, 0), (address, u32::MAX, 0), (address, u32::MAX, 2)]);
        guest.chain(0, &[(address, 0, 0)]);
    }
    guest.chain(0, &[(1 << 20, 16, 2)]);
    guest.descriptor(0, 1 << 20, 16, 1, 0);
    guest.offer(0); // a circle
    guest.offer(60_000);
    guest.chain(0, &[(1 << 20, 16, 0), (1 << 20, 1, 2)]);
    drop(guest);
    let mut guest = bench.boot("b-0");
    assert_eq!((guest.write(0, 1, 1), guest.flush()), (OK, OK));
}

#[test]
fn a_guest_that_leaves_in_the_middle_leaves_the_disk_to_the_next() {
    let bench = Bench::new();
    for number in 0..10 {
        let mut guest = bench.boot("a-0");
        guest.submit(WRITE, 0, &[number; 512], 0);
    }
    // A stranger that speaks nonsense is shown out.
    let stranger = bench.disks.as_ref().unwrap().path("a-0");
    let mut stranger = UnixStream::connect(stranger).unwrap();
    stranger.write_all(&[255; 64]).unwrap();
    drop(stranger);
    assert_eq!(bench.boot("a-0").call(FLUSH, 0, &[], 0).0, OK);
}

#[test]
fn who_ends_in_order_keeps_everything_and_can_be_served_again() {
    let mut bench = Bench::new();
    let mut guest = bench.boot("a-0");
    assert_eq!(guest.write(0, 9, 1), OK);
    bench.disks = None;
    drop(guest);
    let sockets = bench.folder.join("sockets");
    assert_eq!(std::fs::read_dir(&sockets).unwrap().count(), 0, "no name is left");
    // A server that was killed does leave one.
    drop(UnixListener::bind(sockets.join("a-0")).unwrap());
    bench.serve();
    assert_eq!(bench.boot("a-0").marks(0, 1), [9]);
}

#[test]
fn what_cannot_be_served_is_told() {
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
    assert!(serve(&[("a/b", 512)]).contains("one part of a path"));
    assert!(serve(&[("..", 512)]).contains("without a dot"));
    assert!(serve(&[("a", 512), ("a", 512)]).contains("one disk only"));
    assert!(serve(&[("a", 513)]).contains("whole sectors"));
    assert!(serve(&[("a", 0)]).contains("whole sectors"));
    assert!(serve(&[("a", 512); 33]).contains("at most 32"));
}
