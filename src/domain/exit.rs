//! How a process ended, in words.

/// What a worker did at its end, as the rest of a sentence that begins with its name: `exited with code 1`. A signal says more
/// than a code; without either nothing is known but that it is gone.
#[must_use]
pub fn exit_text(code: Option<i32>, signal: Option<i32>, oom_killed: Option<bool>) -> String {
    let how = match (code, signal) {
        (_, Some(signal)) => format!("was ended by {}", signal_text(signal)),
        (Some(code), None) => format!("exited with code {code}"),
        (None, None) => "is gone".to_owned(),
    };
    if oom_killed == Some(true) {
        format!("{how}, killed for memory")
    } else {
        how
    }
}

/// `signal 9 (SIGKILL)`: the number, and the name where it is one that ends programs (signal(7), x86 and ARM).
#[must_use]
pub fn signal_text(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_says_more_than_a_code() {
        assert_eq!(exit_text(Some(1), None, None), "exited with code 1");
        assert_eq!(exit_text(None, None, Some(false)), "is gone");
        assert_eq!(
            exit_text(Some(137), Some(9), Some(true)),
            "was ended by signal 9 (SIGKILL), killed for memory"
        );
    }
}
