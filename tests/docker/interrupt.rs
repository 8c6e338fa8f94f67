//! Two signals to a run in containers: what is left is said by the exit code, and removed by `c1m clean`.

use crate::support::{Lab, Running};
use crate::{small, traces};

#[test]
fn a_second_ctrl_c_says_by_its_exit_code_that_containers_may_be_left() {
    let before = traces();
    let lab = Lab::new();
    let scenario = small(&lab, "hold: 100s\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "plain"]));
    run.await_line("hold: ");
    run.signal("INT");
    // Removing containers takes far longer than the signal does.
    run.await_line("drain: ");
    run.signal("INT");
    let ended = run.finish().expect(9);
    assert!(
        ended.stderr.contains("containers and networks")
            && ended.stderr.contains("clean up by: c1m clean"),
        "{}",
        ended.stderr
    );
    lab.run(&["clean"]).expect(0);
    assert_eq!(before, traces());
}
