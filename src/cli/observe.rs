//! `c1m observe`: the samplers alone, a line for each sample, to the terminal or to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::count::namespace_file;
use super::format::Format;

use super::{Exit, Failure, output};
use crate::domain::{
    Bytes, ConnCount, CpuTicks, HostIndex, ProcessSample, Reading, Role, Sample, WorkerId,
};
use crate::observe::{NamespaceWindow, Observer, ObserverConfig, cgroup_of_process};

/// Samples the kernel once a second: sockets, memory, processor time, and processes if any are named.
#[derive(Debug, Args)]
pub(super) struct ObserveArgs {
    /// A process to look at; repeatable. Without --netns the network namespace of the first is looked at.
    #[arg(
        long = "pid",
        value_name = "PID",
        env = "C1M_PID",
        value_delimiter = ','
    )]
    pids: Vec<u32>,
    /// A network namespace to look at: a name that `ip netns` knows, or a file such as /proc/PID/ns/net.
    #[arg(long, value_name = "NAMESPACE", env = "C1M_NETNS")]
    netns: Option<PathBuf>,
    /// Time from sample to sample, such as 1s or 200ms.
    #[arg(long, value_name = "DURATION", default_value = "1s", env = "C1M_INTERVAL", value_parser = duration)]
    interval: Duration,
    /// Ends after so many samples; without, on Ctrl-C.
    #[arg(long, value_name = "COUNT", env = "C1M_COUNT")]
    count: Option<u64>,
    /// Writes to this file rather than to stdout.
    #[arg(long, value_name = "FILE", env = "C1M_OUT")]
    out: Option<PathBuf>,
    /// The form of a sample: one line of text, or one line of JSON with everything.
    #[arg(long, value_enum, default_value = "text", env = "C1M_FORMAT")]
    format: Format,
}

/// A heading comes again after so many lines.
const HEADING_EVERY: u64 = 20;

pub(super) fn run(args: &ObserveArgs) -> Result<Exit, Failure> {
    must_be_there(&args.pids)?;
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(io::stdout()),
    };
    let window = args
        .netns
        .as_deref()
        .map(|name| NamespaceWindow::open(&namespace_file(name)))
        .transpose()
        .map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Failed, error).with_hint(hint)
        })?;
    let (sink, samples) = channel();
    let config = ObserverConfig {
        interval: args.interval,
        ..ObserverConfig::every_second(Instant::now())
    };
    // Nobody listens any more only when the output is closed.
    let send = move |sample| sink.send(sample).unwrap_or_default();
    let observer =
        Observer::start(config, Box::new(send)).context("cannot start the observer's thread")?;
    observer.watch_namespace(HostIndex::SERVER, proc_net(args, window.as_ref()));
    for (index, pid) in (0..).zip(&args.pids) {
        observer.watch_process(
            WorkerId {
                role: Role::Server,
                number: index,
            },
            *pid,
        );
        // Everything else of the process can be shown all the same.
        let group = cgroup_of_process(Path::new("/"), *pid).unwrap_or_else(|error| {
            output::line(&format!(
                "no control group of process {pid} is shown: {error}"
            ));
            None
        });
        if let Some(group) = group {
            observer.watch_cgroup(
                WorkerId {
                    role: Role::Server,
                    number: index,
                },
                group,
            );
        }
    }

    let mut before = None;
    let mut written = 0;
    while args.count.is_none_or(|count| written < count) {
        let Ok(sample) = samples.recv() else { break };
        let done = match args.format {
            Format::Json => serde_json::to_writer(&mut out, &sample)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
            Format::Text => {
                if written % HEADING_EVERY == 0 {
                    writeln!(out, "{HEADING}")
                        .and_then(|()| write_line(&mut out, &sample, before.as_ref()))
                } else {
                    write_line(&mut out, &sample, before.as_ref())
                }
            }
        };
        match done.and_then(|()| out.flush()) {
            Ok(()) => {}
            // The reader has seen enough (`c1m observe | head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                let to = args.out.as_deref();
                let name = to.map_or_else(|| "stdout".into(), Path::to_string_lossy);
                let what = format!("cannot write to {name}");
                return Err(anyhow::Error::new(error).context(what).into());
            }
        }
        before = Some(sample);
        written += 1;
    }
    let cost = observer
        .stop()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    tracing::info!(
        samples = cost.samples,
        missed = cost.missed,
        cpu_seconds = cost.cpu_seconds,
        "what observing cost"
    );
    Ok(Exit::Done)
}

