//! The machine as every verb sees it: its facts, and whether a scenario fits.

use super::{Exit, Failure};
use crate::domain::HostFacts;
use crate::host;
use crate::plan::{self, DockerSupport, Plan};
use crate::provision::docker;
use crate::scenario::Scenario;

/// Looks at the host, the Docker engine included. Changes nothing.
pub(super) fn look() -> Result<HostFacts, Failure> {
    let facts = host::probe().map_err(|error| Failure::new(Exit::HostCannot, error))?;
    Ok(HostFacts {
        docker: docker::probe(),
        ..facts
    })
}

/// Chooses the place and plans.
pub(super) fn plan(scenario: &Scenario, facts: &HostFacts) -> Result<Plan, Failure> {
    let decision =
        plan::choose_place_of(scenario, facts, DockerSupport::Available).map_err(|refusal| {
            let cure = refusal.cure.clone();
            Failure::new(Exit::HostCannot, refusal).with_hint(Some(cure))
        })?;
    plan::plan(scenario, facts, &decision)
        .map_err(|refusal| Failure::new(Exit::HostCannot, refusal.to_text()))
}
