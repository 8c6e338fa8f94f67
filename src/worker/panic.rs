//! A panic in any thread of a worker ends that worker: a table whose thread is gone would be waited for without end. What
//! is told on stderr right before goes into the run's report.

use std::panic::{self, PanicHookInfo};
use std::process;
use std::thread;

use crate::control::PANICKED;

/// From now on the first panic ends this process by SIGABRT, after its account, which is one line, was given to `tell`.
pub fn abort_on_panic(tell: impl Fn(&str) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        tell(&account(panic, thread::current().name()));
        process::abort();
    }));
}

/// In one line, because the runner reads lines.
fn account(panic: &PanicHookInfo<'_>, thread: Option<&str>) -> String {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let place = panic
        .location()
        .map_or_else(String::new, |place| format!(", {place}"));
    let thread = thread.unwrap_or("without a name");
    format!("{PANICKED}{message} (thread {thread}{place})")
}
