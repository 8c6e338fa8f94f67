//! The facts of this host, as a plan needs them: read, or tried where only trying tells, and nothing changed. Each fact that
//! cannot be had is a gap with its reason.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use ipnet::Ipv4Net;

use crate::domain::{
    Bytes, ConntrackFacts, DescriptorFacts, HostFacts, Limit, MemoryFacts, NetFacts, PortRange,
    Reading, UserNamespaceFacts,
};
use crate::kernel::cgroup::MemoryHierarchy;
use crate::kernel::netlink::route::RouteSocket;
use crate::kernel::object_sizes::object_sizes;
use crate::kernel::procfs::Procfs;
use crate::kernel::sys::hypervisor::{self, EMULATOR};
use crate::kernel::sys::userns;
use crate::kernel::sysconf::page_size;
use crate::kernel::sysctl::{SettingStore, Sysctl};

/// The range that the lab takes its networks from: RFC 2544, section C.2.2.
const LAB_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// Connections that are opened to see whether loopback is tracked: few enough to cost nothing, enough to tell them from
/// what others do meanwhile.
const TRACKING_PROBES: u64 = 16;

/// Why the facts could not be had at all.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// /proc is not there, or is not the kernel's.
    #[error("cannot read the facts of this host: {0}")]
    Proc(#[from] crate::kernel::procfs::ProcError),
}

