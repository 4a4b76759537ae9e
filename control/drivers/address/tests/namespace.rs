//! The driver against a real kernel, in a network namespace of its own. Needs root; says SKIPPED
//! without.

use base::Instant;
use ng_driver_address::interface::{addresses, interfaces};
use ng_driver_address::netlink::Netlink;
use ng_driver_address::{Address, AddressError, FloatingAddress, remove_leftovers};
use std::io::Read;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

/// Runs `test` in a fresh namespace with the pair nga0/nga1 up; false (and SKIPPED) where that is
/// not possible.
fn in_namespace(name: &str, test: fn()) {
    let done = std::thread::spawn(move || {
        // SAFETY: unshare takes no pointers; it changes only this thread, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return false;
        }
        let ip = |line: &str| {
            Command::new("ip").args(line.split(' ')).status().is_ok_and(|s| s.success())
        };
        let ready = ip("link add nga0 type veth peer name nga1")
            && ip("link set lo up")
            && ip("link set nga0 up")
            && ip("link set nga1 up")
            && ip("addr add 10.7.0.1/24 dev nga0");
        if ready {
            test();
        }
        ready
    })
    .join();
    match done {
        Ok(true) => {}
        Ok(false) => println!("{name}: SKIPPED: needs root, network namespaces and iproute2"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn floating(address: &str, prefix: u8) -> Address {
    Address { address: address.parse().unwrap(), prefix, interface: "nga0".into() }
}

/// The kernel makes an IPv6 address's local route in a worker after the acknowledgement (200 tries:
/// median 40 us, worst 4 ms, one tick of a busy core). Waits until it is there; IPv4 has it before
/// the acknowledgement.
fn until_routed(address: &str) {
    let Ok(IpAddr::V6(v6)) = address.parse::<IpAddr>() else { return };
    let wanted: String = v6.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
        // The last but one column are the flags; this bit is "local".
        let local = |line: &str| {
            let flags =
                line.split_whitespace().nth(8).and_then(|f| u32::from_str_radix(f, 16).ok());
            line.starts_with(&wanted) && flags.is_some_and(|f| f & 0x8000_0000 != 0)
        };
        if routes.lines().any(local) {
            return;
        }
    }
    panic!("{address} is not reachable from its own node");
}

fn here(address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let mut netlink = Netlink::route().unwrap();
    addresses(&mut netlink).unwrap().iter().any(|a| a.address == address)
}

/// Seconds until the kernel takes `address` away.
fn seconds_left(address: &str) -> Option<u32> {
    let output = Command::new("ip").args(["-o", "addr", "show"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&format!(" {address}/")))?;
    let word = line.split("valid_lft ").nth(1)?.split("sec").next()?;
    word.trim().parse().ok()
}

#[test]
fn an_address_that_nobody_renews_ends_and_one_that_is_lost_comes_back() {
    in_namespace("an_address_that_nobody_renews_ends_and_one_that_is_lost_comes_back", || {
        for (address, prefix) in [("10.7.0.100", 24), ("fd07::64", 64)] {
            let mut driver = FloatingAddress::open(floating(address, prefix)).unwrap();
            driver.start(Instant(0)).unwrap();
            assert!(seconds_left(address).is_some_and(|left| (18..=20).contains(&left)));
            let whole = format!("{address}/{prefix}");
            let ip = |words: &[&str]| {
                assert!(Command::new("ip").args(words).status().unwrap().success());
            };
            // Nearly over; the renewal makes it last again.
            ip(&["addr", "change", &whole, "dev", "nga0", "valid_lft", "9", "preferred_lft", "9"]);
            driver.handle_timeout(Instant(5_000_000_000));
            assert!(seconds_left(address).is_some_and(|left| left >= 18));
            ip(&["addr", "del", &whole, "dev", "nga0"]);
            driver.handle_timeout(Instant(10_000_000_000));
            assert!(here(address), "somebody took it away");
            driver.withdraw().unwrap();
            assert_eq!(driver.poll_deadline(), None);
            driver.handle_timeout(Instant(15_000_000_000));
            assert!(!here(address), "a withdrawn address is not renewed");
        }
    });
}

#[test]
fn an_interface_that_is_made_anew_gets_its_address_back() {
    in_namespace("an_interface_that_is_made_anew_gets_its_address_back", || {
        let ip = |line: &str| {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success());
        };
        let mut driver = FloatingAddress::open(floating("10.7.0.100", 24)).unwrap();
        driver.start(Instant(0)).unwrap();
        ip("link del nga0");
        driver.handle_timeout(Instant(5_000_000_000));
        assert!(!here("10.7.0.100"), "no interface, no address, no error");
        ip("link add nga0 type veth peer name nga1");
        ip("link set nga0 up");
        driver.handle_timeout(Instant(10_000_000_000));
        assert!(here("10.7.0.100"));
    });
}

