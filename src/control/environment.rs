//! Variables in the environment of what a runner starts: they say whose it is, and hand on what the user has set.

/// Says which run a process belongs to: how `c1m clean` knows an orphan.
pub const RUN_VARIABLE: &str = "C1M_RUN";

/// Says who the runner is: the text of a [`crate::kernel::identity::ProcessIdentity`].
pub const RUNNER_VARIABLE: &str = "C1M_RUNNER";

/// Marks the processes of a server that a run has started and that is not the lab's own: `c1m clean` ends those whose
/// runner is gone, whatever program they run.
pub const SUBJECT_VARIABLE: &str = "C1M_SUBJECT";

/// Variables of the user's environment that such a server gets. Others may hold secrets.
pub const USERS_VARIABLES: [&str; 10] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR",
];
