//! The file systems that are compared.

use lab::DiskSpec;

/// One way to make and mount the service's file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// In the table, and in paths.
    pub(crate) name: &'static str,
    /// The command that makes it, without the device.
    pub(crate) make: &'static str,
    /// The type for mount(2).
    pub(crate) filesystem: &'static str,
    /// Mount options.
    pub(crate) options: &'static str,
    /// Synced writes before a trial, so that its log is as full as that of a service which has run
    /// for long.
    pub(crate) fill: u32,
    /// Checkpoint the journal at this interval while it is served, in milliseconds; 0 is never.
    pub(crate) checkpoint_ms: u64,
    /// How the clients are woken.
    pub(crate) wake: &'static [&'static str],
    /// Part of the short test, not only of the bench.
    pub(crate) short: bool,
}

/// Every disk has this size: XFS wants 300 MB, mke2fs begins with blocks of 4 KiB at 512 MB.
pub(crate) fn disk() -> DiskSpec {
    DiskSpec { mib: 520, ..DiskSpec::default() }
}

/// At once, and twice again in case something got lost.
const AGAIN: &[&str] = &["--again-after", "5,20"];

const fn ext4(name: &'static str, make: &'static str, fill: u32) -> Variant {
    let (filesystem, options, wake) = ("ext4", "noatime", AGAIN);
    Variant { name, make, filesystem, options, fill, checkpoint_ms: 0, wake, short: false }
}
const fn xfs(name: &'static str, make: &'static str, fill: u32) -> Variant {
    Variant { filesystem: "xfs", ..ext4(name, make, fill) }
}
const fn mounted(variant: Variant, options: &'static str) -> Variant {
    Variant { options, ..variant }
}
const fn checkpointed(checkpoint_ms: u64, variant: Variant) -> Variant {
    Variant { checkpoint_ms, ..variant }
}
const fn woken(name: &'static str, wake: &'static [&'static str]) -> Variant {
    Variant { wake, ..ext4(name, "mkfs.ext4 -q -b 4096 -J size=4", 400) }
}
const fn short(variant: Variant) -> Variant {
    Variant { short: true, ..variant }
}

/// All of them, in the order of the table.
pub(crate) const VARIANTS: &[Variant] = &[
    short(ext4("ext4-1m-1k", "mkfs.ext4 -q -b 1024 -J size=1", 400)),
    ext4("ext4-4m-1k", "mkfs.ext4 -q -b 1024 -J size=4", 1_600),
    short(ext4("ext4-4m-4k", "mkfs.ext4 -q -b 4096 -J size=4", 400)),
    short(ext4("ext4-16m-4k", "mkfs.ext4 -q -b 4096 -J size=16", 1_600)),
    ext4("ext4-64m-4k", "mkfs.ext4 -q -b 4096 -J size=64", 6_400),
    checkpointed(100, short(ext4("ext4-4m-each-100", "mkfs.ext4 -q -b 4096 -J size=4", 400))),
    checkpointed(100, ext4("ext4-64m-each-100", "mkfs.ext4 -q -b 4096 -J size=64", 6_400)),
    ext4("ext4-default", "mkfs.ext4 -q", 1_600),
    ext4("ext4-4m-fast", "mkfs.ext4 -q -b 4096 -J size=4 -O fast_commit", 400),
    mounted(ext4("ext4-4m-lazy", "mkfs.ext4 -q -b 4096 -J size=4", 400), "noatime,lazytime"),
    short(xfs("xfs-default", "mkfs.xfs -q -f", 1_600)),
];

/// How clients are woken, and what happens when their first answer goes to the dead node: all on the
/// same file system.
pub(crate) const WAKES: &[Variant] = &[
    woken("not-woken", &["--tickle", "silent"]),
    woken("woken-bare", &["--tickle", "bare"]),
    woken(
        "early-then-bare",
        &["--early", "bare", "--tickle", "bare", "--again", "bare", "--again-after", "5,20"],
    ),
    woken("early-then-byte", &["--early", "bare", "--tickle", "byte"]),
];
