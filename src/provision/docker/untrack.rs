//! Packet rules on the host that keep the lab's range out of its connection tracking, and the objects of the host that are
//! noted in the journal before they are made: with them, what can remove them again.

use ipnet::Ipv4Net;

use crate::domain::RunId;
use crate::kernel::netlink::nftables::{PacketRules, Rule, RulesError};
use crate::kernel::netlink::route::RouteSocket;
use crate::provision::ProvisionError;

/// What the journal calls a table of packet rules.
pub(super) const TABLE: &str = "packet-rules";
/// What the journal calls a veth pair.
pub(super) const VETH: &str = "veth";

/// Removes an object of the host that a journal names, in the namespace of the calling thread.
///
/// # Errors
/// When it cannot be removed, or the kind is not one of this place. That it is gone already is no error.
pub fn remove_object(kind: &str, name: &str) -> Result<(), String> {
    match kind {
        TABLE => take_out(name).map_err(|error| error.to_string()),
        VETH => remove_veth(name).map_err(|error| error.to_string()),
        other => Err(format!("nobody knows how to remove a {other}")),
    }
}

/// The name of the run's table.
pub(super) fn table_of(run: &RunId) -> String {
    format!("c1m-{run}")
}

/// Puts the rules in and reads them back, in the namespace of the calling thread.
pub(super) fn put_in(table: &str, range: Ipv4Net) -> Result<(), ProvisionError> {
    let failed = |error: RulesError| {
        let hint = error.hint();
        let failed = ProvisionError::new(
            format!("keep {range} out of connection tracking on the host"),
            error,
        );
        match hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    };
    let mut rules = open(table)?;
    rules.untrack(table, range).map_err(failed)?;
    let found = rules.rules(table).map_err(failed)?;
    if found.len() == 2 && found.iter().all(untracks) {
        return Ok(());
    }
    Err(ProvisionError::new(
        format!("keep {range} out of connection tracking on the host"),
        format!("the rules of table {table} were put in, and are not there when read back"),
    ))
}

/// Takes the rules out and sees that they are gone.
pub(super) fn take_out(table: &str) -> Result<(), ProvisionError> {
    let failed =
        |error: RulesError| ProvisionError::new(format!("remove packet rules {table}"), error);
    let mut rules = open(table)?;
    rules.remove(table).map_err(failed)?;
    if rules.rules(table).map_err(failed)?.is_empty() {
        Ok(())
    } else {
        Err(ProvisionError::new(
            format!("remove packet rules {table}"),
            "they were removed, and are still there when read back",
        ))
    }
}

/// Removes a veth pair by the name of one end. Not an error when it is gone.
pub(super) fn remove_veth(name: &str) -> Result<(), ProvisionError> {
    let failed = |error: &dyn std::fmt::Display| {
        ProvisionError::new(format!("remove the veth pair {name}"), error)
    };
    let mut route = RouteSocket::open().map_err(|error| failed(&error))?;
    let links = route.links().map_err(|error| failed(&error))?;
    let Some(link) = links.into_iter().find(|link| link.name == name) else {
        return Ok(());
    };
    route
        .remove_link(link.index)
        .map_err(|error| failed(&error))
}

fn open(table: &str) -> Result<PacketRules, ProvisionError> {
    PacketRules::open().map_err(|error| {
        ProvisionError::new(
            format!("speak to the kernel about packet rules {table}"),
            error,
        )
        .with_hint("this kernel has no netfilter: set `untrack: false`")
    })
}

fn untracks(rule: &Rule) -> bool {
    rule.expressions.last().map(String::as_str) == Some("notrack")
}
