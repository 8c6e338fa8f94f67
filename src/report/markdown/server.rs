//! The sections on a server that is not the lab's own: what it is, how far it accepted, what it used, what it wrote.

use std::fmt::Write as _;

use super::page::{Column, Page, capital, code};
use crate::domain::{DescriptorUse, Limit, Reading, StartOptions, Subject, SubjectFacts};
use crate::report::model::{Moment, OutputLine, Report, ServerDetail, Usage};
use crate::report::number::{grouped, micros, seconds};

/// Names of processes that are listed with their numbers; more are counted.
const NUMBERS_SHOWN: usize = 8;

/// What it is and where it listens.
pub(super) fn section(page: &mut Page, report: &Report) {
    let Some(server) = &report.server else {
        return;
    };
    page.heading("The server");
    let mut rows = vec![(
        "What".to_owned(),
        server
            .subject
            .as_ref()
            .map_or_else(|| "unknown: there is no plan".to_owned(), described),
    )];
    match &server.facts {
        Reading::Present(facts) => rows.extend(found(server, facts)),
        Reading::Missing(gap) => rows.push(("Found".to_owned(), format!("nothing: {}", gap.gap))),
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name, value])
        .collect();
    page.table(&[("Server", Column::Left), ("", Column::Left)], &rows);
    if let Reading::Present(facts) = &server.facts
        && facts.pid.is_none()
    {
        page.block(
            "No process could be found that owns the listening socket: what the server itself uses was not observed.",
        );
    }
}

fn described(subject: &Subject) -> String {
    match subject {
        Subject::Command(command) => {
            let mut text = format!("command {}", code(&command.words.join(" ")));
            // Writing to a String cannot fail.
            if let Some(user) = &command.options.user {
                let _ = write!(text, ", as user {}", code(user));
            }
            if let Some(folder) = &command.options.working_folder {
                let _ = write!(text, ", in {}", code(folder));
            }
            text + &limits(&command.options)
        }
        Subject::Image(image) => {
            let mut text = format!("image {}", code(&image.image));
            if !image.words.is_empty() {
                let _ = write!(text, ", running {}", code(&image.words.join(" ")));
            }
            text + &limits(&image.options)
        }
        Subject::Process { pid } => {
            format!("process {pid}, which was there before; it is left as it is")
        }
        Subject::Target { address } => {
            format!("whatever listens at `{address}`; it was there before, and is left as it is")
        }
    }
}

fn limits(options: &StartOptions) -> String {
    let nofile = options.nofile.map_or_else(String::new, |limit| {
        format!(", with `RLIMIT_NOFILE` {}", grouped(limit))
    });
    let memory = options
        .memory
        .map_or_else(String::new, |limit| format!(", with {limit} of memory"));
    nofile + &memory
}

fn found(server: &ServerDetail, facts: &SubjectFacts) -> Vec<(String, String)> {
    let mut rows = vec![
        (
            "Program".to_owned(),
            match &facts.program {
                Reading::Present(path) => code(path),
                Reading::Missing(gap) => format!("unknown: {}", gap.gap),
            },
        ),
        ("Processes when it listened".to_owned(), processes(facts)),
    ];
    if let Some(usage) = server.usage_at(Moment::Baseline) {
        rows.push(("Threads".to_owned(), grouped(usage.threads)));
    }
    rows.push((
        "`RLIMIT_NOFILE` of the first process".to_owned(),
        match &facts.nofile {
            Reading::Present(limit) => shown_limit(*limit),
            Reading::Missing(gap) => format!("unknown: {}", gap.gap),
        },
    ));
    let somaxconn = match &server.somaxconn {
        Reading::Present(value) => format!("`net.core.somaxconn`, {value} here, bounds it"),
        Reading::Missing(_) => "`net.core.somaxconn` bounds it".to_owned(),
    };
    if facts.listening.is_empty() {
        rows.push((
            "Listens at".to_owned(),
            "unknown: the kernel lists no listening socket there".to_owned(),
        ));
    }
    for queue in &facts.listening {
        rows.push((
            "Listens at".to_owned(),
            format!(
                "`{}`, with room for {} in its accept queue ({somaxconn})",
                queue.address,
                grouped(queue.limit)
            ),
        ));
    }
    if !facts.logs.is_empty() {
        let logs: Vec<String> = facts.logs.iter().map(|path| code(path)).collect();
        rows.push(("Writes to".to_owned(), logs.join(", ")));
    }
    rows
}

