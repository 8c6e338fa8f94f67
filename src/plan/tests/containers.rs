//! Tests of what a plan says of containers: bounds, the range kept out of tracking, and the Compose file.

use super::*;

/// The machine of [`facts`], with a Docker engine on it.
fn facts_with_docker() -> HostFacts {
    HostFacts {
        docker: Reading::Present(DockerFacts {
            engine: "20.10.24".to_owned(),
            api: "1.41".to_owned(),
            address: "unix:///var/run/docker.sock".to_owned(),
            kernel: "6.18.0".to_owned(),
            same_kernel: true,
            unusable: None,
            subnets: Vec::new(),
        }),
        ..facts()
    }
}

/// The file that is checked in for those who would rather use Compose is what the plan of its scenario says. Written anew
/// with `C1M_BLESS=1`.
#[test]
fn the_compose_file_is_not_stale() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    // As `c1m plan --emit compose` plans: Compose has no links.
    let overrides = ["place=docker", "network=bridge"]
        .map(|text| Override::from_assignment(text).expect("an assignment"));
    let scenario = scenario::load(&root.join("lab/scenarios/100k.yaml"), &overrides)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let plan = plan_of(&scenario, &facts_with_docker()).expect("fits");
    let text = emit(&plan, Emit::Compose);
    let path = root.join("compose/compose.yaml");
    if std::env::var_os("C1M_BLESS").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let checked_in = std::fs::read_to_string(&path).expect("compose/compose.yaml");
    assert!(
        text == checked_in,
        "compose/compose.yaml is stale: C1M_BLESS=1 cargo test compose"
    );
}

#[test]
fn containers_of_the_article_are_granted_what_they_need_and_one_range_is_kept_out_of_tracking() {
    let scenario = scenario(&["place=docker", "network=bridge"]);
    let plan = plan_of(&scenario, &facts_with_docker()).expect("fits");
    let server = plan.container_bounds(HostIndex::SERVER);
    assert!(server.memory.bytes() > plan.target.count() * 4096);
    assert!(server.processes > plan.target.count() / 1024);
    let range = plan.untracked_range().expect("kept out");
    assert!(
        plan.hosts
            .iter()
            .flat_map(|host| &host.interfaces)
            .all(|interface| range.contains(&interface.subnet))
    );
}

/// With tracking left on, the table's 262,144 entries bound containers, and nothing tracks in namespaces.
#[test]
fn auto_says_how_many_would_fit_in_a_place_that_it_did_not_choose() {
    let sets = ["connections=500000", "untrack=no", "network=bridge"];
    let request = |more: &str| scenario(&[sets[0], sets[1], sets[2], more]);
    let refusal = plan_of(&request("fit=no"), &facts_with_docker()).expect_err("bounded");
    assert_eq!(refusal.place.place, PlaceKind::Docker);
    let all = ConnCount::new(500_000);
    assert_eq!(refusal.elsewhere, Some((PlaceKind::Netns, all)));
    let sentence = "500,000 would fit with --place netns";
    assert!(
        refusal.to_text().contains(sentence),
        "{}",
        refusal.to_text()
    );
    let reduced = plan_of(&request("fit=yes"), &facts_with_docker()).expect("is made to fit");
    assert!(
        reduced.notes.iter().any(|note| note == sentence),
        "{:?}",
        reduced.notes
    );
    // Whoever asks for a place is not sent to another.
    let asked = plan_of(&request("place=docker"), &facts_with_docker()).expect_err("bounded");
    assert_eq!(asked.elsewhere, None);
}

/// What joins the containers of a plan, with every reason in the words of the plan.
fn network_of(request: &str, facts: &HostFacts) -> (NetworkDriver, String) {
    let plan = plan_of(&scenario(&["place=docker", request]), facts).expect("fits");
    (plan.network_driver(), plan.to_text())
}

#[test]
fn auto_joins_containers_by_links_where_it_may_and_by_bridges_where_not() {
    let (driver, text) = network_of("connections=1000", &facts_with_docker());
    assert_eq!(driver, NetworkDriver::Link);
    assert!(text.contains("Network: link: "), "{text}");
    let mut lesser = facts_with_docker();
    lesser.capabilities = vec!["net_admin".to_owned()];
    let mut contained = facts_with_docker();
    contained.first_user_namespace = Reading::Present(false);
    let mut unknown = facts_with_docker();
    unknown.first_user_namespace = Reading::missing("/proc is not there");
    for (facts, why) in [
        (lesser, "no CAP_SYS_ADMIN"),
        (contained, "in a user namespace"),
        (unknown, "/proc is not there"),
    ] {
        let (driver, text) = network_of("connections=1000", &facts);
        assert_eq!(driver, NetworkDriver::Bridge);
        assert!(text.contains("not link: ") && text.contains(why), "{text}");
        for named in ["bridge", "macvlan"] {
            let (driver, _) = network_of(&format!("network={named}"), &facts);
            assert_eq!(driver.name(), named);
        }
        for place in ["auto", "docker"] {
            let scenario = scenario(&["network=link", &format!("place={place}")]);
            let refused = choose_place(
                scenario.place,
                scenario.network,
                &facts,
                DockerSupport::Available,
            )
            .expect_err("no link");
            assert!(refused.why.contains(why), "{refused}");
            assert!(refused.cure.contains("network: bridge"), "{}", refused.cure);
        }
    }
}

#[test]
fn links_have_the_topology_of_bridges_and_nothing_tracks_them() {
    let plan = |network: &str| {
        let scenario = scenario(&["place=docker", network]);
        plan_of(&scenario, &facts_with_docker()).expect("fits")
    };
    let (link, bridge) = (plan("network=link"), plan("network=bridge"));
    assert_eq!(link.hosts, bridge.hosts);
    assert_eq!(link.workers, bridge.workers);
    assert_eq!(link.settings, bridge.settings);
    assert_eq!(link.untracked_range(), None);
    assert!(bridge.untracked_range().is_some());
    assert!(link.budget.iter().all(|row| row.id != "conntrack"));
    let neighbours = |plan: &Plan| {
        let row = plan.budget.iter().find(|row| row.id == "neighbours");
        row.map(|row| row.need)
    };
    let pairs: usize = link.hosts[1..]
        .iter()
        .map(|host| host.interfaces.len())
        .sum();
    assert_eq!(neighbours(&link), Some(2 * pairs as u64));
}

/// Where the place has no containers, the request says nothing and refuses nothing.
#[test]
fn a_link_is_no_condition_of_other_places() {
    let mut facts = facts();
    facts.first_user_namespace = Reading::Present(false);
    let scenario = scenario(&["network=link", "place=netns"]);
    let plan = plan_of(&scenario, &facts).expect("fits");
    assert_eq!(plan.place.network, None);
}
