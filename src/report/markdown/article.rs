//! The section that sets the article of 2013 beside this run: its own readings, taken in the same way.

use super::page::{Column, Page};
use crate::domain::{HostIndex, PortRange, Reading};
use crate::report::model::{ArticleReadings, OldFree, Report};
use crate::report::number::{bytes, figure, grouped, percent, seconds};

/// Writes the section.
pub(super) fn section(page: &mut Page, report: &Report) {
    page.heading("Beside the article of 2013");
    page.block(
        "The article held 1,024,000 idle connections on one server, with its clients on other machines. Here both ends are on one machine, so figures of the whole machine hold both; they are taken as the article took them.",
    );
    let readings = match &report.article {
        Reading::Present(readings) => readings,
        Reading::Missing(gap) => {
            page.block(&format!("No readings: {}.", gap.gap));
            return;
        }
    };
    table(page, report, readings);
    free(page, readings);
    settings(page, report);
}

fn table(page: &mut Page, report: &Report, readings: &ArticleReadings) {
    let net = |free: &OldFree| format!("{} MB", grouped(free.used_net));
    let at_target: Vec<String> = readings.free_at_target.iter().map(net).collect();
    let rows = [
        (
            "Connections",
            "1,024,000".to_owned(),
            grouped(readings.connections),
        ),
        (
            "`free -m` before, used without buffers and cache",
            "171 MB".to_owned(),
            net(&readings.free_before),
        ),
        (
            "`free -m` at the target, a moment apart",
            "7,680, 7,692, 7,702 MB".to_owned(),
            at_target.join(", "),
        ),
        (
            "Its formula: (used at the target − used before) ÷ connections",
            "7.53 KB".to_owned(),
            format!("{} KB, both ends", figure(readings.formula / 1024.0)),
        ),
        ("By the definitions above", "–".to_owned(), ours(report)),
        (
            "`/proc/net/sockstat`",
            "sockets: used 1024380<br>TCP: inuse 1024009 orphan 0 tw 0 alloc 1024014 mem 2".to_owned(),
            or_gap(&readings.sockstat.clone().map(|lines| lines.join("<br>"))),
        ),
        (
            "`fs.file-nr`",
            "1025216 0 1048576".to_owned(),
            or_gap(&readings.file_nr),
        ),
        (
            "`top`, the server process",
            "VIRT 82776k, RES 74m, 51.3 % CPU, TIME+ 3:53.95; machine 0.2 % us, 6.3 % sy, 4.5 % hi, 8.8 % si, 80.2 % id".to_owned(),
            top(readings),
        ),
        (
            "`vmstat`, while holding",
            "r 0, free 2725572, buff 23008, cache 80360, in 1012, cs 894, us 0, sy 9, id 89, wa 2".to_owned(),
            vmstat(readings),
        ),
        (
            "Counting established connections",
            "`netstat`: not finished after 20 to 30 minutes".to_owned(),
            counting(report),
        ),
        (
            "Kernel log on the way",
            "`TCP: too many of orphaned sockets` from about 500,000; `Out of socket memory` at about 990,000".to_owned(),
            kernel_log(readings),
        ),
    ]
    .map(|(what, theirs, here)| vec![what.to_owned(), theirs, here]);
    page.table(
        &[
            ("What", Column::Left),
            ("Article", Column::Left),
            ("This run", Column::Left),
        ],
        &rows,
    );
}

fn kernel_log(readings: &ArticleReadings) -> String {
    let lines = readings.kernel_log.join("<br>");
    match (&readings.kernel_log_gap, lines.is_empty()) {
        (None, true) => "no such line was recorded".to_owned(),
        (None, false) => lines,
        (Some(gap), true) => format!("unknown: {gap}"),
        (Some(gap), false) => format!("{lines}<br>and perhaps more: {gap}"),
    }
}

fn or_gap(reading: &Reading<String>) -> String {
    match reading {
        Reading::Present(text) => text.clone(),
        Reading::Missing(gap) => format!("unknown: {}", gap.gap),
    }
}

fn ours(report: &Report) -> String {
    report.result.memory.both.bytes_per_connection.map_or_else(
        || "unknown".to_owned(),
        |each| format!("{} KB, both ends", figure(each / 1024.0)),
    )
}

fn top(readings: &ArticleReadings) -> String {
    let Some(top) = &readings.top else {
        return "the server process was not sampled".to_owned();
    };
    let cpu = top.cpu_percent.map_or_else(String::new, |share| {
        format!(", {} % CPU during the ramp", figure(share))
    });
    let machine = top.machine.map_or_else(String::new, |shares| {
        format!(
            "; machine {} us, {} sy, {} hi, {} si, {} id, {} st",
            percent(shares.user),
            percent(shares.system),
            percent(shares.irq),
            percent(shares.softirq),
            percent(shares.idle),
            percent(shares.steal)
        )
    });
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive
    let minutes = (top.cpu_seconds / 60.0) as u64;
    format!(
        "VIRT {}, RES {}{cpu}, TIME+ {minutes}:{:05.2}{machine}",
        bytes(top.virtual_bytes as f64),
        bytes(top.resident_bytes as f64),
        top.cpu_seconds % 60.0
    )
}

