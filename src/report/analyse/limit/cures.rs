//! What to do about a limit, in the words of programs that are known, else in those of the kernel.

use super::evidence::Evidence;
use crate::report::model::LimitKind;

/// A program's own word for something.
struct Words {
    /// The name of its file begins so.
    program: &'static str,
    /// What bounds its connections.
    maximum: &'static str,
    /// What ends idle ones.
    timeout: &'static str,
    /// What raises its descriptors.
    descriptors: &'static str,
}

/// As their manuals say it.
const KNOWN: [Words; 9] = [
    Words {
        program: "nginx",
        maximum: "worker_connections, of each of worker_processes: a worker that has less than a sixteenth of them free closes idle connections, and a request that is passed on takes one more",
        timeout: "client_header_timeout for a connection that has sent nothing, keepalive_timeout after a request",
        descriptors: "worker_rlimit_nofile, and RLIMIT_NOFILE of the process (ulimit -n, LimitNOFILE=) where it is lower",
    },
    Words {
        program: "haproxy",
        maximum: "maxconn, of `global` and of the frontend",
        timeout: "timeout client, timeout http-request, timeout http-keep-alive",
        descriptors: "ulimit-n, which follows maxconn by itself",
    },
    Words {
        program: "redis",
        maximum: "maxclients; it is lowered to RLIMIT_NOFILE less 32 at the start",
        timeout: "timeout (0 is never)",
        descriptors: "RLIMIT_NOFILE of the process; redis raises it itself as far as it may",
    },
    Words {
        program: "postgres",
        maximum: "max_connections",
        timeout: "authentication_timeout for a connection that has not logged in, idle_session_timeout after that",
        descriptors: "RLIMIT_NOFILE; each connection is a process with a table of its own",
    },
    Words {
        program: "memcached",
        maximum: "-c",
        timeout: "-o idle_timeout",
        descriptors: "-c, to which memcached fits its own RLIMIT_NOFILE",
    },
    Words {
        program: "mosquitto",
        maximum: "max_connections of the listener",
        timeout: "max_keepalive, and 30 s for a connection that has not sent CONNECT",
        descriptors: "RLIMIT_NOFILE",
    },
    Words {
        program: "apache2",
        maximum: "MaxRequestWorkers, with ServerLimit and AsyncRequestWorkerFactor",
        timeout: "RequestReadTimeout and KeepAliveTimeout",
        descriptors: "RLIMIT_NOFILE (APACHE_ULIMIT_MAX_FILES)",
    },
    Words {
        program: "node",
        maximum: "server.maxConnections",
        timeout: "server.headersTimeout, server.requestTimeout, server.keepAliveTimeout",
        descriptors: "RLIMIT_NOFILE of the process",
    },
    Words {
        program: "mysqld",
        maximum: "max_connections",
        timeout: "connect_timeout, wait_timeout",
        descriptors: "open_files_limit",
    },
];

/// What logs say when the machine has no file left (ENFILE, errno(3)).
const NO_FILES: [&str; 3] = ["enfile", "too many open files in system", "errno 23"];

/// What to do about it.
pub(super) fn cure(kind: LimitKind, program: Option<&str>, evidence: &Evidence<'_>) -> String {
    let words = program.and_then(|program| {
        KNOWN
            .iter()
            .find(|words| program.starts_with(words.program))
    });
    match kind {
        LimitKind::TargetReached => "none is needed; ask for more with -n".to_owned(),
        LimitKind::Descriptors if evidence.line_with(&NO_FILES).is_some() => {
            "raise sysctl fs.file-max: the whole machine has no file left, and not the server alone".to_owned()
        }
        LimitKind::Descriptors => {
            let raise = words.map_or("RLIMIT_NOFILE of the process", |words| words.descriptors);
            if !raise.starts_with("RLIMIT_NOFILE") {
                return format!("raise {raise}");
            }
            format!(
                "raise {raise}: ulimit -n, LimitNOFILE= of a systemd unit, --ulimit nofile of a container; `limits: {{nofile: …}}` or --set server.limits.nofile here"
            )
        }
        LimitKind::Deferred => "have each connection say something: a protocol that asks, with ramp.speak; or the server's own setting (Apache: AcceptFilter http none; nginx: listen without `deferred`)".to_owned(),
        LimitKind::OwnMaximum | LimitKind::Stopped => words.map_or_else(
            || "look for the server's own bound on connections, workers or threads".to_owned(),
            |words| format!("raise {}", words.maximum),
        ),
        LimitKind::IdleTimeout => {
            let raise = words.map_or("the server's timeout for idle connections", |words| {
                words.timeout
            });
            format!(
                "raise {raise}; or have clients say something more often: a protocol with `verify` or a request in each period"
            )
        }
        LimitKind::Threads => "raise pids.max of the control group, RLIMIT_NPROC of the user, or kernel.threads-max and vm.max_map_count; or let fewer connections share a thread".to_owned(),
        LimitKind::ListenQueue => format!(
            "raise the backlog that the server gives to listen(2), and net.core.somaxconn, which bounds it (the queue takes {} here); or open connections more slowly: ramp.rate",
            evidence.queue_limit().map_or_else(|| "an unknown number".to_owned(), |limit| limit.to_string())
        ),
        LimitKind::Memory => "raise the memory limit of the server's control group (memory.max; --memory of a container; server.memory here), or have it use less for each connection".to_owned(),
        LimitKind::MachineMemory => "more memory in the machine, or less for each connection".to_owned(),
        LimitKind::Cpu => "let it accept with more threads or processes, or open connections more slowly: ramp.rate".to_owned(),
        LimitKind::Conntrack => "sysctl net.netfilter.nf_conntrack_max, or keep these connections out of tracking".to_owned(),
        LimitKind::Clients => "this is the clients' limit, and not the server's: see the failed connects".to_owned(),
        LimitKind::Ended => "see what the server wrote last; where it wrote nothing, have it leave a core file (ulimit -c, core(5))".to_owned(),
        LimitKind::Unknown => "not known".to_owned(),
    }
}