/// Processes by their names, as `nginx × 5`.
fn processes(facts: &SubjectFacts) -> String {
    if facts.processes.is_empty() {
        return "unknown".to_owned();
    }
    let mut names: Vec<(&str, Vec<u32>)> = Vec::new();
    for (pid, name) in &facts.processes {
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, pids)) => pids.push(*pid),
            None => names.push((name, vec![*pid])),
        }
    }
    let each: Vec<String> = names
        .iter()
        .map(|(name, pids)| {
            let mut numbers: Vec<String> = pids
                .iter()
                .take(NUMBERS_SHOWN)
                .map(ToString::to_string)
                .collect();
            if pids.len() > NUMBERS_SHOWN {
                numbers.push("…".to_owned());
            }
            let times = if pids.len() > 1 {
                format!(" × {}", pids.len())
            } else {
                String::new()
            };
            format!("{}{times} ({})", code(name), numbers.join(", "))
        })
        .collect();
    let more = if facts.processes.len() >= SubjectFacts::MOST_PROCESSES {
        ", perhaps more"
    } else {
        ""
    };
    format!("{}{more}", each.join(", "))
}

fn shown_limit(limit: Limit<u64>) -> String {
    match limit {
        Limit::At(limit) => grouped(limit),
        Limit::Unlimited => "unlimited".to_owned(),
    }
}

/// How far it accepted what its kernel had established.
pub(super) fn accepting(page: &mut Page, report: &Report) {
    let Some(server) = &report.server else {
        return;
    };
    if server.accepting.is_empty() {
        return;
    }
    page.heading("Established is not accepted");
    page.block(
        "A handshake ends in the accept queue of the listening socket without any doing of the server. Only accept(2) gives a connection a file. The kernel's list of sockets (`sock_diag`) tells them apart at the server's own addresses: until accept(2) the inode of a connection is 0. It is looked at four times a second, seldomer with many sockets.",
    );
    let rows: Vec<Vec<String>> = server
        .accepting
        .iter()
        .map(|(moment, state)| match state {
            Reading::Present(state) => vec![
                moment.name().to_owned(),
                grouped(state.accepted),
                grouped(state.waiting),
                grouped(state.half_open),
                grouped(state.closed_by_client),
            ],
            Reading::Missing(gap) => {
                let mut row = vec![moment.name().to_owned(), gap.gap.clone()];
                row.resize(5, String::new());
                row
            }
        })
        .collect();
    page.table(
        &[
            ("When", Column::Left),
            ("Accepted", Column::Right),
            ("Wait in the accept queue", Column::Right),
            ("Half open", Column::Right),
            ("Closed by the client, not by the server", Column::Right),
        ],
        &rows,
    );
    if let Some((at, most)) = server.most_waiting {
        page.block(&format!(
            "At most {} were seen to wait at once, at {}. More may have waited between two looks.",
            grouped(most),
            seconds(at)
        ));
    }
}

/// What its processes used.
pub(super) fn usage(page: &mut Page, report: &Report) {
    let Some(server) = &report.server else {
        return;
    };
    if server.usage.is_empty() {
        return;
    }
    page.heading("What the server used");
    let rows: Vec<Vec<String>> =
        ROWS.iter()
            .map(|(name, field)| {
                let mut row = vec![(*name).to_owned()];
                row.extend(
                    server.usage.iter().map(|(_, usage)| {
                        usage.present().map_or_else(|| "unknown".to_owned(), field)
                    }),
                );
                row
            })
            .collect();
    let mut columns = vec![("All its processes together", Column::Left)];
    columns.extend(
        server
            .usage
            .iter()
            .map(|(moment, _)| (moment.name(), Column::Right)),
    );
    page.table(&columns, &rows);
    let gaps = server
        .usage
        .iter()
        .filter_map(|(moment, usage)| Some(format!("{}: {}.", moment.name(), usage.gap()?)));
    page.list(gaps);
    processor(page, server);
}

