//! The command line as a whole: what holds for every verb and every flag.

use clap::{Arg, ArgAction, Command};

use super::command;

/// Every verb with its path, such as `c1m run`; hidden ones too.
fn verbs() -> Vec<(String, Command)> {
    fn walk(path: &str, command: &Command, found: &mut Vec<(String, Command)>) {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        for below in command.get_subcommands() {
            walk(&path, below, found);
        }
        found.push((path, command.clone()));
    }
    let mut found = Vec::new();
    walk("", &command(), &mut found);
    assert!(found.len() > 10, "the verbs are not where they were");
    found
}

fn is_clap_own(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    )
}

#[test]
fn clap_finds_no_fault_with_it() {
    command().debug_assert();
}

/// A flag without a variable cannot be set in a unit file, a Compose file or a CI job. A hidden verb is the program's own.
#[test]
fn every_flag_has_a_variable() {
    let mut without = Vec::new();
    for (path, verb) in verbs().into_iter().filter(|(_, verb)| !verb.is_hide_set()) {
        for arg in verb
            .get_arguments()
            .filter(|arg| !arg.is_positional() && !is_clap_own(arg))
            // A place between other flags, which a variable has not: C1M_SET can say the same.
            .filter(|arg| arg.get_id() != "then")
        {
            let name = arg.get_env().and_then(|name| name.to_str());
            if !name.is_some_and(|name| name.starts_with("C1M_")) {
                without.push(format!("{path} --{}", arg.get_id()));
            }
        }
    }
    assert!(without.is_empty(), "without a C1M_ variable: {without:?}");
}

#[test]
fn every_verb_and_every_flag_says_what_it_does() {
    for (path, verb) in verbs() {
        assert!(verb.get_about().is_some(), "{path} has no description");
        for arg in verb.get_arguments().filter(|arg| !is_clap_own(arg)) {
            assert!(
                arg.get_help().is_some(),
                "{path}: {} has no help",
                arg.get_id()
            );
        }
    }
}
