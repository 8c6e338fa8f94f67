//! Whether an engine runs on this very kernel, and whether it may be used: judged by what it says of itself, by who listens at
//! its socket, and by the processes of its containers. For removing objects more is asked than for a run: a run looks for
//! its first container's process and ends where it is not here, and a removal cannot be taken back.

use std::fs;

use crate::kernel;

/// What the engine says of itself, as far as it decides whether it runs on this kernel.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) kernel: String,
    pub(super) system: String,
    pub(super) memory: Option<u64>,
    pub(super) is_podman: bool,
    pub(super) rootless: bool,
    pub(super) listener: Listener,
}

/// Who listens at the engine's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listener {
    Named(String),
    OutsideOurProcesses,
    Unknown,
}

/// What this machine is, as far as it is compared with the engine.
#[derive(Debug, Clone)]
pub(super) struct Here {
    kernel: String,
    memory: Option<u64>,
    may_write_rules: bool,
    /// Whether a process of an engine is seen here.
    engine_runs: bool,
}

impl Here {
    pub(super) fn look() -> Self {
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map(|text| text.trim().to_owned())
                .unwrap_or_default(),
            memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix("MemTotal:"))?;
                let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
                Some(kib * 1024)
            }),
            may_write_rules: kernel::sys::capability::has_net_admin(),
            engine_runs: engine_runs(),
        }
    }
}

/// What was found out about an engine.
pub(super) struct Judgement {
    /// Whether nothing speaks against its running on this kernel.
    pub(super) same_kernel: bool,
    /// Why it may not be used for a run.
    pub(super) unusable: Option<String>,
}

/// Programs that hand a socket on to an engine elsewhere.
const FORWARDERS: [&str; 7] = [
    "ssh",
    "sshd",
    "com.docker.back",
    "limactl",
    "colima",
    "qemu",
    "vpnkit",
];

/// Whether an engine runs on this very kernel and may be used. The engine does not tell its boot id, so the kernel's
/// release and the exact size of memory are compared, and who listens at the socket; after the first container has
/// started, its process is looked for here, which settles it.
pub(super) fn judge(found: &Found, here: &Here) -> Judgement {
    let no = |why: String| Judgement {
        same_kernel: false,
        unusable: Some(why),
    };
    if found.system.contains("Docker Desktop") {
        return no(format!(
            "its containers run in the virtual machine of {}, whose kernel ({}) cannot be observed from here",
            found.system, found.kernel
        ));
    }
    if let Listener::Named(name) = &found.listener
        && FORWARDERS.iter().any(|known| name.starts_with(known))
    {
        return no(format!(
            "its socket is held by {name}, which hands it on to another machine, whose kernel cannot be observed from here"
        ));
    }
    if found.kernel != here.kernel {
        return no(format!(
            "its containers run on kernel {}, and this is {}: another machine, which cannot be observed from here",
            found.kernel, here.kernel
        ));
    }
    if let (Some(there), Some(here)) = (found.memory, here.memory)
        && there != here
    {
        return no(format!(
            "its machine has {there} bytes of memory, and this one {here}: another machine, which cannot be observed from here"
        ));
    }
    if found.listener == Listener::OutsideOurProcesses {
        return no(
            "its processes are outside of the process namespace that c1m runs in, and cannot be observed from here: run c1m on the machine itself"
                .to_owned(),
        );
    }
    let unusable = if found.is_podman {
        Some(
            "it is Podman, whose networks and attach streams differ; only Docker's engine has been tried"
                .to_owned(),
        )
    } else if found.rootless {
        Some(
            "it is rootless: its networks live in a namespace of its own, where c1m may not write the rules that keep connections out of tracking"
                .to_owned(),
        )
    } else if here.may_write_rules {
        None
    } else {
        Some(
            "this user may not write the host's packet rules (CAP_NET_ADMIN), and without them each connection is tracked three times"
                .to_owned(),
        )
    };
    Judgement {
        same_kernel: true,
        unusable,
    }
}

/// What the processes of an engine's containers say about where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Witness {
    /// One was seen here, in a control group of its container.
    Seen,
    /// There is none to look for.
    None,
    /// One is not where the engine says, with the reason.
    Contradicts(String),
}

/// Programs that listen at the socket of an engine of this kernel. systemd listens for dockerd, and for forwarders too.
const ENGINES: [&str; 2] = ["dockerd", "podman"];

/// Whether the engine is proved to run on this kernel, so that the runner of an object of its can be looked for here; an
/// error says why that cannot be told.
pub(super) fn prove_here(found: &Found, here: &Here, witness: &Witness) -> Result<(), String> {
    let verdict = judge(found, here);
    if !verdict.same_kernel {
        return Err(format!(
            "the engine is not on this kernel: {}",
            verdict.unusable.unwrap_or_default()
        ));
    }
    let holder = match (witness, &found.listener) {
        (Witness::Contradicts(why), _) => {
            return Err(format!(
                "whether the engine runs on this kernel cannot be told: {why}"
            ));
        }
        (Witness::Seen, _) => return Ok(()),
        (Witness::None, Listener::Named(name)) if ENGINES.contains(&name.as_str()) => return Ok(()),
        (Witness::None, Listener::Named(name)) if name == "systemd" && here.engine_runs => {
            return Ok(());
        }
        (Witness::None, Listener::Named(name)) => name.as_str(),
        (Witness::None, _) => "a program that cannot be told",
    };
    Err(format!(
        "whether the engine runs on this kernel cannot be told: its socket is held by {holder}, and no container runs whose process could be looked for here"
    ))
}

/// Whether a process of this machine is an engine, as far as names tell.
fn engine_runs() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        fs::read_to_string(entry.path().join("comm"))
            .is_ok_and(|name| ENGINES.contains(&name.trim()))
    })
}

#[cfg(test)]
mod tests;
