//! Who may use a disk now, who waits, who is refused.
//!
//! A request is done by the thread that brought it, when the disk is free: no hand-over, no second
//! wake-up. If the disk stalls or is at work, the request is laid into a bounded line and the
//! thread goes back for the next one, of another disk perhaps; the disk's *keeper* thread serves
//! the line. So no disk makes another one wait.
//!
//! A reader gets a handle when it begins. A power cut voids all handles that exist: what waits is
//! answered with an error, what comes later through an old handle too, even if a new reader has begun
//! meanwhile. So a write of a killed reader that was still under way cannot reach the next life.
#![forbid(unsafe_code)]

use crate::device::{Device, Done, Refusal, Request};
use crate::fault::Fault;
use crate::report::{Counters, CutReport};
use crate::store::Store;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests of one disk that can wait; more are refused.
pub const WAITING_MAX: usize = 256;

/// Where the answer goes.
pub trait Reply: Send + 'static {
    /// Sends it.
    fn send(self, outcome: Result<Done, Refusal>);
}

/// A disk and the line before it.
#[derive(Debug)]
pub struct Queue<S, R> {
    door: Mutex<Door<R>>,
    /// Told when the line, the stall or the one at work changes, if someone waits for that.
    changed: Condvar,
    /// Only the one that set `Door::busy` works with it; counters and faults are quick.
    device: Mutex<Device<S>>,
    bytes: u64,
}

#[derive(Debug)]
struct Door<R> {
    line: VecDeque<(Request, R)>,
    busy: bool,
    stall: Option<Stall>,
    /// Handles below are from before the last power cut.
    handle_first: u64,
    handle_next: u64,
    /// Power cuts that wait until the one at work is done.
    claims: u32,
    closed: bool,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stall {
    Until(Instant),
    UntilCleared,
}

impl<R> Door<R> {
    /// Whether requests have to wait; for how long, if that is known.
    fn stalled(&mut self) -> Option<Option<Duration>> {
        match self.stall? {
            Stall::UntilCleared => Some(None),
            Stall::Until(end) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.stall = None;
                    return None;
                }
                Some(Some(left))
            }
        }
    }
}

impl<S: Store, R: Reply> Queue<S, R> {
    /// The line is empty; [`Self::keep`] has to run on a thread of its own.
    pub fn new(device: Device<S>) -> Self {
        let bytes = device.bytes();
        let door = Door {
            line: VecDeque::with_capacity(WAITING_MAX),
            busy: false,
            stall: None,
            handle_first: 0,
            handle_next: 0,
            claims: 0,
            closed: false,
            refused: 0,
        };
        Self { door: Mutex::new(door), changed: Condvar::new(), device: Mutex::new(device), bytes }
    }

    /// Bytes of the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A new reader: the handle to come with.
    pub fn open(&self) -> u64 {
        let mut door = self.door();
        door.handle_next += 1;
        door.handle_next - 1
    }

    /// Does the request now, lets it wait, or refuses it.
    pub fn submit(&self, handle: u64, request: Request, reply: R) {
        let mut door = self.door();
        let refusal = if door.closed || handle < door.handle_first {
            Refusal::Io
        } else if !door.busy && door.line.is_empty() && door.stalled().is_none() {
            door.busy = true;
            drop(door);
            return self.perform(request, reply);
        } else if door.line.len() < WAITING_MAX {
            door.line.push_back((request, reply));
            // The keeper is told by the one at work when it is done, or waits for the stall's end.
            let idle = !door.busy;
            drop(door);
            if idle {
                self.changed.notify_all();
            }
            return;
        } else {
            Refusal::Crowded
        };
        door.refused += 1;
        drop(door);
        reply.send(Err(refusal));
    }

    /// For the one that set `busy`. The disk is free before the reader knows: its next request must
    /// not find it at work.
    fn perform(&self, request: Request, reply: R) {
        let outcome = self.device().perform(request);
        self.leave();
        reply.send(outcome);
    }

    fn leave(&self) {
        let mut door = self.door();
        door.busy = false;
        let awaited = door.claims > 0 || !door.line.is_empty();
        drop(door);
        if awaited {
            self.changed.notify_all();
        }
    }

