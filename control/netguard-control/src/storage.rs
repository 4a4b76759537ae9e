//! The thread that may wait for the disk: durable records are written here, never in the event loop.

use crate::state::State;
use crate::system::Wake;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;

/// Orders that may wait; the agreement has one era on its way at a time.
const ORDERS_MAX: usize = 8;

/// What to store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The era about to be promised (R-ERA).
    Era(u32),
    /// The next life must be higher than this one (R-RENUMBER).
    HigherThan(u32),
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
    /// What came of the orders.
    pub results: Receiver<Stored>,
}

impl Storage {
    /// Starts the thread; `wake` is woken with every result.
    pub fn start(mut state: State, wake: Arc<Wake>) -> io::Result<Self> {
        let (orders, from) = bounded::<Order>(ORDERS_MAX);
        let (to, results) = bounded(ORDERS_MAX);
        std::thread::Builder::new().name("storage".into()).spawn(move || {
            for order in from {
                let result = match order {
                    Order::Era(era) => state.store_era(era),
                    Order::HigherThan(known) => state.skip_incarnations(known),
                };
                let stored = match result {
                    Ok(()) => Stored::Done(order),
                    Err(e) => Stored::Failed(order, e.to_string()),
                };
                if to.send(stored).is_err() {
                    return;
                }
                wake.wake();
            }
        })?;
        Ok(Self { orders, results })
    }
    /// Hands an order over; false if too many wait already (then nothing is promised, and it is asked again).
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}
