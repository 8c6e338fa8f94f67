//! Signals of a worker: what the terminal sends to a whole process group is the runner's to answer, see signal(7).

use std::io;

/// Ignores SIGINT from now on: Ctrl-C reaches every process of the terminal, but only the runner may decide when a worker
/// closes its connections.
///
/// # Errors
/// Never for SIGINT; the kernel refuses only SIGKILL and SIGSTOP.
pub fn ignore_interrupt() -> io::Result<()> {
    // SAFETY: SIG_IGN installs no handler, so no code of ours runs in a signal's context.
    let before = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