    /// Serves the line until the disk is closed.
    pub fn keep(&self) {
        let mut door = self.door();
        while !door.closed {
            door = match door.stalled() {
                Some(Some(left)) => {
                    self.changed.wait_timeout(door, left).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(None) => self.wait(door),
                None if door.busy || door.claims > 0 => self.wait(door),
                None => match door.line.pop_front() {
                    Some((request, reply)) => {
                        door.busy = true;
                        drop(door);
                        self.perform(request, reply);
                        self.door()
                    }
                    None => self.wait(door),
                },
            };
        }
    }

    /// The power goes: voids all handles, answers all that wait, and lets the cache forget.
    pub fn cut(&self, seed: u64) -> CutReport {
        let void = |door: &mut Door<R>| door.handle_first = door.handle_next;
        self.alone(void, |device| device.cut(seed))
    }

    /// The server ends: nobody is served any more, everything is durable.
    pub fn close(&self) {
        self.alone(|door| door.closed = true, Device::retire);
        self.changed.notify_all();
    }

    /// Shuts somebody out, refuses all that wait, waits for the one at work, and works.
    fn alone<T>(
        &self,
        shut: impl FnOnce(&mut Door<R>),
        work: impl FnOnce(&mut Device<S>) -> T,
    ) -> T {
        let mut door = self.door();
        shut(&mut door);
        let waiting: Vec<(Request, R)> = door.line.drain(..).collect();
        door.refused += waiting.len() as u64;
        door.claims += 1;
        drop(door);
        // At once: the one at work may take long.
        for (_, reply) in waiting {
            reply.send(Err(Refusal::Io));
        }
        let mut door = self.door();
        while door.busy {
            door = self.wait(door);
        }
        door.claims -= 1;
        door.busy = true;
        drop(door);
        let done = work(&mut self.device());
        self.leave();
        done
    }

    /// One more fault, from the next request on.
    pub fn set_fault(&self, fault: Fault) {
        let Fault::Stall { ms } = fault else { return self.device().set_fault(fault) };
        let end = ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        self.door().stall = Some(end.map_or(Stall::UntilCleared, Stall::Until));
        self.changed.notify_all();
    }

    /// The disk is sound again, and what waited goes on.
    pub fn clear_faults(&self) {
        self.device().clear_faults();
        self.door().stall = None;
        self.changed.notify_all();
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let counters = self.device().counters();
        let door = self.door();
        Counters {
            refused: counters.refused + door.refused,
            waiting: door.line.len() as u64,
            ..counters
        }
    }

    // A thread that panicked held nothing that is half done: each request is whole or not at all.
    fn door(&self) -> MutexGuard<'_, Door<R>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self) -> MutexGuard<'_, Device<S>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, door: MutexGuard<'a, Door<R>>) -> MutexGuard<'a, Door<R>> {
        self.changed.wait(door).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Queue, Reply, WAITING_MAX};
    use crate::cache::Cache;
    use crate::device::{Device, Done, Refusal, Request};
    use crate::fault::Fault;
    use crate::store::{Memory, Store};
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
    use std::thread::scope;

    type Outcome = Result<Done, Refusal>;

    struct Answer(Sender<Outcome>);

    impl Reply for Answer {
        fn send(self, outcome: Outcome) {
            // A test that no longer listens does not care.
            let _ = self.0.send(outcome);
        }
    }

    fn queue<S: Store>(store: S) -> Queue<S, Answer> {
        Queue::new(Device::new(Cache::new(store, 1 << 20, 1 << 20, 1), 1))
    }

    fn write<S: Store>(queue: &Queue<S, Answer>, handle: u64) -> Receiver<Outcome> {
        submit(queue, handle, Request::Write { offset: 0, data: vec![7; 512] })
    }

    fn submit<S: Store>(
        queue: &Queue<S, Answer>,
        handle: u64,
        request: Request,
    ) -> Receiver<Outcome> {
        let (sender, receiver) = channel();
        queue.submit(handle, request, Answer(sender));
        receiver
    }

    #[test]
    fn a_free_disk_answers_at_once_on_the_thread_that_asks() {
        let queue = queue(Memory::default());
        let handle = queue.open();
        assert_eq!(write(&queue, handle).try_recv(), Ok(Ok(Done::Done)));
    }

    #[test]
    fn a_stall_holds_requests_until_it_is_cleared() {
        let queue = queue(Memory::default());
        let handle = queue.open();
        scope(|threads| {
            threads.spawn(|| queue.keep());
            queue.set_fault(Fault::Stall { ms: None });
            let answers = [write(&queue, handle), write(&queue, handle)];
            assert_eq!(queue.counters().waiting, 2);
            assert!(answers.iter().all(|answer| answer.try_recv() == Err(TryRecvError::Empty)));
            queue.clear_faults();
            assert!(answers.iter().all(|answer| answer.recv() == Ok(Ok(Done::Done))));
            queue.close();
        });
    }

    #[test]
    fn a_stall_of_a_while_ends_by_itself() {
        let queue = queue(Memory::default());
        let handle = queue.open();
        scope(|threads| {
            threads.spawn(|| queue.keep());
            queue.set_fault(Fault::Stall { ms: Some(5) });
            assert_eq!(write(&queue, handle).recv(), Ok(Ok(Done::Done)));
            queue.close();
        });
    }

    #[test]
    fn a_power_cut_refuses_who_waits_and_who_comes_from_before() {
        let queue = queue(Memory::default());
        let before = queue.open();
        queue.set_fault(Fault::Stall { ms: None });
        let waits = write(&queue, before);
        queue.cut(1);
        assert_eq!(waits.try_recv(), Ok(Err(Refusal::Io)));
        assert_eq!(write(&queue, before).try_recv(), Ok(Err(Refusal::Io)), "stalled");
        queue.clear_faults();
        let after = queue.open();
        assert_eq!(write(&queue, before).try_recv(), Ok(Err(Refusal::Io)), "a new reader is there");
        assert_eq!(write(&queue, after).try_recv(), Ok(Ok(Done::Done)));
        assert_eq!(queue.counters().refused, 3);
    }

    #[test]
    fn the_line_is_bounded() {
        let queue = queue(Memory::default());
        let handle = queue.open();
        queue.set_fault(Fault::Stall { ms: None });
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| write(&queue, handle)).collect();
        assert_eq!(write(&queue, handle).try_recv(), Ok(Err(Refusal::Crowded)));
        queue.close();
        assert!(waiting.iter().all(|answer| answer.try_recv() == Ok(Err(Refusal::Io))));
    }

