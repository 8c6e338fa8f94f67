//! Who is alive, who is gone, and of whom it cannot be told.

use super::*;

fn own() -> ProcessIdentity {
    ProcessIdentity {
        pid: 50,
        start_time: Some(1),
        boot_id: Some("this-boot".to_owned()),
        pid_namespace: Some(FIRST_PID_NAMESPACE),
        time_namespace: Some(3),
        uid: Some(0),
    }
}

fn runner() -> ProcessIdentity {
    ProcessIdentity {
        pid: 7,
        start_time: Some(99),
        ..own()
    }
}

/// How `who` is judged by `own`, where looking its number up finds `found`, and looking through all processes `searched`.
fn judged_by(own: &ProcessIdentity, who: &ProcessIdentity, found: Look, searched: Look) -> Life {
    who.life_seen_by(own, |_| found, |_, _| searched)
}

fn judged(who: &ProcessIdentity, found: Look) -> Life {
    judged_by(&own(), who, found, Look::Hidden("not searched".to_owned()))
}

fn is_unknown(life: &Life) -> bool {
    matches!(life, Life::Unknown(_))
}

#[test]
fn a_process_is_known_by_number_and_time() {
    assert_eq!(judged(&runner(), Look::Began(99)), Life::Alive);
    assert_eq!(judged(&runner(), Look::Began(98)), Life::Gone);
    assert_eq!(judged(&runner(), Look::Nobody), Life::Gone);
}

#[test]
fn a_hidden_process_is_not_gone() {
    let life = judged(&runner(), Look::Hidden("hidepid".to_owned()));
    assert!(is_unknown(&life), "{life:?}");
}

#[test]
fn another_time_namespace_makes_the_start_time_useless_but_not_the_absence() {
    let elsewhere = ProcessIdentity {
        time_namespace: Some(4),
        ..runner()
    };
    assert!(is_unknown(&judged(&elsewhere, Look::Began(98))));
    assert_eq!(judged(&elsewhere, Look::Nobody), Life::Gone);
}

#[test]
fn a_process_of_another_namespace_is_searched_from_the_first_one_only() {
    let inside = ProcessIdentity {
        pid_namespace: Some(5),
        ..runner()
    };
    let first = own();
    for (searched, life) in [
        (Look::Nobody, Life::Gone),
        (Look::Began(99), Life::Alive),
        (Look::Began(98), Life::Gone),
    ] {
        assert_eq!(judged_by(&first, &inside, Look::Nobody, searched), life);
    }
    let other = ProcessIdentity {
        pid_namespace: Some(6),
        ..own()
    };
    let life = judged_by(&other, &runner(), Look::Nobody, Look::Nobody);
    assert!(is_unknown(&life), "{life:?}");
}

#[test]
fn another_boot_is_over_unless_the_namespace_differs_too() {
    let earlier = ProcessIdentity {
        boot_id: Some("another-boot".to_owned()),
        ..runner()
    };
    assert_eq!(judged(&earlier, Look::Began(99)), Life::GoneWithItsBoot);
    let contained = ProcessIdentity {
        pid_namespace: Some(5),
        ..earlier
    };
    assert!(is_unknown(&judged(&contained, Look::Nobody)));
}

#[test]
fn what_was_not_written_down_leaves_the_process_alive() {
    for incomplete in [
        ProcessIdentity {
            boot_id: None,
            ..runner()
        },
        ProcessIdentity {
            pid_namespace: None,
            ..runner()
        },
    ] {
        assert!(is_unknown(&judged(&incomplete, Look::Nobody)));
        assert!(is_unknown(&judged(&incomplete, Look::Began(98))));
        assert_eq!(judged(&incomplete, Look::Began(99)), Life::Alive);
    }
    let timeless = ProcessIdentity {
        start_time: None,
        ..runner()
    };
    assert!(is_unknown(&judged(&timeless, Look::Began(99))));
}

#[test]
fn an_identity_is_read_from_its_own_text() {
    let current = ProcessIdentity::current();
    assert_eq!(
        ProcessIdentity::parse(&current.to_string()),
        Some(current.clone())
    );
    let sparse = ProcessIdentity::parse("pid=7,later=1").expect("has a number");
    assert_eq!((sparse.pid, sparse.start_time), (7, None));
    let earlier = ProcessIdentity::parse("7:99").expect("as earlier versions wrote it");
    assert_eq!((earlier.pid, earlier.start_time), (7, Some(99)));
    assert_eq!(earlier.boot_id, None);
    assert_eq!(ProcessIdentity::parse("7:"), None);
    assert_eq!(ProcessIdentity::parse(""), None);
    assert_eq!(current.life(), Life::Alive);
}

#[test]
fn this_process_is_found_and_one_that_never_was_is_not() {
    let pid = std::process::id();
    assert!(matches!(look_up(pid), Look::Began(_)));
    assert_eq!(look_up(u32::MAX / 4), Look::Nobody);
}

#[test]
fn the_innermost_number_is_the_last_one() {
    let status = "Name:\tc1m\nNStgid:\t900\t7\nNSpid:\t900\t7\n";
    assert_eq!(innermost_number(status), Some(7));
    assert_eq!(innermost_number("NSpid:\t900\t8\t7\n"), Some(7));
    assert_eq!(innermost_number("NSpid:\t7\n"), None, "in our own");
    assert_eq!(innermost_number("Name:\tc1m\n"), None);
}

#[test]
fn a_mount_that_hides_processes_is_known_by_its_options() {
    let line = |options: &str| format!("23 29 0:22 / /proc rw,nosuid - proc proc {options}\n");
    assert!(hides_what_cannot_be_traced(&line("rw,hidepid=ptraceable")));
    assert!(!hides_what_cannot_be_traced(&line("rw,hidepid=invisible")));
    assert!(!hides_what_cannot_be_traced(&line("rw")));
}
