//! The section that says what a machine needs for so many connections of a server that is not the lab's own.

use super::page::{Column, Page};
use crate::domain::{Reading, Subject};
use crate::report::model::{DescriptorNeed, Report, ServerDetail, Sizing, UserBy};
use crate::report::number::{bytes, bytes_each, figure, grouped};

const GIB: f64 = 1_073_741_824.0;

/// Numbers of connections that are told.
const NUMBERS: [u64; 3] = [10_000, 100_000, 1_000_000];

/// Registrations with epoll that are taken for none.
const NO_WATCHES: f64 = 0.01;

/// Threads for each connection above which they are no accident.
const MANY_THREADS: f64 = 0.1;

/// How programs name their own limit of connections.
const OWN_LIMITS: [(&str, &str); 4] = [
    (
        "nginx",
        "`worker_connections` and `worker_rlimit_nofile` for each worker of nginx",
    ),
    ("redis", "`maxclients` of Redis"),
    ("haproxy", "`maxconn` of HAProxy"),
    ("memcached", "`-c` of memcached"),
];

/// Writes the section.
pub(super) fn section(page: &mut Page, report: &Report) {
    let Some(server) = &report.server else {
        return;
    };
    page.heading("Sizing");
    let sizing = match &server.sizing {
        Reading::Present(sizing) => sizing,
        Reading::Missing(gap) => {
            page.block(&format!("Not known: {}.", gap.gap));
            return;
        }
    };
    page.block(&paragraph(sizing));
    table(page, sizing);
    settings(page, server, sizing);
    if sizing.threads > MANY_THREADS {
        page.block(&format!(
            "The server started {} threads for each connection. Their stacks in the kernel are in the figure, and what else the kernel keeps for a thread or a process is not: it is in the row \"not attributed\".",
            figure(sizing.threads)
        ));
    }
    if let Some(reason) = &report.result.memory.disturbed {
        page.block(&format!(
            "**Disturbed**: {reason}. Repeat the run on a quiet machine before buying memory by these figures."
        ));
    }
}

fn paragraph(sizing: &Sizing) -> String {
    let by = match &sizing.user_by {
        UserBy::Slope(slope) => format!(
            "{} ± {} of its own memory (slope over accepted connections, 95 % confidence interval, {} samples of the ramp)",
            figure(sizing.user),
            bytes_each(slope.half_width),
            slope.points
        ),
        UserBy::Difference { why } => format!(
            "{} of its own memory (difference between target and baseline; no slope, because {why})",
            bytes_each(sizing.user)
        ),
    };
    format!(
        "On the server's side one connection takes **{}**: {} of the kernel and {by}. Beside the {} that the server takes before the first connection, 1 GiB of memory holds **{} connections**. It was measured with {} connections that had said nothing yet.",
        bytes_each(sizing.each()),
        bytes_each(sizing.kernel),
        bytes(sizing.fixed),
        grouped(sizing.connections(GIB)),
        grouped(sizing.measured_with)
    )
}

fn table(page: &mut Page, sizing: &Sizing) {
    let need = |get: fn(&DescriptorNeed, u64) -> u64, count: u64| {
        sizing
            .descriptors
            .present()
            .map_or_else(|| "unknown".to_owned(), |need| grouped(get(need, count)))
    };
    let rows: Vec<Vec<String>> = NUMBERS
        .iter()
        .map(|count| {
            vec![
                grouped(*count),
                bytes(sizing.bytes(*count)),
                need(DescriptorNeed::all, *count),
                need(DescriptorNeed::fullest, *count),
                match sizing.watches {
                    Some(each) if each > NO_WATCHES => watches(each, *count),
                    Some(_) => "none".to_owned(),
                    None => "unknown".to_owned(),
                },
            ]
        })
        .collect();
    page.table(
        &[
            ("Connections", Column::Right),
            ("Memory, kernel and user", Column::Right),
            ("Descriptors", Column::Right),
            ("of them in the fullest process", Column::Right),
            ("Registrations with epoll", Column::Right),
        ],
        &rows,
    );
    let gap = sizing.descriptors.gap();
    page.list(gap.map(|why| format!("Descriptors are not known: {why}.")));
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn watches(each: f64, count: u64) -> String {
    grouped((each * count as f64).round() as u64)
}

fn settings(page: &mut Page, server: &ServerDetail, sizing: &Sizing) {
    let mut needs = Vec::new();
    if sizing.descriptors.present().is_some() {
        needs.push(
            "`RLIMIT_NOFILE` of each process: at least the descriptors of the fullest process, with room to spare, since processes do not share evenly. It cannot be above `fs.nr_open`.".to_owned(),
        );
        needs.push(
            "`fs.file-max`: at least all descriptors, with those of other programs. A process with `CAP_SYS_ADMIN` is exempt.".to_owned(),
        );
    }
    if sizing.watches.is_none_or(|each| each > NO_WATCHES) {
        needs.push(
            "`fs.epoll.max_user_watches`: at least the registrations; it bounds each user."
                .to_owned(),
        );
    }
    if sizing.threads > MANY_THREADS {
        needs.push(
            "`kernel.threads-max` and `kernel.pid_max`: above the number of threads; `vm.max_map_count`, where they are of one process: two mappings for each stack."
                .to_owned(),
        );
    }
    let limits: Vec<String> = server
        .facts
        .present()
        .into_iter()
        .flat_map(|facts| &facts.listening)
        .map(|queue| grouped(queue.limit))
        .collect();
    if !limits.is_empty() {
        needs.push(format!(
            "The accept queue ({} here) has to hold the connections that come while the server is busy, however many are open: the argument of listen(2), and `net.core.somaxconn`.",
            limits.join(", ")
        ));
    }
    needs.push(match own_limit(server) {
        Some(own) => {
            format!("Its own limit of connections, which is not seen from outside: {own}.")
        }
        None => "Its own limit of connections, where it has one: it is not seen from outside."
            .to_owned(),
    });
    needs.push(
            "`net.netfilter.nf_conntrack_max`, where the packet rules of the machine track connections: one entry for each."
            .to_owned(),
    );
    page.block("What else so many connections need:");
    page.list(needs);
    page.block(
        "It is without: what a request under way takes, bytes that wait in buffers of sockets, TLS, connection tracking, the page cache, the kernel's hash tables, and the clients' side. Other numbers of connections are computed from this one run.",
    );
}

fn own_limit(server: &ServerDetail) -> Option<&'static str> {
    let program = server
        .facts
        .present()
        .and_then(|facts| facts.program.present());
    let image = match &server.subject {
        Some(Subject::Image(image)) => Some(&image.image),
        _ => None,
    };
    let names = program.into_iter().chain(image);
    let mut names = names.filter_map(|path| path.rsplit('/').next());
    names.find_map(|name| {
        let mut known = OWN_LIMITS.iter();
        known
            .find(|(start, _)| name.starts_with(start))
            .map(|(_, limit)| *limit)
    })
}
