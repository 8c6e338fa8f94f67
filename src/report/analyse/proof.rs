//! How far a plan proves its connections.

use crate::domain::{Proof, Role, RunSummary, VerifyShare, verify_of};

/// How far the plan has connections proved. A server that does not read gives no echo back.
pub(super) fn proof(plan: &RunSummary) -> Proof {
    let answers = plan
        .workers_of(Role::Server)
        .any(|worker| worker.planned.spec.answers());
    match verify_of(&plan.stages) {
        _ if !answers => Proof::None,
        VerifyShare::All => Proof::All,
        VerifyShare::None => Proof::None,
        VerifyShare::Sample(_) => Proof::Sample,
    }
}
