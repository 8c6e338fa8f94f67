//! Takes one sample per tick on a thread of its own, with absolute deadlines, and says what looking costs. Beside it what
//! others ask of the kernel in between: the memory that is left, sockets by state, and quiet before a measurement.

mod accept;
mod count;
mod gauge;
mod guard;
mod observer;
mod probes;
mod settle;
mod window;

pub use accept::{accept_queues, accept_state, listening};
pub use count::{
    CountError, SocketCount, count_sockets, count_sockets_at_port, current_established,
    inside_namespace, waiting_to_be_accepted,
};
pub use gauge::{GaugeError, MemoryGauge, MemoryLeft, cgroup_of_process, memory_gauge};
pub use guard::{MemoryWatch, Shortage};
pub use observer::{Observer, ObserverConfig, ObserverCost, ObserverGone, Sink};
pub use settle::{SETTLING_PAUSE, SETTLING_TAKES_AT_MOST, SETTLING_TURN, Stillness, shrink_caches};
pub use window::NamespaceWindow;
