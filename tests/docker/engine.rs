//! Which engine is used, which is refused, and what the engine may give.

use c1m::domain::{Limit, RunId};
use c1m::provision::WorkerProgram;
use c1m::provision::docker::try_limits;

use crate::support::Lab;
use crate::{docker, small, traces};

#[test]
fn an_engine_that_is_not_there_is_named_with_the_reason() {
    let lab = Lab::new();
    let scenario = small(&lab, "hold: 1s\n");
    let mut command = lab.command(&["run", &scenario]);
    command.env("DOCKER_HOST", "unix:///run/no-such-engine.sock");
    let ended = crate::support::Running::start(command).finish().expect(4);
    assert!(
        ended.stderr.contains("no-such-engine.sock"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_engine_on_another_machine_is_refused_in_a_sentence() {
    let lab = Lab::new();
    let scenario = small(&lab, "hold: 1s\n");
    let mut command = lab.command(&["run", &scenario]);
    command.env("DOCKER_HOST", "tcp://192.0.2.1:2375");
    let ended = crate::support::Running::start(command).finish().expect(4);
    assert!(ended.stderr.contains("another machine"), "{}", ended.stderr);
}

#[test]
fn what_the_engine_may_give_is_found_with_real_containers_that_are_gone_afterwards() {
    let before = traces();
    let program = WorkerProgram::other(env!("CARGO_BIN_EXE_c1m"), Vec::new());
    let limits = try_limits(&RunId::from_random(0xd0c5_0001), &program).expect("tried");
    assert!(limits.given.0 > 0);
    if let (Some(most), Limit::At(hard)) = (limits.most, limits.given.1) {
        assert!(most > 0 && hard > 0);
    }
    assert_eq!(before, traces());
    assert!(docker(&["ps", "-aq", "--filter", "label=io.c1m.run=d0c50001"]).is_empty());
}