    /// A store that tells when a read begins, and goes on when it is told.
    struct Slow(Sender<()>, Receiver<()>);

    impl Store for Slow {
        fn read(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
            self.0.send(()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)
        }
        fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn zero(&mut self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn cuts_wait_for_the_request_at_work_and_the_line_goes_on_after_them() {
        let (began, begins) = channel();
        let (go, goes) = channel();
        let queue = queue(Slow(began, goes));
        let handle = queue.open();
        let read = || Request::Read { offset: 0, length: 512 };
        scope(|threads| {
            threads.spawn(|| queue.keep());
            let at_work = threads.spawn(|| submit(&queue, handle, read()).recv());
            begins.recv().unwrap();
            let waits = submit(&queue, handle, read());
            let cuts = [1, 2].map(|seed| {
                threads.spawn({
                    let queue = &queue;
                    move || queue.cut(seed)
                })
            });
            // One of the cuts has voided the handle and now waits for the read.
            assert_eq!(waits.recv(), Ok(Err(Refusal::Io)));
            go.send(()).unwrap();
            assert!(matches!(at_work.join().unwrap(), Ok(Ok(Done::Data(_)))));
            cuts.into_iter().for_each(|cut| assert_eq!(cut.join().unwrap().kept.writes, 0));
            go.send(()).unwrap();
            let after = submit(&queue, queue.open(), read()).recv();
            assert!(matches!(after, Ok(Ok(Done::Data(_)))));
            queue.close();
        });
    }

    #[test]
    fn who_closes_in_order_loses_nothing() {
        let queue = queue(Memory::default());
        let handle = queue.open();
        write(&queue, handle).recv().unwrap().unwrap();
        queue.close();
        assert_eq!(queue.counters().unflushed.writes, 0);
        assert_eq!(write(&queue, handle).try_recv(), Ok(Err(Refusal::Io)));
    }
}
