//! On the service interface: what closes, for every way to ask; and what is left alone.

use super::super::ask::{Asker, How, Origin, packet_socket};
use super::super::error::Result;
use super::super::row::{Row, Seen};
use super::super::stage::{Stage, batch, client_of, floating, ip, see_open};
use driver_address::announce::frames;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;
use testbed::error::Context;
use testbed::os;

const ALL: &str = "gate on every interface";
/// A lease that runs out while the address is being asked.
const SHORT_LEASE: base::Duration = base::Duration::from_millis(50);

/// The ways to close, each by one store or none.
#[derive(Clone, Copy)]
enum Closer {
    Generation,
    ClosedWord,
    LeaseWord,
    Time,
}

const CLOSERS: [Closer; 4] =
    [Closer::Generation, Closer::ClosedWord, Closer::LeaseWord, Closer::Time];

/// All rows about the service interface.
pub(in super::super) fn rows() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut stage = Stage::cabled()?;
    stage.open();
    let from = |to| stage.client_at(client_of(to));
    let mut unguarded = Asker::open(from(floating()[0]), floating()[0], How::Udp)?;
    stage.close();
    rows.push(
        Row::new("service interface", "UDP", "no gate attached")
            .must_answer(see_open(&mut unguarded), "nothing: the words alone close nothing"),
    );
    stage.attach(None)?;
    for to in floating() {
        for how in How::ALL {
            rows.push(every_closer(&stage, to, how)?);
        }
    }
    rows.extend(own_addresses(&mut stage)?);
    rows.extend(announcements(&stage)?);
    rows.push(as_client()?);
    Ok(rows)
}

fn every_closer(stage: &Stage, to: IpAddr, how: How) -> Result<Row> {
    let case = "service interface";
    let mut seen = Seen::Closes;
    let mut again = true;
    for closer in CLOSERS {
        stage.open();
        let mut asker = stage.asker(case, stage.client_at(client_of(to)), to, how)?;
        close(stage, closer);
        if stage.see_stopped(case, &mut asker, to)? == Seen::Answers {
            seen = Seen::Answers;
        }
        stage.open();
        again &= see_open(&mut asker) == Seen::Answers;
    }
    let by = "each alone: generation 0, closed word, lease 0, lease run out";
    let note = match (how, again) {
        (How::Tcp, true) => "opened again, the connection goes on",
        (_, true) => "",
        (_, false) => "opened again, it stays silent",
    };
    Ok(Row::new(case, how.name(to), ALL).must_close(seen, by).note(note))
}

fn close(stage: &Stage, closer: Closer) {
    let words = stage.gate.words();
    match closer {
        Closer::Generation => stage.slots.iter().for_each(|slot| stage.gate.close(*slot)),
        Closer::ClosedWord => words.close(7),
        Closer::LeaseWord => words.set_lease_end(base::Instant::ZERO),
        Closer::Time => {
            words.set_lease_end(os::now() + SHORT_LEASE);
            os::sleep(SHORT_LEASE);
        }
    }
}

/// The node's own addresses beside a closed floating one.
fn own_addresses(stage: &mut Stage) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let node = stage.node.name().to_owned();
    let node = testbed::namespace::Namespace::open(&node).map(|mut it| {
        it.keep();
        it
    })?;
    for own in ["10.99.0.2", "fd99::2"].map(ip) {
        stage.answer_at(&node, own)?;
        stage.close();
        let mut seen = Seen::Answers;
        for how in How::ALL {
            let mut asker = Asker::open(stage.client_at(client_of(own)), own, how)?;
            if see_open(&mut asker) == Seen::Closes {
                seen = Seen::Closes;
            }
        }
        let how = if own.is_ipv4() { "all five ways" } else { "all five ways over IPv6" };
        rows.push(
            Row::new("the node's own address", how, ALL)
                .must_answer(seen, "not a gated address: never touched"),
        );
    }
    Ok(rows)
}

/// Gratuitous ARP and unsolicited advertisements of a node that is closed.
fn announcements(stage: &Stage) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for address in floating() {
        let how = if address.is_ipv4() { "gratuitous ARP" } else { "unsolicited advertisement" };
        stage.open();
        let open = is_announced(stage, address, false)?;
        stage.close();
        let (closed, around) =
            (is_announced(stage, address, false)?, is_announced(stage, address, true)?);
        let note = if open { "open, it is heard" } else { "open, it is not heard either" };
        rows.push(
            Row::new("announcement by the closed node", how, ALL)
                .must_close(seen(closed || !open), "the gate, going out")
                .note(note),
        );
        rows.push(Row::new("… sent with PACKET_QDISC_BYPASS", how, ALL).must_answer(
            seen(around),
            "nothing: the option goes round every filter; NetGuard must not use it",
        ));
    }
    Ok(rows)
}

const fn seen(answered: bool) -> Seen {
    if answered { Seen::Answers } else { Seen::Closes }
}

/// True if the client hears the node announce the address.
fn is_announced(stage: &Stage, address: IpAddr, bypass: bool) -> Result<bool> {
    let mac = [0x02, 0x4e, 0x47, 0, 0, 0x99];
    let (ear, _) = stage
        .client
        .inside(|| packet_socket("e0", libc::ETH_P_ALL).context("packet socket of the client"))?;
    ear.set_read_timeout(Some(Duration::from_millis(10))).context("packet socket")?;
    let (mouth, _) = stage.node.inside(|| {
        let (socket, to) = packet_socket("e0", 0).context("packet socket of the node")?;
        let on: libc::c_int = i32::from(bypass);
        // SAFETY: the option's value is one c_int, and its size is given.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        Ok((socket, to))
    })?;
    for frame in frames(address, mac) {
        // A frame that the gate stops is an error to its sender.
        let _ = (&mouth).write(&frame);
    }
    let mut bytes = [0; 256];
    let until = os::now() + base::Duration::from_millis(60);
    while os::now() < until {
        if let Ok(n) = (&ear).read(&mut bytes)
            && n > 12
            && bytes[6..12] == mac
        {
            return Ok(true);
        }
    }
    Ok(false)
}

const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// The floating addresses live on the other machine, and this node, closed, is their client.
fn as_client() -> Result<Row> {
    let mut stage = Stage::bare()?;
    stage.cable("e0", "e0")?;
    batch(&stage.node, "addr add 10.99.0.2/24 dev e0\naddr add fd99::2/64 dev e0 nodad\n")?;
    let mut lines = String::new();
    for address in floating() {
        let (len, nodad) = if address.is_ipv4() { (24, "") } else { (64, "nodad") };
        lines += &format!("addr add {address}/{len} dev e0 {nodad}\n");
    }
    batch(&stage.client, &lines)?;
    let owner = testbed::namespace::Namespace::open(stage.client.name()).map(|mut it| {
        it.keep();
        it
    })?;
    for address in floating() {
        stage.answer_at(&owner, address)?;
    }
    stage.attach(None)?;
    stage.close();
    let mut all = Seen::Answers;
    for to in floating() {
        let own = ip(if to.is_ipv4() { "10.99.0.2" } else { "fd99::2" });
        for how in How::ALL {
            let from = Origin { namespace: &stage.node, interface: "e0", own };
            if see_open(&mut Asker::open(from, to, how)?) == Seen::Closes {
                all = Seen::Closes;
            }
        }
    }
    Ok(Row::new("the closed node as client of the owner", "all ways", ALL)
        .must_answer(all, "not stopped: only acting as the address is"))
}
