//! The instance's process: orders come in on standard input, one word a line, answers and news go
//! out on standard output, one JSON object a line.

use crate::nfsd::grace;
use crate::nfsd::instance::{self, Instance, InstanceError, Outside};
use crate::nfsd::pipe::{self, News};
use crate::nfsd::responder;
use crate::nfsd::rpc::RpcError;
use crate::nfsd::settings::Settings;
use crate::nfsd::space;
use crate::takeover::resident::now;
use crate::takeover::sequence::say;
use serde_json::{Value, json};
use std::io::BufRead;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Orders and news that wait.
const QUEUE: usize = 64;
const TICK: Duration = Duration::from_millis(50);
const PORT_MAPPER: ([u8; 4], u16) = ([127, 0, 0, 1], 111);
const PORT_MAPPER_TRIES: u32 = 200;

/// Runs one instance until its input ends.
pub fn serve(settings: &Settings) -> Result<(), InstanceError> {
    space::make(&settings.service, &settings.parent)?;
    let outside = Outside::open(settings)?;
    space::enter(&settings.service)?;
    let mapper = port_mapper()?;
    let (news, told) = sync_channel(QUEUE);
    let mut instance = Instance::new(settings.clone(), outside, news.clone())?;
    responder::serve(instance.book(), settings.folder(), news)?;
    let orders = orders();
    tell(&json!({ "ready": settings.service }))?;
    let result = obey(&mut instance, &orders, &told);
    end(mapper);
    result
}

fn obey(
    instance: &mut Instance,
    orders: &Receiver<String>,
    told: &Receiver<News>,
) -> Result<(), InstanceError> {
    loop {
        let order = orders.recv_timeout(TICK);
        while let Ok(news) = told.try_recv() {
            tell(&described(&news))?;
        }
        instance.tick();
        let order = match order {
            Ok(order) => order,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let done = match order.trim() {
            "hold" => instance.hold().map(|phases| phases_of(&phases)),
            "take" => instance.take(false).map(|phases| phases_of(&phases)),
            "take forced" => instance.take(true).map(|phases| phases_of(&phases)),
            "give" => instance.give().map(|phases| phases_of(&phases)),
            "unlock" => instance.unlock().map(|()| json!("unlocked")),
            "go alone" => instance.go_alone().map(|()| json!("alone")),
            "end grace" => grace::end_grace().map(|()| json!("ordered")),
            "status" => status(instance),
            _ => Err(InstanceError::Condition("no such order")),
        };
        let answer = match done {
            Ok(done) => json!({ "order": order.trim(), "done": done, "at": now().0 }),
            Err(e) => json!({ "order": order.trim(), "failed": e.to_string(), "at": now().0 }),
        };
        tell(&answer)?;
    }
}

fn phases_of(phases: &instance::Phases) -> Value {
    phases
        .iter()
        .map(|(name, us)| ((*name).to_owned(), json!(us)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn status(instance: &Instance) -> Result<Value, InstanceError> {
    let book = instance.book();
    let book = pipe::open(&book);
    let ledger = book.tracker.ledger();
    let clients: Vec<Value> = ledger
        .clients()
        .map(|(client, standing)| {
            json!({ "name": String::from_utf8_lossy(&client.name), "standing": format!("{standing:?}") })
        })
        .collect();
    Ok(json!({
        "nfs_grace_ended": grace::nfs_ended()?,
        "lock_grace_ended": grace::lockd_ended()?,
        "clients": clients,
        "hosts": ledger.hosts().collect::<Vec<_>>(),
        "state": ledger.state,
        "scope": space::read("/proc/sys/kernel/hostname")?,
    }))
}

fn described(news: &News) -> Value {
    match news {
        News::Told(clients) => json!({ "news": "records told", "clients": clients }),
        News::GraceEnded(at) => json!({ "news": "grace ended", "at": at.0 }),
        News::Noticed(host, at) => json!({ "news": "host noticed", "host": host, "at": at.0 }),
        News::Trouble(what) => json!({ "news": "trouble", "what": what }),
    }
}

fn tell(value: &Value) -> Result<(), InstanceError> {
    Ok(say(&value.to_string())?)
}

/// The lines of standard input; the end of it ends the process.
fn orders() -> Receiver<String> {
    let (send, receive) = sync_channel(QUEUE);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// Starts the namespace's own port mapper and waits until it answers: lockd registers with it.
fn port_mapper() -> Result<Child, InstanceError> {
    let mut command = Command::new("rpcbind");
    // What stops or interrupts the instance by its group is not meant for it.
    command.arg("-f").process_group(0);
    // SAFETY: prctl is async-signal-safe and takes no pointer here; the child ends with its parent.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
    let child =
        command.spawn().map_err(|e| InstanceError::from(RpcError::io("start rpcbind")(e)))?;
    for _ in 0..PORT_MAPPER_TRIES {
        if TcpStream::connect(std::net::SocketAddr::from(PORT_MAPPER)).is_ok() {
            return Ok(child);
        }
        thread::sleep(TICK);
    }
    Err(InstanceError::Condition("the port mapper does not answer"))
}

fn end(mut child: Child) {
    // It has ended by itself, or ends now.
    let _ = child.kill();
    let _ = child.wait();
}
