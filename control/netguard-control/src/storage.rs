//! The thread that may wait for the disk: durable records are written here, never in the event
//! loop.

use crate::state::State;
use crate::system::Wake;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wire::Charter;

/// Orders that may wait; the agreement has one era on its way at a time.
const ORDERS_MAX: usize = 8;

/// The stack of this thread; all of it is locked in memory.
const STACK: usize = 256 * 1024;

/// What to store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// The era about to be promised (R-ERA).
    Era(u32),
    /// The next life must be higher than this one (R-RENUMBER).
    HigherThan(u32),
    /// The agreed configuration, before it is acknowledged (R-CONF-DURABLE).
    Charter(Charter),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    /// Durable.
    Done(Order),
    /// Not stored: nothing may rest on it.
    Failed(Order, String),
}

/// The thread's handle.
#[derive(Debug)]
pub struct Storage {
    orders: Sender<Order>,
    under_way: Arc<AtomicUsize>,
    /// What came of the orders.
    pub results: Receiver<Stored>,
}

impl Storage {
    /// Starts the thread; `wake` is woken with every result.
    pub fn start(mut state: State, wake: Arc<Wake>) -> io::Result<Self> {
        let (orders, from) = bounded::<Order>(ORDERS_MAX);
        let (to, results) = bounded(ORDERS_MAX);
        let under_way = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&under_way);
        let thread = std::thread::Builder::new().name("storage".into()).stack_size(STACK);
        thread.spawn(move || {
            for order in from {
                let result = match &order {
                    Order::Era(era) => state.store_era(*era),
                    Order::HigherThan(known) => state.skip_incarnations(*known),
                    Order::Charter(charter) => state.store_charter(charter),
                };
                let stored = match result {
                    Ok(()) => Stored::Done(order),
                    Err(e) => Stored::Failed(order, e.to_string()),
                };
                let told = to.send(stored);
                count.fetch_sub(1, Ordering::AcqRel);
                if told.is_err() {
                    return;
                }
                wake.wake();
            }
        })?;
        Ok(Self { orders, under_way, results })
    }
    /// Hands an order over; false if too many wait already (then nothing is promised, and it is
    /// asked again).
    pub fn order(&self, order: Order) -> bool {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let taken = self.orders.try_send(order).is_ok();
        if !taken {
            self.under_way.fetch_sub(1, Ordering::AcqRel);
        }
        taken
    }
    /// True if nothing is on its way to the disk.
    pub fn idle(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }
}
