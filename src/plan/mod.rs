//! From a scenario and the facts of a host to a plan, or to a list of shortfalls. Pure: no I/O, no clock.

mod model;

pub use model::{HostPlan, Interface, Plan, PlanPlace, SettingsPlan, VethPair};
