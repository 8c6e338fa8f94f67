//! Values that come from the environment: what a switch may say there, and which variable a wrong value came from.

use std::env;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

/// What the variable of a switch says.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "" | "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

/// The variable that a wrong value comes from, where the user did not type it: clap's own message names the flag alone.
pub(super) fn behind(
    error: &clap::Error,
    command: &mut Command,
    typed: &[OsString],
) -> Option<String> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // Only a command that was built can show its arguments as clap's messages do.
    command.build();
    let command = &*command;
    // As in `--hold <DURATION>`, or `<ADDRESS:PORT>`.
    let verb = typed
        .iter()
        .find_map(|word| command.find_subcommand(word))
        .unwrap_or(command);
    let arg = verb.get_arguments().find(|arg| arg.to_string() == *shown)?;
    let variable = arg.get_env()?.to_str()?;
    (env::var_os(variable).is_some() && !is_typed(arg, typed)).then(|| variable.to_owned())
}

fn is_typed(arg: &Arg, typed: &[OsString]) -> bool {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    typed.iter().any(|word| {
        let word = word.to_string_lossy();
        let is_long = long
            .as_ref()
            .is_some_and(|long| word == *long || word.starts_with(&format!("{long}=")));
        let is_short = short
            .as_ref()
            .is_some_and(|short| word.starts_with(short.as_str()));
        is_long || is_short
    })
}
