//! Progress of a run on the terminal: a bar for each client, one for all, and a line that lives. Without a terminal a plain
//! line every five seconds; as JSON, one object per line. All of it goes to stderr: stdout belongs to data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::domain::{Phase, WorkerId};
use crate::run::{Live, Progress};

/// Without a terminal a line is printed at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// In a terminal of fewer columns bars would be torn: plain lines are printed instead.
const NARROWEST: u16 = 30;
/// In a terminal of fewer columns a bar has its share beside it, because the numbers would leave no room for it.
const ROOM_FOR_NUMBERS: u16 = 50;
/// More clients than this share the bar of all: the screen is for the run, not the run for the screen.
const MOST_BARS: usize = 16;

/// How progress is shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressChoice {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Bars.
    Bar,
    /// A plain line every five seconds.
    Plain,
    /// One JSON object per line.
    Json,
    /// Nothing but warnings.
    None,
}

impl ProgressChoice {
    /// Its name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bar => "bar",
            Self::Plain => "plain",
            Self::Json => "json",
            Self::None => "none",
        }
    }
}

/// Where progress goes. It lives on the thread that writes to stderr; see `output`.
pub(super) enum Screen {
    Bars(Box<Bars>),
    Plain(Plain),
    Json,
    Silent,
}

impl Screen {
    /// The screen for the choice of the user and the terminal that is there.
    pub(super) fn new(choice: ProgressChoice) -> Self {
        match choice {
            ProgressChoice::None => Self::Silent,
            ProgressChoice::Json => Self::Json,
            ProgressChoice::Bar => Self::Bars(Box::new(Bars::new())),
            ProgressChoice::Auto if wide_enough_terminal() => Self::Bars(Box::new(Bars::new())),
            ProgressChoice::Auto | ProgressChoice::Plain => Self::Plain(Plain::new()),
        }
    }

    /// Shows the news.
    pub(super) fn show(&mut self, news: &Progress) {
        match self {
            Self::Bars(bars) => bars.show(news),
            Self::Plain(plain) => plain.show(news),
            Self::Json => json_line(news),
            Self::Silent => {
                if let Progress::Warning(text) = news {
                    write_line(&format!("warning: {text}"));
                }
            }
        }
    }

    /// Shows a line that is no news of the run.
    pub(super) fn line(&mut self, text: &str) {
        match self {
            Self::Bars(bars) => bars.say(text),
            Self::Plain(_) | Self::Json | Self::Silent => write_line(text),
        }
    }

    /// Says that so many lines found nobody who took them.
    pub(super) fn dropped(&mut self, count: u64) {
        match self {
            Self::Json => write_line(&json!({ "dropped_lines": count }).to_string()),
            _ => self.line(&format!(
                "{count} lines dropped: nobody took them from stderr; the recording has them"
            )),
        }
    }

    /// Takes the bars off the terminal, so that what comes next stands below them.
    pub(super) fn finish(&mut self) {
        if let Self::Bars(bars) = self {
            bars.finish();
        }
    }
}

fn wide_enough_terminal() -> bool {
    io::stderr().is_terminal() && columns().is_some_and(|columns| columns >= NARROWEST)
}

fn columns() -> Option<u16> {
    Term::stderr().size_checked().map(|(_, columns)| columns)
}

/// Progress must never end a run: a closed stderr is ignored.
fn write_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A bar for each client, one for all, a line that lives.
pub(super) struct Bars {
    all: MultiProgress,
    clients: BTreeMap<WorkerId, ProgressBar>,
    total: Option<ProgressBar>,
    line: Option<ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            clients: BTreeMap::new(),
            total: None,
            line: None,
        }
    }

    fn show(&mut self, news: &Progress) {
        match news {
            Progress::Recording { directory } => {
                self.say(&format!("recording to {}", directory.display()));
            }
            Progress::Phase(phase) => {
                self.say(&format!("{phase}: {}", describe(*phase)));
            }
            Progress::Note(text) => self.say(text),
            Progress::Warning(text) => self.say(&format!("warning: {text}")),
            Progress::Live(live) => self.live(live),
        }
    }

    fn say(&self, text: &str) {
        // Bars that cannot be drawn must not end a run.
        let _ = self.all.println(text);
    }

    fn live(&mut self, live: &Live) {
        if live.phase < Phase::Ramp || live.clients.is_empty() {
            return;
        }
        if live.clients.len() <= MOST_BARS && live.clients.len() > 1 {
            for (id, held, target) in &live.clients {
                let all = &self.all;
                let bar = self.clients.entry(*id).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new(target.count()).with_style(bar_style()));
                    bar.set_prefix(id.to_string());
                    bar
                });
                bar.set_position(held.count());
            }
        }
        let all = &self.all;
        let total = self.total.get_or_insert_with(|| {
            let bar = all.add(ProgressBar::new(live.target.count()).with_style(bar_style()));
            bar.set_prefix("all");
            bar
        });
        total.set_position(live.established.count());
        let bottom = self
            .line
            .get_or_insert_with(|| all.add(ProgressBar::new_spinner().with_style(line_style())));
        bottom.set_message(live_text(live));
        bottom.tick();
    }

    fn finish(&mut self) {
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
        for bar in self.clients.values().chain(self.total.as_ref()) {
            bar.abandon();
        }
        self.clients.clear();
        self.total = None;
    }
}

