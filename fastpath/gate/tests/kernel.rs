//! The running kernel takes the programs and they decide as they should; filters in a namespace.
//!
//! Needs root. Every test that touches interfaces does so on a thread in a namespace of its own,
//! which goes with the thread.

use base::Instant;
use gate::watch::Changed;
use gate::{Direction, Framing, Gate, Interface, Lack, Slot, Tc, Watch, Words};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;

const FLOATING: [u8; 4] = [10, 77, 1, 100];
const CLIENT: [u8; 4] = [10, 77, 1, 1];
const FLOATING6: &str = "fd00::64";
const CLIENT6: &str = "fd00::1";

/// A gate with one address of each family, if this is root.
struct Setup {
    gate: Gate,
    v4: Slot,
    v6: Slot,
}

impl Setup {
    fn new() -> Self {
        // SAFETY: takes nothing, cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "this test loads eBPF into the kernel: run it as root");
        let gate = Gate::load(Words::create().unwrap()).unwrap();
        let v4 = gate.add(FLOATING.into()).unwrap();
        let v6 = gate.add(FLOATING6.parse().unwrap()).unwrap();
        Self { gate, v4, v6 }
    }

    fn open(&self) {
        self.gate.words().set_lease_end(Instant::MAX);
        self.gate.open(self.v4, 1);
        self.gate.open(self.v6, 1);
    }

    /// What the program for Ethernet says; the other one must say the same of a frame that has no
    /// tags to skip.
    fn passes(&self, direction: Direction, frame: &[u8]) -> bool {
        let say = |framing| self.gate.rehearse(framing, direction, frame, 1).unwrap().passes;
        let passes = say(Framing::Ethernet);
        if frame[12] != 0x81 && frame[12] != 0x88 {
            assert_eq!(say(Framing::Network), passes);
        }
        // At a socket there is only IP.
        if frame[12..14] == [0x08, 0x00] || frame[12..14] == [0x86, 0xdd] {
            assert_eq!(say(Framing::Socket), passes);
        }
        passes
    }
}

/// Runs `test` on a thread in a new network namespace.
fn inside(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            // SAFETY: no memory is passed; moves only this thread.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "this test makes a network namespace: run it as root");
            test();
        });
        run.join().unwrap();
    });
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ethernet(tags: &[u16], kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [[0x02, 0, 0, 0, 0, 2], [0x02, 0, 0, 0, 0, 1]].concat();
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mac = [0x02, 0, 0, 0, 0, 1];
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac, &sender, &[0; 6], &target].concat()
}

/// IPv4; `fragment` is the offset in units of eight bytes.
fn ipv4(source: [u8; 4], destination: [u8; 4], fragment: u8) -> Vec<u8> {
    let head = [0x45, 0, 0, 48, 0, 1, 0, fragment, 64, 17, 0, 0];
    [&head[..], &source, &destination, &[0; 28]].concat()
}

fn ipv6(source: &str, destination: &str, next: u8, body: &[u8]) -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let head = [0x60, 0, 0, 0, 0, body.len() as u8, next, 255];
    [&head[..], &ip(source), &ip(destination), body].concat()
}

fn discovery(kind: u8, source: &str, destination: &str, target: &str) -> Vec<u8> {
    let target = target.parse::<Ipv6Addr>().unwrap().octets();
    ipv6(source, destination, 58, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target].concat())
}

