//! Which engine is chosen, which is refused, and with which words.

use super::*;

fn found() -> Found {
    Found {
        kernel: "6.12.1".to_owned(),
        system: "Debian GNU/Linux 12".to_owned(),
        memory: Some(1 << 34),
        is_podman: false,
        rootless: false,
        listener: Listener::Named("dockerd".to_owned()),
    }
}

fn here() -> Here {
    Here {
        kernel: "6.12.1".to_owned(),
        memory: Some(1 << 34),
        may_write_rules: true,
        engine_runs: true,
    }
}

#[test]
fn an_engine_of_this_kernel_is_usable() {
    let verdict = judge(&found(), &here());
    assert!(verdict.same_kernel);
    assert_eq!(verdict.unusable, None);
}

#[test]
fn a_virtual_machine_of_a_desktop_is_refused_by_name() {
    let desktop = Found {
        system: "Docker Desktop".to_owned(),
        ..found()
    };
    let verdict = judge(&desktop, &here());
    assert!(!verdict.same_kernel);
    assert!(
        verdict
            .unusable
            .expect("a reason")
            .contains("Docker Desktop")
    );
}

#[test]
fn a_twin_machine_behind_a_forwarded_socket_is_refused() {
    let forwarded = Found {
        listener: Listener::Named("ssh".to_owned()),
        ..found()
    };
    assert!(!judge(&forwarded, &here()).same_kernel);
    let other_memory = Found {
        memory: Some((1 << 34) + 4096),
        ..found()
    };
    assert!(!judge(&other_memory, &here()).same_kernel);
}

#[test]
fn podman_rootless_and_a_user_without_rules_are_the_same_kernel_but_unusable() {
    let podman = Found {
        is_podman: true,
        ..found()
    };
    let rootless = Found {
        rootless: true,
        ..found()
    };
    let user = Here {
        may_write_rules: false,
        ..here()
    };
    for (found, here, word) in [
        (podman, here(), "Podman"),
        (rootless, here(), "rootless"),
        (found(), user, "CAP_NET_ADMIN"),
    ] {
        let verdict = judge(&found, &here);
        assert!(verdict.same_kernel);
        assert!(verdict.unusable.expect("a reason").contains(word));
    }
}

/// An engine whose socket `name` holds.
fn held_by(name: &str) -> Found {
    Found {
        listener: Listener::Named(name.to_owned()),
        ..found()
    }
}

#[test]
fn nothing_is_removed_from_an_engine_that_is_not_proved_to_be_here() {
    let twin = Found {
        kernel: "6.12.2".to_owned(),
        ..found()
    };
    let nobody = Found {
        listener: Listener::Unknown,
        ..found()
    };
    let contained = Found {
        listener: Listener::OutsideOurProcesses,
        ..found()
    };
    for unproved in [twin, nobody, contained, held_by("socat"), held_by("ssh")] {
        prove_here(&unproved, &here(), &Witness::None).expect_err("not proved");
    }
    let contradicted = Witness::Contradicts("process 7 is another one here".to_owned());
    prove_here(&found(), &here(), &contradicted).expect_err("contradicted");
}

#[test]
fn an_engine_is_proved_by_its_listener_or_by_a_process_of_a_container() {
    prove_here(&found(), &here(), &Witness::None).expect("dockerd listens");
    prove_here(&held_by("socat"), &here(), &Witness::Seen).expect("seen");
    prove_here(&held_by("systemd"), &here(), &Witness::None).expect("an engine runs");
    let without = Here {
        engine_runs: false,
        ..here()
    };
    prove_here(&held_by("systemd"), &without, &Witness::None).expect_err("it may forward");
}

#[test]
fn a_process_seen_on_another_kernel_proves_nothing() {
    let desktop = Found {
        system: "Docker Desktop".to_owned(),
        ..found()
    };
    prove_here(&desktop, &here(), &Witness::Seen).expect_err("a virtual machine");
}