/// Looks at this host. Takes some milliseconds: it starts a child to try a user namespace, and opens a few connections over
/// loopback where there is connection tracking. The Docker engine is not asked: whoever can fills that in.
///
/// # Errors
/// When even /proc/meminfo cannot be read.
pub fn probe() -> Result<HostFacts, FactsError> {
    let root = Path::new("/");
    let mut proc = Procfs::new(root);
    let sysctl = Sysctl::system();
    let text = |key: &str| {
        Reading::from(
            sysctl
                .read(key)
                .map_err(|error| format!("sysctl {key}: {error}")),
        )
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let capabilities = capabilities(&status);
    let hypervisor = hypervisor::signature();
    let network_namespaces = capabilities.iter().any(|name| name == "sys_admin");
    Ok(HostFacts {
        kernel: text("kernel.osrelease")
            .present()
            .cloned()
            .unwrap_or_default(),
        architecture: std::env::consts::ARCH.to_owned(),
        boot_id: text("kernel.random.boot_id"),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        cpu_model: cpu_model(&cpu).map_or_else(
            || Reading::missing("/proc/cpuinfo names no model"),
            Reading::Present,
        ),
        virtual_machine: has_hypervisor(&cpu),
        emulated: hypervisor.as_deref() == Some(EMULATOR),
        hypervisor,
        page_size: page_size(),
        uid: userns::outer_uid(),
        memory: memory(&mut proc, &sysctl)?,
        descriptors: descriptors(&mut proc, &sysctl),
        objects: object_sizes(root),
        net: net(&sysctl),
        conntrack: conntrack(&mut proc, &sysctl),
        user_namespaces: user_namespaces(network_namespaces),
        network_namespaces,
        capabilities,
        first_user_namespace: Reading::from(
            userns::is_first().map_err(|error| format!("/proc/self/ns/user: {error}")),
        ),
        docker: Reading::missing("not asked"),
        cgroup_version: Reading::from(
            MemoryHierarchy::find(root).map(|found| found.version().number()),
        ),
    })
}

fn number(sysctl: &Sysctl, key: &str) -> Reading<u64> {
    parsed(sysctl, key, |value| value.split(' ').next()?.parse().ok())
}

fn parsed<T>(sysctl: &Sysctl, key: &str, parse: impl FnOnce(&str) -> Option<T>) -> Reading<T> {
    match sysctl.read(key) {
        Ok(value) => parse(&value).map_or_else(
            || Reading::missing(format!("sysctl {key} is {value:?}")),
            Reading::Present,
        ),
        Err(error) => Reading::missing(format!("sysctl {key}: {error}")),
    }
}

fn memory(proc: &mut Procfs, sysctl: &Sysctl) -> Result<MemoryFacts, FactsError> {
    let info = proc.meminfo()?;
    let cgroup = MemoryHierarchy::find(proc.root())
        .ok()
        .and_then(|hierarchy| hierarchy.least_limit(&hierarchy.group_of(None).ok()?));
    Ok(MemoryFacts {
        total: info.total,
        free: info.free,
        droppable: info.droppable(),
        swap: (info.swap_total, info.swap_free),
        cgroup,
        overcommit: number(sysctl, "vm.overcommit_memory"),
        min_free: number(sysctl, "vm.min_free_kbytes").map(Bytes::from_kib),
    })
}

fn descriptors(proc: &mut Procfs, sysctl: &Sysctl) -> DescriptorFacts {
    // Linux's defaults for the first process, where the limits cannot be read (include/asm-generic/resource.h).
    let (soft, hard) = proc
        .descriptor_limits(std::process::id())
        .map_or((1024, Limit::At(4096)), |limits| {
            (limits.soft.bound().unwrap_or(u64::MAX), limits.hard)
        });
    DescriptorFacts {
        soft,
        hard,
        nr_open: number(sysctl, "fs.nr_open"),
        file_max: number(sysctl, "fs.file-max"),
        files_open: Reading::from(proc.open_files().map(|files| files.open)),
        epoll_watches: number(sysctl, "fs.epoll.max_user_watches"),
        threads_max: number(sysctl, "kernel.threads-max"),
    }
}

fn net(sysctl: &Sysctl) -> NetFacts {
    let text = |key: &str| parsed(sysctl, key, |value| Some(value.to_owned()));
    let (routes, addresses) = in_lab_range().unwrap_or_default();
    NetFacts {
        port_range: parsed(sysctl, "net.ipv4.ip_local_port_range", |value| {
            let (first, last) = value.split_once(' ')?;
            PortRange::new(first.parse().ok()?, last.parse().ok()?).ok()
        }),
        somaxconn: number(sysctl, "net.core.somaxconn"),
        tcp_mem: text("net.ipv4.tcp_mem"),
        tcp_rmem: text("net.ipv4.tcp_rmem"),
        tcp_wmem: text("net.ipv4.tcp_wmem"),
        tcp_max_orphans: number(sysctl, "net.ipv4.tcp_max_orphans"),
        neighbour_limit: number(sysctl, "net.ipv4.neigh.default.gc_thresh3"),
        ehash_entries: parsed(sysctl, "net.ipv4.tcp_ehash_entries", |value| {
            value.parse().ok()
        }),
        routes_in_lab_range: routes,
        addresses_in_lab_range: addresses,
    }
}

/// Routes and addresses of this machine that overlap the lab's range.
fn in_lab_range() -> Option<(Vec<Ipv4Net>, Vec<Ipv4Addr>)> {
    let mut socket = RouteSocket::open().ok()?;
    let overlaps = |net: &Ipv4Net| LAB_RANGE.contains(net) || net.contains(&LAB_RANGE);
    let routes = socket
        .routes()
        .ok()?
        .into_iter()
        .map(|route| route.destination)
        // A route that covers the whole range and more leads elsewhere; the lab's own are more specific.
        .filter(|net| overlaps(net) && net.prefix_len() >= LAB_RANGE.prefix_len())
        .collect();
    let addresses = socket
        .addresses()
        .ok()?
        .into_iter()
        .map(|address| address.network.addr())
        .filter(|address| LAB_RANGE.contains(address))
        .collect();
    Some((routes, addresses))
}

fn conntrack(proc: &mut Procfs, sysctl: &Sysctl) -> ConntrackFacts {
    let entries = Reading::from(proc.own_conntrack().map(|sample| sample.entries));
    let tracks_loopback = if entries.present().is_some() {
        Reading::from(
            tracks_loopback(proc)
                .map_err(|error| format!("cannot try a connection over loopback: {error}")),
        )
    } else {
        // Without the module's files nothing can be tracked.
        Reading::Present(false)
    };
    ConntrackFacts {
        limit: number(sysctl, "net.netfilter.nf_conntrack_max"),
        entries,
        tracks_loopback,
        bridge_calls_iptables: number(sysctl, "net.bridge.bridge-nf-call-iptables")
            .map(|value| value != 0),
    }
}

/// Opens a few connections to a listener of our own and looks whether the number of entries grows with them.
fn tracks_loopback(proc: &mut Procfs) -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut count = || {
        proc.own_conntrack()
            .map(|sample| sample.entries)
            .map_err(|error| io::Error::other(error.to_string()))
    };
    let before = count()?;
    let mut ends = Vec::new();
    for _ in 0..TRACKING_PROBES {
        let client = TcpStream::connect(address)?;
        ends.push((client, listener.accept()?.0));
    }
    let grown = count()?.saturating_sub(before);
    // Others' entries come and go meanwhile: more than half of ours is enough.
    Ok(grown > TRACKING_PROBES / 2)
}