/// Frames that make the node act as the address, with their direction.
fn gated() -> Vec<(&'static str, Direction, Vec<u8>)> {
    use Direction::{In, Out};
    let solicited = "ff02::1:ff00:64";
    vec![
        ("ARP asks", In, ethernet(&[], 0x0806, &arp(CLIENT, FLOATING))),
        ("ARP probe", In, ethernet(&[], 0x0806, &arp([0; 4], FLOATING))),
        ("ARP answers", Out, ethernet(&[], 0x0806, &arp(FLOATING, CLIENT))),
        ("ARP announces", Out, ethernet(&[], 0x0806, &arp(FLOATING, FLOATING))),
        ("IPv4 in", In, ethernet(&[], 0x0800, &ipv4(CLIENT, FLOATING, 0))),
        ("IPv4 out", Out, ethernet(&[], 0x0800, &ipv4(FLOATING, CLIENT, 0))),
        ("a later fragment", In, ethernet(&[], 0x0800, &ipv4(CLIENT, FLOATING, 9))),
        ("IPv6 in", In, ethernet(&[], 0x86dd, &ipv6(CLIENT6, FLOATING6, 17, &[0; 8]))),
        ("IPv6 out", Out, ethernet(&[], 0x86dd, &ipv6(FLOATING6, CLIENT6, 17, &[0; 8]))),
        ("echo in", In, ethernet(&[], 0x86dd, &ipv6(CLIENT6, FLOATING6, 58, &[128; 8]))),
        ("NS", In, ethernet(&[], 0x86dd, &discovery(135, CLIENT6, solicited, FLOATING6))),
        ("DAD", In, ethernet(&[], 0x86dd, &discovery(135, "::", solicited, FLOATING6))),
        ("NA", Out, ethernet(&[], 0x86dd, &discovery(136, "fe80::2", CLIENT6, FLOATING6))),
        ("NS as it", Out, ethernet(&[], 0x86dd, &discovery(135, FLOATING6, CLIENT6, CLIENT6))),
        ("behind a tag", In, ethernet(&[0x8100], 0x0800, &ipv4(CLIENT, FLOATING, 0))),
        ("tagged ARP", Out, ethernet(&[0x8100], 0x0806, &arp(FLOATING, CLIENT))),
        ("two tags", In, ethernet(&[0x88a8, 0x8100], 0x0800, &ipv4(CLIENT, FLOATING, 0))),
        (
            "two tags, IPv6",
            Out,
            ethernet(&[0x8100, 0x8100], 0x86dd, &ipv6(FLOATING6, CLIENT6, 17, &[0; 8])),
        ),
    ]
}

/// Frames that must pass whatever the gate's state.
fn others() -> Vec<(&'static str, Direction, Vec<u8>)> {
    use Direction::{In, Out};
    let own = [10, 77, 1, 2];
    vec![
        ("own address in", In, ethernet(&[], 0x0800, &ipv4(CLIENT, own, 0))),
        ("own address out", Out, ethernet(&[], 0x0800, &ipv4(own, CLIENT, 0))),
        ("own ARP", In, ethernet(&[], 0x0806, &arp(CLIENT, own))),
        ("as a client: asks", Out, ethernet(&[], 0x0800, &ipv4(own, FLOATING, 0))),
        ("as a client: is answered", In, ethernet(&[], 0x0800, &ipv4(FLOATING, own, 0))),
        ("as a client: ARP", Out, ethernet(&[], 0x0806, &arp(own, FLOATING))),
        ("as a client: ARP answer", In, ethernet(&[], 0x0806, &arp(FLOATING, own))),
        ("its owner announces", In, ethernet(&[], 0x0806, &arp(FLOATING, FLOATING))),
        ("its owner advertises", In, {
            ethernet(&[], 0x86dd, &discovery(136, FLOATING6, "ff02::1", FLOATING6))
        }),
        ("as a client: NS", Out, {
            ethernet(&[], 0x86dd, &discovery(135, "fd00::2", "ff02::1:ff00:64", FLOATING6))
        }),
        ("another protocol", In, ethernet(&[], 0x88cc, &[0; 46])),
        ("only a tag", In, ethernet(&[0x8100], 0x0800, &[])[..18].to_vec()),
        ("a cut packet", In, ethernet(&[0x8100], 0x0800, &[])[..24].to_vec()),
        ("a cut ARP", In, ethernet(&[], 0x0806, &[])[..18].to_vec()),
    ]
}

#[test]
fn closed_it_stops_the_address_and_nothing_else_open_it_stops_nothing() {
    let it = Setup::new();
    let now = Instant(it.gate.words().lease_end().0);
    assert_eq!(now, Instant::ZERO, "a new gate is closed");
    for (what, direction, frame) in gated() {
        assert!(!it.passes(direction, &frame), "closed: {what} must not pass");
    }
    for (what, direction, frame) in others() {
        assert!(it.passes(direction, &frame), "closed: {what} must pass");
    }
    it.open();
    for (what, direction, frame) in gated().into_iter().chain(others()) {
        assert!(it.passes(direction, &frame), "open: {what} must pass");
    }
}