fn vmstat(readings: &ArticleReadings) -> String {
    match &readings.vmstat {
        Reading::Present(row) => format!(
            "r {}, swpd {}, free {}, buff {}, cache {}, in {:.0}, cs {:.0}, us {:.0}, sy {:.0}, id {:.0}, wa {:.0}, st {:.0}",
            row.running,
            row.swapped_kib,
            row.free_kib,
            row.buffers_kib,
            row.cached_kib,
            row.interrupts,
            row.switches,
            row.shares.user * 100.0,
            // vmstat of that time put interrupts into sy.
            (row.shares.system + row.shares.irq + row.shares.softirq) * 100.0,
            row.shares.idle * 100.0,
            row.shares.iowait * 100.0,
            row.shares.steal * 100.0
        ),
        Reading::Missing(gap) => format!("unknown: {}", gap.gap),
    }
}

fn counting(report: &Report) -> String {
    let counted = |end: &str| Some(report.counted.get(end)?.present()?.took_seconds);
    match (counted("server"), counted("client")) {
        (Some(server), Some(client)) => format!(
            "`sock_diag`: {} on the server's end, {} on the clients'",
            seconds(server),
            seconds(client)
        ),
        _ => "not counted".to_owned(),
    }
}

/// The readings as `free -m` of procps 3.2 printed them.
fn free(page: &mut Page, readings: &ArticleReadings) {
    page.subheading("`free -m`, as it looked then");
    let mut lines = vec!["# before".to_owned()];
    lines.extend(printed(&readings.free_before));
    for (number, free) in readings.free_at_target.iter().enumerate() {
        lines.push(format!("# at the target, reading {}", number + 1));
        lines.extend(printed(free));
    }
    page.code("text", &lines);
}

fn printed(free: &OldFree) -> [String; 4] {
    [
        format!(
            "{:>18}{:>11}{:>11}{:>11}{:>11}{:>11}",
            "total", "used", "free", "shared", "buffers", "cached"
        ),
        format!(
            "Mem:  {:>12}{:>11}{:>11}{:>11}{:>11}{:>11}",
            free.total, free.used, free.free, free.shared, free.buffers, free.cached
        ),
        format!(
            "-/+ buffers/cache:{:>11}{:>11}",
            free.used_net, free.free_net
        ),
        format!(
            "Swap: {:>12}{:>11}{:>11}",
            free.swap_total,
            free.swap_used,
            free.swap_total - free.swap_used
        ),
    ]
}

/// The article's six settings beside those in force here.
fn settings(page: &mut Page, report: &Report) {
    page.subheading("Its six settings");
    let facts = report.facts.present();
    let text = |reading: Option<&Reading<String>>| match reading {
        Some(Reading::Present(text)) => text.clone(),
        Some(Reading::Missing(gap)) => format!("unknown: {}", gap.gap),
        None => "unknown".to_owned(),
    };
    let descriptors = facts.map_or_else(
        || "unknown".to_owned(),
        |facts| {
            format!(
                "{} soft; one descriptor table per thread",
                grouped(facts.descriptors.soft)
            )
        },
    );
    let rows = [
        ("`nofile`", "–", "1048576", descriptors),
        (
            "`fs.file-max`",
            "–",
            "1048576",
            text(
                facts
                    .map(|facts| {
                        facts
                            .descriptors
                            .file_max
                            .clone()
                            .map(|max| max.to_string())
                    })
                    .as_ref(),
            ),
        ),
        (
            "`net.ipv4.ip_local_port_range`",
            "–",
            "1024 65535",
            in_force(report, "net.ipv4.ip_local_port_range")
                .unwrap_or_else(|| text(facts.map(|facts| ports(&facts.net.port_range)).as_ref())),
        ),
        (
            "`net.ipv4.tcp_mem` (pages)",
            "932448 1243264 1864896",
            "786432 2097152 3145728",
            text(facts.map(|facts| &facts.net.tcp_mem)),
        ),
        (
            "`net.ipv4.tcp_rmem` (bytes)",
            "4096 87380 4161536",
            "4096 4096 16777216",
            in_force(report, "net.ipv4.tcp_rmem")
                .unwrap_or_else(|| text(facts.map(|facts| &facts.net.tcp_rmem))),
        ),
        (
            "`net.ipv4.tcp_wmem` (bytes)",
            "4096 16384 4161536",
            "4096 4096 16777216",
            in_force(report, "net.ipv4.tcp_wmem")
                .unwrap_or_else(|| text(facts.map(|facts| &facts.net.tcp_wmem))),
        ),
    ]
    .map(|(key, before, after, here)| {
        vec![key.to_owned(), before.to_owned(), after.to_owned(), here]
    });
    page.table(
        &[
            ("Key", Column::Left),
            ("Article, before", Column::Left),
            ("Article, after", Column::Left),
            ("Here, in force at the server", Column::Left),
        ],
        &rows,
    );
}

/// The value that was read back at the server or on the host.
fn in_force(report: &Report, key: &str) -> Option<String> {
    let mut records = report.settings.iter();
    let record = records.find(|record| {
        record.change.key == key && record.host.is_none_or(|host| host == HostIndex::SERVER)
    })?;
    record.in_force.clone()
}

/// A range of ports as sysctl(8) prints it.
fn ports(range: &Reading<PortRange>) -> Reading<String> {
    range
        .clone()
        .map(|range| format!("{} {}", range.first(), range.last()))
}
