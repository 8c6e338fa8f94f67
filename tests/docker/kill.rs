//! The runner killed outright at many moments of a run in containers: `c1m clean` removes all that it left and nothing else.

use std::time::{Duration, Instant};

use crate::support::{Lab, Running};
use crate::{Network, docker, small, traces};

/// Moments of a run that are seen from outside, each followed by a delay that grows from one kill to the next.
const PHASES: [&str; 5] = ["provision", "baseline", "ramp", "hold", "drain"];

#[test]
fn a_run_whose_runner_is_killed_at_20_moments_is_removed_by_clean() {
    docker(&["network", "create", "--internal", "not-of-the-lab"]);
    let foreign = Network("not-of-the-lab");
    for network in ["bridge", "link"] {
        kill_at_20_moments(network);
    }
    let listed = docker(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(listed.lines().any(|name| name == foreign.0), "{listed}");
}

fn kill_at_20_moments(network: &str) {
    let before = traces();
    for kill in 0..20_u32 {
        let lab = Lab::new();
        let scenario = small(&lab, &format!("hold: 2s\nnetwork: {network}\n"));
        let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "plain"]));
        let phase = PHASES[kill as usize % PHASES.len()];
        run.await_line(&format!("{phase}: "));
        // No event of the outside marks these moments: they lie anywhere between two phases.
        let moment = Instant::now() + Duration::from_millis(u64::from(kill / 5) * 350);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        run.signal("KILL");
        drop(run.finish());
        let cleaned = lab.run(&["clean"]).expect(0);
        let what = format!("{network}, killed in {phase}: {}", cleaned.stdout);
        assert_eq!(before, traces(), "{what}");
    }
}

#[test]
fn a_live_run_is_left_alone_by_a_sweep_of_another_directory() {
    let lab = Lab::new();
    let scenario = small(&lab, "hold: 10s\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "plain"]));
    run.await_line("hold: ");
    let elsewhere = Lab::new();
    let swept = elsewhere.run(&["clean"]).expect(0);
    assert!(
        !swept.stdout.contains("removed container"),
        "{}",
        swept.stdout
    );
    let ended = run.finish().expect(0);
    assert!(ended.stdout.starts_with("HELD 3,000"), "{}", ended.stdout);
}