#[test]
fn each_word_alone_closes() {
    let it = Setup::new();
    let ask = ethernet(&[], 0x0800, &ipv4(CLIENT, FLOATING, 0));
    let ask6 = ethernet(&[], 0x86dd, &ipv6(CLIENT6, FLOATING6, 17, &[0; 8]));
    let passes = || [&ask, &ask6].map(|frame| it.passes(Direction::In, frame));
    it.open();
    assert_eq!(passes(), [true, true]);
    it.gate.words().set_lease_end(Instant(1));
    assert_eq!(passes(), [false, false], "the lease has ended");
    it.gate.words().set_lease_end(Instant::MAX);
    it.gate.words().close(7);
    assert_eq!(passes(), [false, false], "closed for a stint");
    it.gate.words().reopen();
    it.gate.close(it.v4);
    assert_eq!(passes(), [false, true], "one address closed");
}

#[test]
fn the_first_question_and_answer_are_stamped_and_everything_is_counted() {
    let it = Setup::new();
    let ask = ethernet(&[], 0x0800, &ipv4(CLIENT, FLOATING, 0));
    let answer = ethernet(&[], 0x0800, &ipv4(FLOATING, CLIENT, 0));
    let announce = ethernet(&[], 0x0806, &arp(FLOATING, FLOATING));
    it.passes(Direction::In, &ask);
    assert_eq!(it.gate.look(it.v4).dropped, 3, "by each of the three programs");
    it.open();
    it.passes(Direction::Out, &announce);
    let look = it.gate.look(it.v4);
    assert_eq!((look.passed, look.first_asked, look.first_answered), (2, None, None));
    it.passes(Direction::In, &ask);
    it.passes(Direction::Out, &answer);
    let first = it.gate.look(it.v4);
    assert!(first.first_asked.unwrap() <= first.first_answered.unwrap());
    it.passes(Direction::In, &ask);
    it.passes(Direction::Out, &answer);
    let later = it.gate.look(it.v4);
    assert_eq!(
        (later.first_asked, later.first_answered),
        (first.first_asked, first.first_answered)
    );
    assert_eq!((later.passed, later.dropped, later.generation), (14, 3, 1));
    it.gate.open(it.v4, 2);
    assert_eq!(it.gate.look(it.v4).first_answered, None, "a new generation is stamped anew");
}

#[test]
fn words_are_one_for_all_who_map_them() {
    let it = Setup::new();
    let other = Words::open(it.gate.words().as_fd().try_clone_to_owned().unwrap()).unwrap();
    other.set_lease_end(Instant(5));
    assert_eq!(it.gate.words().lease_end(), Instant(5));
    it.gate.words().close(3);
    assert_eq!(other.closed(), 3);
}

#[test]
fn a_slot_is_used_again_without_its_past_and_the_last_one_is_an_error() {
    let it = Setup::new();
    it.open();
    it.passes(Direction::In, &ethernet(&[], 0x0800, &ipv4(CLIENT, FLOATING, 0)));
    it.gate.remove(FLOATING.into()).unwrap();
    assert!(it.passes(Direction::In, &ethernet(&[], 0x0800, &ipv4(CLIENT, FLOATING, 0))));
    let again = it.gate.add([10, 77, 1, 101].into()).unwrap();
    assert_eq!(again, it.v4);
    assert_eq!(it.gate.look(again), gate::map::Look::default());
    for n in 2..gate::map::SLOTS as u32 {
        it.gate.add(IpAddr::from((0x0a00_0000 + n).to_be_bytes())).unwrap();
    }
    let refusal = it.gate.add("fd00::9".parse().unwrap()).unwrap_err();
    assert!(refusal.to_string().contains("fd00::9"), "{refusal}");
}

fn find(tc: &mut Tc, name: &str) -> Interface {
    tc.interfaces().unwrap().into_iter().find(|it| it.name == name).unwrap()
}

