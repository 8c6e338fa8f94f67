//! The place `host`: the machine's own loopback, on which others live too.

use super::*;

#[test]
fn the_host_itself_is_taken_only_when_it_is_asked_for() {
    let plan = plan_of(&scenario(&["place=host", "connections=200000"]), &facts()).expect("fits");
    assert_eq!(plan.how, PlaceMaking::HostLoopback);
    assert_eq!(plan.place.place, PlaceKind::Host);
    assert!(plan.place.asked && !plan.how.needs_user_namespace());
    assert!(plan.settings.namespace.is_empty() && plan.settings.established_hash_entries.is_none());
    let private = plan_of(
        &scenario(&["place=loopback", "connections=200000"]),
        &facts(),
    )
    .expect("fits");
    assert_ne!(private.how, PlaceMaking::HostLoopback);
}

#[test]
fn what_would_fill_the_hosts_table_of_connection_tracking_is_refused() {
    let refusal = plan_of(&scenario(&["place=host", "connections=240000"]), &facts())
        .expect_err("it would leave too little of 262,144 entries");
    let ids: Vec<&str> = refusal
        .shortfalls
        .iter()
        .map(|shortfall| shortfall.row.id.as_str())
        .collect();
    assert_eq!(ids, ["conntrack"]);
    assert_eq!(refusal.shortfalls[0].row.binding, Binding::Hard);
    assert_eq!(refusal.fits.count(), 235_000);

    let mut without_rules = facts();
    without_rules.conntrack.tracks_loopback = Reading::Present(false);
    let plan = plan_of(
        &scenario(&["place=host", "connections=240000"]),
        &without_rules,
    )
    .expect("nothing tracks");
    assert!(plan.budget.iter().all(|row| row.id != "conntrack"));
}

#[test]
fn settings_of_a_namespace_are_not_applied_to_the_host_and_that_is_said() {
    let plan = plan_of(
        &scenario(&[
            "place=host",
            "connections=1000",
            "settings.namespace.net.core.somaxconn=5000",
        ]),
        &facts(),
    )
    .expect("fits");
    assert!(plan.settings.namespace.is_empty());
    assert!(plan.notes.iter().any(|note| note.contains("not applied")));
}