fn bar_style() -> ProgressStyle {
    let template = if columns().is_some_and(|columns| columns < ROOM_FOR_NUMBERS) {
        "{prefix:>9} [{wide_bar}] {percent:>3} %"
    } else {
        "{prefix:>9} [{wide_bar}] {human_pos:>9} of {human_len:9}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn line_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Plain lines: each phase, each warning, and how far it is every five seconds.
pub(super) struct Plain {
    last: Option<Instant>,
}

impl Plain {
    const fn new() -> Self {
        Self { last: None }
    }

    fn show(&mut self, news: &Progress) {
        match news {
            Progress::Recording { directory } => {
                write_line(&format!("recording to {}", directory.display()));
            }
            Progress::Phase(phase) => write_line(&format!("{phase}: {}", describe(*phase))),
            Progress::Note(text) => write_line(text),
            Progress::Warning(text) => write_line(&format!("warning: {text}")),
            Progress::Live(live) => {
                let due = self.last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
                if live.phase >= Phase::Ramp && due {
                    self.last = Some(Instant::now());
                    write_line(&live_text(live));
                }
            }
        }
    }
}

fn json_line(news: &Progress) {
    let value = match news {
        Progress::Recording { directory } => json!({ "recording": directory.to_string_lossy() }),
        Progress::Phase(phase) => json!({ "phase": phase }),
        Progress::Note(text) => json!({ "note": text }),
        Progress::Warning(text) => json!({ "warning": text }),
        Progress::Live(live) => json!({ "live": {
            "phase": live.phase,
            "established": live.established,
            "served": live.served,
            "accepted": live.accepting.map(|(accepted, _)| accepted),
            "waiting": live.accepting.map(|(_, waiting)| waiting),
            "answered": live.answered,
            "target": live.target,
            "failed": live.failed,
            "lost": live.lost,
            "rate_per_second": live.rate,
            "bytes_per_connection": live.bytes_per_connection,
            "memory_left_bytes": live.memory_left.as_ref().map(|(left, _)| left),
            "memory_left_in": live.memory_left.as_ref().map(|(_, of)| of),
            "hold_left_seconds": live.hold_left_seconds,
        }}),
    };
    write_line(&value.to_string());
}

/// The live line: `ramp 512,000 of 1,024,000, 81,000/s, 7.95 KiB of kernel memory each with both ends, 11.9 GiB left`.
fn live_text(live: &Live) -> String {
    let mut text = format!("{} {} of {}", live.phase, live.established, live.target);
    // Writing to a String cannot fail.
    if let Some((accepted, waiting)) = live.accepting {
        let _ = write!(text, ", {accepted} accepted, {waiting} waiting");
    }
    if let Some(answered) = live.answered {
        let _ = write!(text, ", {answered} answered");
    }
    if let Some(rate) = live.rate {
        let _ = write!(text, ", {rate}");
    }
    if let Some(bytes) = live.bytes_per_connection {
        let _ = write!(
            text,
            ", {:.2} KiB of kernel memory each with both ends",
            bytes / 1024.0
        );
    }
    if let Some((left, of)) = &live.memory_left {
        let _ = write!(text, ", {left} of memory left in {of}");
    }
    if live.failed.count() > 0 {
        let _ = write!(text, ", {} failed", live.failed);
    }
    if live.lost.count() > 0 {
        let _ = write!(text, ", {} lost", live.lost);
    }
    if let Some(seconds) = live.hold_left_seconds {
        let _ = write!(text, ", {seconds:.0} s to go");
    }
    text
}

const fn describe(phase: Phase) -> &'static str {
    match phase {
        Phase::Preflight => "looking at the host",
        Phase::Tune => "settings of the host",
        Phase::Provision => "making the place, starting server and clients",
        Phase::Baseline => "what the machine uses before the first connection",
        Phase::Ramp => "opening connections",
        Phase::Hold => "holding them",
        Phase::Verify => "counting both ends, an exchange through each",
        Phase::Drain => "resetting the connections",
        Phase::Teardown => "ending the workers, unmaking the place",
        Phase::Restore => "putting settings back",
    }
}