#[test]
fn what_another_tool_removes_is_told_and_put_back() {
    inside(|| {
        let it = Setup::new();
        let mut tc = Tc::open().unwrap();
        let mut watch = Watch::open().unwrap();
        let lo = find(&mut tc, "lo");
        let absent = [Lack::Absent(Direction::In), Lack::Absent(Direction::Out)];
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), absent);
        tc.attach(&it.gate, &lo).unwrap();
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), []);
        tc.attach(&it.gate, &lo).unwrap();
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), [], "attaching twice is attaching once");
        while watch.changed().unwrap() != Changed::Interfaces([].into()) {}

        run("tc qdisc del dev lo clsact");
        assert_eq!(watch.changed().unwrap(), Changed::Interfaces([lo.index].into()));
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), absent);
        tc.attach(&it.gate, &lo).unwrap();

        run("tc filter del dev lo egress");
        assert!(matches!(watch.changed().unwrap(), Changed::Interfaces(at) if at.len() == 1));
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), [Lack::Absent(Direction::Out)]);
        tc.attach(&it.gate, &lo).unwrap();
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), []);

        tc.detach(&lo).unwrap();
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), absent);
        tc.detach(&lo).unwrap();
    });
}

#[test]
fn an_interface_that_comes_later_is_told() {
    inside(|| {
        let it = Setup::new();
        let mut tc = Tc::open().unwrap();
        let mut watch = Watch::open().unwrap();
        run("ip link add later type veth peer name other");
        let Changed::Interfaces(indices) = watch.changed().unwrap() else {
            panic!("two interfaces do not flood a queue")
        };
        let later = find(&mut tc, "later");
        assert!(indices.contains(&later.index));
        assert_eq!(tc.lacks(&it.gate, &later).unwrap().len(), 2);
        tc.attach(&it.gate, &later).unwrap();
        run("ip link del later");
        assert_eq!(tc.lacks(&it.gate, &later).unwrap().len(), 2);
        tc.attach(&it.gate, &later).unwrap();
        tc.detach(&later).unwrap();
    });
}

#[test]
fn a_dead_life_s_filters_are_told_and_replaced() {
    inside(|| {
        let before = Setup::new();
        let mut tc = Tc::open().unwrap();
        let lo = find(&mut tc, "lo");
        tc.attach(&before.gate, &lo).unwrap();
        drop(before);
        let it = Setup::new();
        let stale = [Lack::Stale(Direction::In), Lack::Stale(Direction::Out)];
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), stale);
        tc.attach(&it.gate, &lo).unwrap();
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), []);
    });
}

#[test]
fn a_filter_that_comes_before_is_told_and_one_in_our_place_is_an_error() {
    inside(|| {
        let it = Setup::new();
        let mut tc = Tc::open().unwrap();
        let lo = find(&mut tc, "lo");
        run("tc qdisc add dev lo clsact");
        run("tc filter add dev lo ingress pref 1 protocol ip u32 match u32 0 0 flowid 1:1");
        let refusal = tc.attach(&it.gate, &lo).unwrap_err();
        assert!(matches!(refusal, gate::GateError::Taken { .. }), "{refusal}");
        run("tc filter del dev lo ingress");
        tc.attach(&it.gate, &lo).unwrap();
        run("tc filter add dev lo ingress pref 2 protocol ip u32 match u32 0 0 flowid 1:1");
        assert_eq!(tc.lacks(&it.gate, &lo).unwrap(), [], "whoever comes later does not disturb");
    });
}

#[test]
fn at_the_sockets_of_a_group_it_takes_the_place_of_a_dead_life_s_gate() {
    let group = Group::new();
    let sockets = gate::Sockets::of(&group.0).unwrap();
    let before = Setup::new();
    sockets.attach(&before.gate).unwrap();
    assert_eq!(sockets.lacks(&before.gate).unwrap(), []);
    let it = Setup::new();
    assert_eq!(sockets.lacks(&it.gate).unwrap().len(), 2);
    sockets.attach(&it.gate).unwrap();
    sockets.attach(&it.gate).unwrap();
    assert_eq!(sockets.lacks(&it.gate).unwrap(), []);
    assert_eq!(sockets.lacks(&before.gate).unwrap().len(), 2, "only one gate is left");
    sockets.detach().unwrap();
    assert_eq!(sockets.lacks(&it.gate).unwrap().len(), 2);
}

/// An empty control group of this test's own.
struct Group(std::path::PathBuf);

impl Group {
    fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let hierarchy = mounts
            .lines()
            .find_map(|line| {
                let mut words = line.split(' ').skip(1);
                let at = words.next()?;
                (words.next()? == "cgroup2").then(|| std::path::PathBuf::from(at))
            })
            .expect("this test needs a cgroup2 hierarchy to be mounted");
        let group = hierarchy.join(format!("ng-gate-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        Self(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