/// Long before the next renewal: the kernel's own message is what wakes the driver's thread.
#[test]
fn what_was_lost_comes_back_when_the_kernel_says_so() {
    in_namespace("what_was_lost_comes_back_when_the_kernel_says_so", || {
        let ip = |line: &str| {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success());
        };
        let ms = |n: u64| Instant(n * 1_000_000);
        let readable = |driver: &FloatingAddress| {
            let (fd, events, revents) = (driver.watch_fd().as_raw_fd(), libc::POLLIN, 0);
            let mut poll = libc::pollfd { fd, events, revents };
            // SAFETY: one descriptor, which lives as long as the driver.
            (unsafe { libc::poll(&raw mut poll, 1, 0) }) == 1
        };
        let mut driver = FloatingAddress::open(floating("10.7.0.100", 24)).unwrap();
        driver.start(ms(0)).unwrap();
        driver.handle_timeout(ms(10));
        assert!(!readable(&driver), "what it did itself is taken, and no news");
        ip("addr del 10.7.0.100/24 dev nga0");
        assert!(readable(&driver) && !here("10.7.0.100"));
        driver.handle_timeout(ms(20));
        assert!(!here("10.7.0.100"), "the gate comes first");
        assert_eq!(driver.poll_deadline(), Some(ms(30)));
        driver.handle_timeout(ms(30));
        assert!(here("10.7.0.100"), "taken away, and back");
        ip("link del nga0");
        driver.handle_timeout(ms(40));
        ip("link add nga0 type veth peer name nga1");
        ip("link set nga0 up");
        assert!(readable(&driver));
        // Changes in quick succession are looked at once.
        driver.handle_timeout(ms(41));
        assert!(!here("10.7.0.100") && !readable(&driver));
        driver.handle_timeout(ms(50));
        assert!(here("10.7.0.100"), "on the interface that was made anew");
        driver.withdraw().unwrap();
        ip("link set nga0 down");
        ip("link set nga0 up");
        driver.handle_timeout(ms(60));
        driver.handle_timeout(ms(80));
        assert!(!here("10.7.0.100"), "who does not own it does not bring it back");
    });
}

#[test]
fn an_address_comes_answers_and_goes() {
    in_namespace("an_address_comes_answers_and_goes", || {
        for (address, prefix) in [("10.7.0.100", 24), ("fd07::64", 64)] {
            let mut driver = FloatingAddress::open(floating(address, prefix)).unwrap();
            let began = std::time::Instant::now();
            driver.start(Instant(0)).unwrap();
            let took = began.elapsed();
            println!("{address}: add + announce took {took:?}");
            // No duplicate detection: a service can bind at once.
            TcpListener::bind((address, 0)).unwrap();
            assert!(here(address));
            driver.start(Instant(0)).expect("a start is idempotent");
            assert_eq!(
                driver.poll_deadline(),
                Some(Instant(10_000_000)),
                "first repeat after 10 ms"
            );
            driver.handle_timeout(Instant(10_000_000));
            assert_eq!(driver.poll_deadline(), Some(Instant(50_000_000)));
            driver.withdraw().unwrap();
            assert!(!here(address));
            assert_eq!(driver.poll_deadline(), None, "what is withdrawn is not announced");
            driver.stop().expect("a stop is idempotent");
        }
    });
}

#[test]
fn neighbours_hear_the_announcement() {
    in_namespace("neighbours_hear_the_announcement", || {
        let everything = socket2::Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
        let ear =
            socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, Some(everything));
        let ear = ear.unwrap();
        ear.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut driver = FloatingAddress::open(floating("10.7.0.100", 24)).unwrap();
        driver.start(Instant(0)).unwrap();
        let mac = driver.interface().unwrap().mac.unwrap();
        let mut operations = Vec::new();
        let mut frame = [0; 2048];
        while operations.len() < 2 {
            let n = (&ear).read(&mut frame).expect("an announcement");
            let arp = frame[..n].get(12..14) == Some(&[0x08, 0x06][..]);
            // The ear hears each frame twice: as it leaves nga0 and as it reaches nga1.
            let ours = arp && frame[6..12] == mac && frame[28..32] == [10, 7, 0, 100];
            if ours && operations.last() != Some(&frame[21]) {
                operations.push(frame[21]);
            }
        }
        assert_eq!(operations, [1, 2], "request form, then reply form");
    });
}

