//! Exit codes: what the program's end means to a script. They are documented in `docs/exit-codes.md`.

use std::process::ExitStatus;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, and every claim held.
    Done,
    /// It failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The scenario is wrong.
    Scenario,
    /// The host cannot; nothing was started, nothing changed.
    HostCannot,
    /// A place could not be made; it was rolled back.
    Provision,
    /// A target or a threshold was missed, or the guard stopped the ramp; the report is written.
    Missed,
    /// The measurement is invalid; the report is written and marked.
    Invalid,
    /// It took too long.
    TimedOut,
    /// The host was left changed; the message has the command that repairs it. Outranks the others.
    HostChanged,
    /// Ended by SIGHUP; restored, partial report written.
    HungUp,
    /// Ended by SIGINT; restored, partial report written.
    Interrupted,
    /// Ended by SIGTERM; restored, partial report written.
    Terminated,
}

impl Exit {
    /// Every end.
    const ALL: [Self; 13] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Scenario,
        Self::HostCannot,
        Self::Provision,
        Self::Missed,
        Self::Invalid,
        Self::TimedOut,
        Self::HostChanged,
        Self::HungUp,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The end that a signal asked for: 128 and its number, as shells have it.
    #[must_use]
    pub const fn by_signal(signal: i32) -> Self {
        match signal {
            1 => Self::HungUp,
            15 => Self::Terminated,
            _ => Self::Interrupted,
        }
    }

    /// How a process of this program has ended. One that a signal has ended, or that ended with another code, failed.
    #[must_use]
    pub fn of(status: ExitStatus) -> Self {
        Self::ALL
            .into_iter()
            .find(|exit| status.code() == Some(i32::from(exit.code())))
            .unwrap_or(Self::Failed)
    }

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Scenario => 3,
            Self::HostCannot => 4,
            Self::Provision => 5,
            Self::Missed => 6,
            Self::Invalid => 7,
            Self::TimedOut => 8,
            Self::HostChanged => 9,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}
