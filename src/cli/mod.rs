//! The command line: one file per verb. Data goes to stdout, logs and progress to stderr.

mod bench;
mod by_hand;
mod caller;
mod child_run;
mod clean;
mod client;
mod completions;
mod count;
mod doctor;
mod exit;
mod failure;
mod format;
mod image;
mod init;
mod limit;
mod man;
mod observe;
mod output;
mod pipeline;
mod plan;
mod progress;
mod protocol_args;
mod recovery;
mod report;
mod restore;
mod run;
mod runtime_args;
mod scenario_args;
mod scenarios;
mod schema;
mod server;
mod validate;
mod value_enums;
mod variables;
mod worker;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};

use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

pub use exit::Exit;
use failure::Failure;

/// The million-connection lab: how many connections will this server hold, what does each cost and where, which limit
/// comes first, and is what I read about it true?
#[derive(Debug, Parser)]
#[command(name = "c1m", version = VERSION, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Args)]
struct Global {
    /// Says less: errors and the result only.
    #[arg(short, long, global = true, env = "C1M_QUIET")]
    quiet: bool,
    /// Says more; twice says all.
    #[arg(short, long, global = true, action = ArgAction::Count, env = "C1M_VERBOSE")]
    verbose: u8,
}

/// A verb with its arguments. Each has a file of its own in this folder.
#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::BenchArgs),
    Clean(clean::CleanArgs),
    Client(client::ClientArgs),
    Completions(completions::CompletionsArgs),
    Count(count::CountArgs),
    Doctor(Box<doctor::DoctorArgs>),
    Image(image::ImageArgs),
    Init(init::InitArgs),
    Limit(Box<limit::LimitArgs>),
    Man(man::ManArgs),
    Observe(observe::ObserveArgs),
    Plan(Box<plan::PlanArgs>),
    Report(report::ReportArgs),
    Restore(restore::RestoreArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    Run(Box<run::RunArgs>),
    Scenarios(scenarios::ScenariosArgs),
    Schema(schema::SchemaArgs),
    Server(server::ServerArgs),
    Validate(validate::ValidateArgs),
}

/// Version of the program, with the git revision where it was built from a checkout.
const VERSION: &str = env!("C1M_VERSION");

/// Parses the command line, does what it says, and tells how to exit.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.collect();
    let parsed = command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let help = !error.use_stderr();
            // Nothing can be done when even the usage message cannot be written.
            let _ = error.print();
            if let Some(variable) = variables::behind(&error, &mut command(), &arguments) {
                let _ = writeln!(
                    io::stderr().lock(),
                    "The value comes from the variable {variable}."
                );
            }
            return if help { Exit::Done } else { Exit::Usage };
        }
    };
    log_to_stderr(&cli.global);
    let outcome = match &cli.verb {
        Verb::Bench(args) => bench::run(args),
        Verb::Clean(args) => clean::run(args),
        Verb::Client(args) => client::run(args),
        Verb::Completions(args) => completions::run(args),
        Verb::Count(args) => count::run(args),
        Verb::Doctor(args) => doctor::run(args),
        Verb::Image(args) => image::run(args),
        Verb::Init(args) => init::run(args),
        Verb::Limit(args) => limit::run(args, cli.global.quiet),
        Verb::Man(args) => man::run(args),
        Verb::Observe(args) => observe::run(args),
        Verb::Plan(args) => plan::run(args),
        Verb::Report(args) => report::run(args),
        Verb::Restore(args) => restore::run(args),
        Verb::Worker(args) => worker::run(args),
        Verb::Run(args) => run::run(args, cli.global.quiet),
        Verb::Scenarios(args) => scenarios::run(args),
        Verb::Schema(args) => schema::run(args),
        Verb::Server(args) => server::run(args),
        Verb::Validate(args) => validate::run(args),
    };
    let exit = match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            output::line(failure.to_string().trim_end());
            failure.exit()
        }
    };
    output::settle();
    exit
}

/// The command line as clap knows it.
fn command() -> clap::Command {
    taking_switches(Cli::command())
}

/// Lets the variable of a switch say 1, yes or on, and 0, no, off or nothing, where clap itself knows true and false alone.
fn taking_switches(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(variables::switch),
            _ => arg,
        })
        .mut_subcommands(taking_switches)
}

fn log_to_stderr(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| output::LogWriter)
        .with_ansi(colour)
        .without_time()
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests;
