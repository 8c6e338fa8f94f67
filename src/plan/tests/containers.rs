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
    let overrides = [Override::from_assignment("place=docker").expect("an assignment")];
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
    let scenario = scenario(&["place=docker"]);
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
    let wishes = ["connections=500000", "untrack=no"];
    let wish = |more: &str| scenario(&[wishes[0], wishes[1], more]);
    let refusal = plan_of(&wish("fit=no"), &facts_with_docker()).expect_err("bounded");
    assert_eq!(refusal.place.place, PlaceKind::Docker);
    let all = ConnCount::new(500_000);
    assert_eq!(refusal.elsewhere, Some((PlaceKind::Netns, all)));
    let sentence = "500,000 would fit with --place netns";
    assert!(
        refusal.to_text().contains(sentence),
        "{}",
        refusal.to_text()
    );
    let reduced = plan_of(&wish("fit=yes"), &facts_with_docker()).expect("is made to fit");
    assert!(
        reduced.notes.iter().any(|note| note == sentence),
        "{:?}",
        reduced.notes
    );
    // Whoever asks for a place is not sent to another.
    let asked = plan_of(&wish("place=docker"), &facts_with_docker()).expect_err("bounded");
    assert_eq!(asked.elsewhere, None);
}