/// A process that is not there has nothing but gaps: most likely its number is mistyped.
fn must_be_there(pids: &[u32]) -> Result<(), Failure> {
    let there = |pid: &u32| Path::new("/proc").join(pid.to_string()).exists();
    pids.iter().find(|pid| !there(pid)).map_or(Ok(()), |pid| {
        let why = format!("cannot observe process {pid}: there is no such process here");
        Err(Failure::new(Exit::Failed, why))
    })
}

fn proc_net(args: &ObserveArgs, window: Option<&NamespaceWindow>) -> PathBuf {
    match (window, args.pids.first()) {
        (Some(window), _) => window.proc_net().to_owned(),
        (None, Some(pid)) => PathBuf::from(format!("/proc/{pid}/net")),
        (None, None) => PathBuf::from("/proc/self/net"),
    }
}

const HEADING: &str = "    time  established   time-wait  mem-free      slab tcp-pages     files   us   sy   si       rss";

/// One sample as a row under [`HEADING`]. What could not be read is a dash.
fn write_line(out: &mut dyn Write, sample: &Sample, before: Option<&Sample>) -> io::Result<()> {
    let namespace = sample.namespaces.first();
    let sockets = namespace.and_then(|namespace| namespace.sockets.present());
    let tcp = namespace.and_then(|namespace| namespace.tcp.present());
    let memory = sample.memory.present();
    let resident = |process: &ProcessSample| process.anonymous + process.file_backed;
    let rss: Bytes = sample.processes.iter().map(resident).sum();
    let shares = before.and_then(|before| shares(&before.cpu, &sample.cpu));
    let [user, system, softirq] = shares.map_or([None; 3], |shares| shares.map(Some));
    writeln!(
        out,
        "{:>8.1} {:>12} {:>11} {:>9} {:>9} {:>9} {:>9} {:>4} {:>4} {:>4} {:>9}",
        sample.at_seconds,
        shown(tcp.map(|tcp| ConnCount::new(tcp.established))),
        shown(sockets.map(|sockets| ConnCount::new(sockets.time_wait))),
        shown(memory.map(|memory| memory.free)),
        shown(memory.map(|memory| memory.slab)),
        shown(sockets.map(|sockets| sockets.tcp_memory.pages())),
        shown(sample.files.present().map(|(open, _)| *open)),
        shown(user),
        shown(system),
        shown(softirq),
        shown((!sample.processes.is_empty()).then_some(rss)),
    )
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Whole percent of all processors between two readings: user, system, interrupts.
fn shares(before: &Reading<CpuTicks>, now: &Reading<CpuTicks>) -> Option<[u64; 3]> {
    let (before, now) = (before.present()?, now.present()?);
    let user = |ticks: &CpuTicks| ticks.user + ticks.nice;
    let interrupts = |ticks: &CpuTicks| ticks.irq + ticks.softirq;
    let all = |ticks: &CpuTicks| {
        user(ticks) + ticks.system + interrupts(ticks) + ticks.idle + ticks.iowait + ticks.steal
    };
    let grown = |part: &dyn Fn(&CpuTicks) -> u64| part(now).saturating_sub(part(before));
    let whole = grown(&all);
    let percent = |part: u64| (part * 100 + whole / 2).checked_div(whole);
    Some([
        percent(grown(&user))?,
        percent(grown(&|ticks| ticks.system))?,
        percent(grown(&interrupts))?,
    ])
}

/// A whole number with its unit: `500ms`, `2s`, `1m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .map_err(|_| "a number with a unit is wanted, such as 1s or 200ms".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "" => return Err(format!("{number} of what? Say {number}s or {number}ms")),
        _ => return Err(format!("{unit:?} is none of the units ms, s, m")),
    };
    match number.checked_mul(milliseconds) {
        None | Some(0) => Err("it must be at least 1ms, and finite".to_owned()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit() {
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        for wrong in [
            "",
            "1",
            "s",
            "0s",
            "1 s",
            "-1s",
            "1h",
            "99999999999999999999s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn shares_are_of_the_time_between_two_samples() {
        let ticks = |user, system, softirq, idle| {
            Reading::Present(CpuTicks {
                user,
                system,
                idle,
                softirq,
                ..CpuTicks::default()
            })
        };
        let before = ticks(1000, 1000, 1000, 1000);
        assert_eq!(
            shares(&before, &ticks(1020, 1050, 1010, 1120)),
            Some([10, 25, 5])
        );
        assert_eq!(shares(&before, &before), None);
        assert_eq!(shares(&Reading::default(), &before), None);
    }
}