/// Tried in a child, unless namespaces can be made without.
fn user_namespaces(not_needed: bool) -> UserNamespaceFacts {
    if not_needed {
        return UserNamespaceFacts {
            allowed: false,
            why_not: Some("not tried: not needed with CAP_SYS_ADMIN".to_owned()),
        };
    }
    match userns::try_in_child() {
        Ok(()) => UserNamespaceFacts {
            allowed: true,
            why_not: None,
        },
        Err(error) => UserNamespaceFacts {
            allowed: false,
            why_not: Some(error.to_string()),
        },
    }
}

/// Names of the effective capabilities in the text of `/proc/PID/status`.
fn capabilities(status: &str) -> Vec<String> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask >> bit & 1 == 1)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// In the order of their numbers: `include/uapi/linux/capability.h`, Linux 6.18.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The processor's name in the text of /proc/cpuinfo: x86 and some others have `model name`, Arm boards `Model`.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    let value = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    value("model name")
        .or_else(|| value("Model"))
        .or_else(|| value("CPU part").map(|part| format!("Arm part {part}")))
}

/// Whether a hypervisor shows itself: as a processor flag on x86, as a name of the firmware or the device tree elsewhere.
fn has_hypervisor(cpuinfo: &str) -> bool {
    let flag = cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
    let named = |path: &str| {
        fs::read_to_string(path).is_ok_and(|name| {
            [
                "QEMU",
                "KVM",
                "Amazon EC2",
                "Google",
                "VMware",
                "VirtualBox",
            ]
            .iter()
            .any(|vendor| name.contains(vendor))
        })
    };
    flag || Path::new("/sys/hypervisor/type").exists()
        || Path::new("/proc/device-tree/hypervisor").exists()
        || named("/sys/class/dmi/id/sys_vendor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_facts() {
        let facts = probe().expect("/proc is there");
        assert!(facts.memory.total > facts.memory.free);
        assert!(facts.memory.free + facts.memory.droppable <= facts.memory.total);
        assert!(facts.cpus > 0 && !facts.kernel.is_empty());
        assert!(facts.objects.bytes_of("TCP") > 1000.0);
        assert_eq!(facts.docker, Reading::missing("not asked"));
    }

    #[test]
    fn capabilities_are_named_by_their_bits() {
        let status = "Name:\tc1m\nCapEff:\t0000000000201000\n";
        assert_eq!(capabilities(status), ["net_admin", "sys_admin"]);
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n").len(), 41);
        assert!(capabilities("").is_empty());
    }

    #[test]
    fn processors_are_named_on_x86_and_arm() {
        assert_eq!(
            cpu_model("processor\t: 0\nmodel name\t: Xeon 8000\n"),
            Some("Xeon 8000".to_owned())
        );
        assert_eq!(
            cpu_model("processor\t: 0\nCPU part\t: 0xd0c\n"),
            Some("Arm part 0xd0c".to_owned())
        );
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
