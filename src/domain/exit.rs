//! How a process ended, in words.

/// What a worker did at its end, as the rest of a sentence that begins with its name: `exited with code 1`. A signal says more
/// than a code; without either nothing is known but that it is gone.
#[must_use]
pub fn exit_text(code: Option<i32>, signal: Option<i32>, oom_killed: Option<bool>) -> String {
    let how = match (code, signal) {
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        (Some(code), None) => format!("exited with code {code}"),
        (None, None) => "is gone".to_owned(),
    };
    if oom_killed == Some(true) {
        format!("{how}, killed for memory")
    } else {
        how
    }
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
            "was ended by signal 9, killed for memory"
        );
    }
}
