//! The lab's socket: one request a connection.

use super::Supervisor;
use super::channel::{self, Command, Mouth, lock};
use super::machine::Machine;
use crate::error::{Context, LabError, Result};
use crate::frame::{self, Frame, Kind};
use crate::message::{Answer, Ended, FromGuest, Request, Start, Switch, ToGuest};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use testbed::os;

/// Boots every node, says `ready` on standard output, and serves until the end.
pub(super) fn run(lab: &Arc<Supervisor>) -> Result<()> {
    let path = lab.folders.socket();
    let listener = UnixListener::bind(&path).context(path.display().to_string())?;
    listener.set_nonblocking(true).context("the lab's socket")?;
    let own = Arc::clone(lab);
    thread::spawn(move || {
        // An owner who dies ends this read; one who writes a byte leaves the lab to itself.
        if !matches!(std::io::stdin().read(&mut [0]), Ok(1)) {
            own.down.store(true, Ordering::Release);
        }
    });
    let own = Arc::clone(lab);
    thread::spawn(move || {
        let booted = own.boot_all();
        let line =
            booted.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "ready".into());
        // An owner who has gone is seen at standard input.
        let _ = writeln!(std::io::stdout(), "{line}");
        if booted.is_err() {
            own.down.store(true, Ordering::Release);
        }
    });
    while !lab.down.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => {
                let own = Arc::clone(lab);
                thread::spawn(move || own.serve(stream));
            }
            Err(_) => os::sleep(base::Duration::from_millis(2)),
        }
    }
    Ok(())
}

impl Supervisor {
    fn boot_all(&self) -> Result<()> {
        for machine in &self.machines {
            machine.check_bmc()?;
            machine.on()?;
        }
        self.machines.iter().try_for_each(|machine| machine.wait_ready())
    }

    fn serve(&self, mut stream: UnixStream) {
        let answer = match self.request(&mut stream) {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(error) => Answer::Refused(error.to_string()),
        };
        // Whoever asked may be gone; then nobody needs the answer.
        let _ = reply(&mut stream, &answer);
    }

    fn request(&self, stream: &mut UnixStream) -> Result<Option<Answer>> {
        let Some(frame) = frame::read(stream).context("request")? else { return Ok(None) };
        let request = serde_json::from_slice(&frame.payload)
            .map_err(|error| LabError::Refused(format!("request: {error}")))?;
        Ok(Some(match request {
            Request::Run { node, start } => self.run_command(stream, &node, start)?,
            Request::Power { node, switch } => power(self.machine(&node)?, switch)?,
            Request::PowerState { node } => Answer::Power(self.machine(&node)?.is_on()),
            Request::Link { node, bridge, up } => {
                self.machine(&node)?.cable(&bridge, up)?;
                Answer::Done
            }
            Request::Freeze { node, span } => {
                self.machine(&node)?.freeze(base::Duration::from_nanos(span))?;
                Answer::Done
            }
            Request::Fault { disk, fault } => {
                let disk = self.disk(&disk)?;
                match fault {
                    Some(fault) => disk.set_fault(fault),
                    None => disk.clear_faults(),
                }
                Answer::Done
            }
            Request::Disk { disk } => Answer::Disk(self.disk(&disk)?.counters()),
            Request::Clock { node } => Answer::Clock(self.machine(&node)?.measure_clock()?),
            Request::Stalls { node, from, to, limit } => {
                Answer::Stalls(stalls(self.machine(&node)?, from, to, limit)?)
            }
            Request::Describe => {
                Answer::Nodes(self.machines.iter().map(|machine| machine.state()).collect())
            }
            Request::Down => {
                // The answer is the end of the connection, which comes with the end of the lab.
                self.down.store(true, Ordering::Release);
                return Ok(None);
            }
        }))
    }

    fn machine(&self, name: &str) -> Result<&Arc<Machine>> {
        let names = || self.spec.nodes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>();
        self.machines.iter().find(|it| it.spec().name == name).ok_or_else(|| {
            LabError::Refused(format!("no node {name}; there are {}", names().join(", ")))
        })
    }

    fn disk(&self, name: &str) -> Result<&disk::Disk> {
        self.disks.disk(name).ok_or_else(|| LabError::Refused(format!("no disk {name}")))
    }

    /// Carries a command's bytes both ways until it ends.
    fn run_command(&self, stream: &mut UnixStream, node: &str, start: Start) -> Result<Answer> {
        let command = self.machine(node)?.line()?.command(&ToGuest::Start(start))?;
        let input = stream.try_clone().context("connection")?;
        let (mouth, over) = (command.mouth(), Arc::new(Mutex::new(false)));
        let told = Arc::clone(&over);
        // It ends when the client leaves, which is after the answer.
        thread::spawn(move || carry_input(input, &mouth, &told));
        let answer = carry_output(stream, &command);
        *lock(&over) = true;
        answer
    }
}

fn carry_input(mut from: UnixStream, command: &Mouth, over: &Mutex<bool>) {
    while let Ok(Some(frame)) = frame::read(&mut from) {
        let done = match frame.kind {
            Kind::Bytes => command.input(&frame.payload),
            Kind::Message => match serde_json::from_slice(&frame.payload) {
                Ok(message @ (ToGuest::Signal(_) | ToGuest::Resize(..))) => command.say(&message),
                _ => return,
            },
            Kind::Errors => return,
        };
        if done.is_err() {
            return;
        }
    }
    if !*lock(over) {
        // The client went away before its command ended: the command goes too.
        let _ = command.say(&ToGuest::Signal(libc::SIGKILL));
    }
}

fn carry_output(to: &mut UnixStream, command: &Command) -> Result<Answer> {
    let mut heard = true;
    while let Some(frame) = command.next() {
        match channel::ended(&frame) {
            Some(Ok(how)) => return Ok(Answer::Ended(how)),
            Some(Err(why)) => return Ok(Answer::Refused(why)),
            None => heard = heard && pass(to, &frame).is_ok(),
        }
    }
    Ok(Answer::Ended(Ended::Lost))
}

fn pass(to: &mut UnixStream, frame: &Frame) -> Result<()> {
    frame::write(to, 0, frame.kind, &frame.payload).context("connection")
}

fn reply(to: &mut UnixStream, answer: &Answer) -> Result<()> {
    let text = serde_json::to_vec(answer).map_err(|error| LabError::Channel(error.to_string()))?;
    frame::write(to, 0, Kind::Message, &text).context("connection")
}

fn power(machine: &Machine, switch: Switch) -> Result<Answer> {
    match switch {
        Switch::Off(seed) => Ok(Answer::Cut(machine.off(seed)?)),
        Switch::OnAtOnce => machine.on().map(|()| Answer::Done),
        Switch::On => {
            machine.on()?;
            machine.wait_ready()?;
            Ok(Answer::Done)
        }
    }
}

fn stalls(machine: &Machine, from: u64, to: u64, limit: u64) -> Result<Option<(u64, u64)>> {
    let clock = machine.clock()?;
    let ask = ToGuest::Stalls { from: clock.to_guest(from), to: clock.to_guest(to), limit };
    match machine.line()?.command(&ask)?.answer()? {
        FromGuest::Stalls(found) => {
            Ok(found.map(|(from, to)| (clock.to_host(from), clock.to_host(to))))
        }
        other => Err(LabError::Channel(format!("an answer that fits nothing: {other:?}"))),
    }
}