type Row = (&'static str, fn(&Usage) -> String);

const ROWS: [Row; 9] = [
    ("Processes", |usage| grouped(usage.processes)),
    ("Threads", |usage| grouped(usage.threads)),
    ("Own memory (`RssAnon`)", |usage| {
        usage.anonymous.to_string()
    }),
    ("File-backed memory (`RssFile`, `RssShmem`)", |usage| {
        usage.file_backed.to_string()
    }),
    ("Page tables (`VmPTE`)", |usage| {
        usage.page_tables.to_string()
    }),
    ("Proportional share of memory (PSS)", |usage| {
        match &usage.proportional {
            Reading::Present(bytes) => bytes.to_string(),
            Reading::Missing(gap) => format!("unknown: {}", gap.gap),
        }
    }),
    ("Descriptors", |usage| match &usage.descriptors {
        Reading::Present(count) => grouped(*count),
        Reading::Missing(gap) => format!("unknown: {}", gap.gap),
    }),
    (
        "Descriptors of the fullest process, of its limit",
        |usage| usage.fullest.map_or_else(|| "unknown".to_owned(), fullest),
    ),
    ("Processor time since its start", |usage| {
        seconds_of(usage.cpu_seconds)
    }),
];

fn fullest(process: DescriptorUse) -> String {
    format!(
        "{} of {} (process {})",
        grouped(process.open),
        shown_limit(process.limit),
        process.pid
    )
}

/// Seconds in hundredths, which is how finely the kernel counts them.
fn seconds_of(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

fn processor(page: &mut Page, server: &ServerDetail) {
    let time = |reading: &Reading<f64>| match reading {
        Reading::Present(used) => seconds_of(*used),
        Reading::Missing(gap) => format!("not known ({})", gap.gap),
    };
    let each = server.processor.each().map_or_else(String::new, |each| {
        format!(", {} for each accepted connection", micros(each * 1e6))
    });
    page.block(&format!(
        "Processor time of its processes from the first connection until all were open and settled: {}{each}; while they were held: {}. The kernel counts it in hundredths of a second. What the kernel did for it in interrupts is not in it.",
        time(&server.processor.ramp),
        time(&server.processor.hold)
    ));
    page.block(
        "`RssAnon` counts pages that processes share after fork(2) once for each of them; PSS counts every page once.",
    );
}

/// What it wrote when something gave way or went wrong.
pub(super) fn trouble(page: &mut Page, report: &Report) {
    let around = report
        .server
        .as_ref()
        .and_then(|server| server.around_trouble.as_ref());
    let Some((trouble, lines)) = around else {
        return;
    };
    page.subheading("What the server wrote then");
    page.block(&format!(
        "{} at {}.{}",
        capital(&trouble.what),
        seconds(trouble.at_seconds),
        if lines.is_empty() {
            " The server wrote nothing within 2 s of it."
        } else {
            " Within 2 s of it the server wrote:"
        }
    ));
    show(page, lines);
}

/// What it wrote.
pub(super) fn output(page: &mut Page, report: &Report) {
    let Some(server) = &report.server else {
        return;
    };
    if server.last_lines.is_empty() && server.lines_while_closing == 0 {
        return;
    }
    page.heading("What the server wrote");
    let shown = if server.last_lines.is_empty() {
        "Nothing before its connections were closed.".to_owned()
    } else if server.lines_written > server.last_lines.len() {
        format!(
            "The last {} of {} lines before its connections were closed; all are in `events.jsonl`. Seconds since the run began come first.",
            server.last_lines.len(),
            grouped(server.lines_written as u64)
        )
    } else {
        "Every line before its connections were closed. Seconds since the run began come first."
            .to_owned()
    };
    let more = match server.lines_while_closing {
        0 => String::new(),
        more => format!(
            " {} came while connections were reset and the server was ended: they are in `events.jsonl`.",
            grouped(more as u64)
        ),
    };
    page.block(&format!("{shown}{more}"));
    show(page, &server.last_lines);
}

fn show(page: &mut Page, lines: &[OutputLine]) {
    if lines.is_empty() {
        return;
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("{:8.2}  {}", line.at_seconds, line.text))
        .collect();
    page.code("text", &lines);
}