#[test]
fn a_stop_ends_connections_a_withdrawal_keeps_them() {
    in_namespace("a_stop_ends_connections_a_withdrawal_keeps_them", || {
        for (bind, address, prefix) in
            [("0.0.0.0", "10.7.0.100", 24), ("::", "10.7.0.100", 24), ("::", "fd07::64", 64)]
        {
            let mut driver = FloatingAddress::open(floating(address, prefix)).unwrap();
            if !driver.ends_connections() {
                println!("SKIPPED: this kernel has no SOCK_DESTROY");
                return;
            }
            driver.start(Instant(0)).unwrap();
            until_routed(address);
            let listener = TcpListener::bind((bind, 0)).unwrap();
            let _client =
                TcpStream::connect((address, listener.local_addr().unwrap().port())).unwrap();
            let (mut served, _) = listener.accept().unwrap();
            served.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            driver.withdraw().unwrap();
            let waiting = served.read(&mut [0]).unwrap_err();
            assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock, "withdrawn: it waits");
            let released = driver.stop().unwrap();
            assert!(released.ended.unwrap().destroyed >= 1, "{bind} {address}: {released:?}");
            let ended = served.read(&mut [0]).unwrap_err();
            assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionAborted);
        }
    });
}

#[test]
fn leftovers_go_and_own_addresses_stay() {
    in_namespace("leftovers_go_and_own_addresses_stay", || {
        let wanted: [IpAddr; 3] =
            ["10.7.0.100", "10.7.0.101", "fd07::64"].map(|a| a.parse().unwrap());
        for address in wanted {
            let prefix = if address.is_ipv4() { 24 } else { 64 };
            let spec = Address { address, prefix, interface: "nga1".into() };
            FloatingAddress::open(spec).unwrap().start(Instant(0)).unwrap();
        }
        let removed = remove_leftovers(&wanted).unwrap();
        assert_eq!(removed.len(), 3, "{removed:?}");
        assert!(here("10.7.0.1"), "the node's own address is none of them");
        assert_eq!(remove_leftovers(&wanted).unwrap(), []);
    });
}

#[test]
fn connections_of_an_owner_that_was_killed_end_with_its_leftovers() {
    in_namespace("connections_of_an_owner_that_was_killed_end_with_its_leftovers", || {
        FloatingAddress::open(floating("10.7.0.100", 24)).unwrap().start(Instant(0)).unwrap();
        let listener = TcpListener::bind("10.7.0.100:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        served.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        remove_leftovers(&["10.7.0.100".parse().unwrap()]).unwrap();
        let error = served.read(&mut [0]).expect_err("the connection was ended");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    });
}

#[test]
fn releasing_the_first_address_of_a_subnet_keeps_the_others() {
    in_namespace("releasing_the_first_address_of_a_subnet_keeps_the_others", || {
        let mut first = FloatingAddress::open(floating("10.8.0.1", 24)).unwrap();
        let mut second = FloatingAddress::open(floating("10.8.0.2", 24)).unwrap();
        first.start(Instant(0)).unwrap();
        second.start(Instant(0)).unwrap();
        first.stop().unwrap();
        assert!(!here("10.8.0.1"));
        assert!(here("10.8.0.2"));
    });
}

#[test]
fn a_missing_interface_is_named_and_may_come_later() {
    in_namespace("a_missing_interface_is_named_and_may_come_later", || {
        let address = "10.9.0.1".parse().unwrap();
        let spec = Address { address, prefix: 24, interface: "nga9".into() };
        let mut driver = FloatingAddress::open(spec).unwrap();
        let error = driver.start(Instant(0)).unwrap_err();
        assert!(matches!(error, AddressError::NoInterface { .. }));
        assert!(error.to_string().contains("nga9"), "{error}");
        for again in 0..2 {
            let line = "link add nga9 type veth peer name nga8";
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success());
            let error = if again == 0 {
                driver.start(Instant(0)).unwrap_err().to_string()
            } else {
                String::new()
            };
            assert!(again == 1 || error.contains("is down"), "{error}");
            Command::new("ip").args(["link", "set", "nga9", "up"]).status().unwrap();
            driver.start(Instant(0)).expect("also on an interface that was made anew");
            assert!(here("10.9.0.1"));
            Command::new("ip").args(["link", "del", "nga9"]).status().unwrap();
            if again == 1 {
                driver.stop().expect("gone with its interface");
            }
        }
        let mut netlink = Netlink::route().unwrap();
        assert!(interfaces(&mut netlink).unwrap().iter().all(|i| i.name != "nga9"));
    });
}
