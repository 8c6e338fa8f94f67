//! Planning with numbers from end to end of their ranges: a plan or a refusal, never a panic.

use super::*;

fn word(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(of)
}

/// A limit of a machine: nothing, little, a lot, not known.
fn limit() -> impl Strategy<Value = Reading<u64>> {
    prop_oneof![
        Just(Reading::missing("not readable")),
        (0_u64..3).prop_map(Reading::Present),
        (0_u64..10_000_000).prop_map(Reading::Present),
        (0_u64..1 << 62).prop_map(Reading::Present),
        Just(Reading::Present(u64::MAX)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_scenario_is_planned_or_refused(
        place in word(&["auto", "docker", "host", "loopback", "netns"]),
        connections in prop_oneof![1_u64..100, 1_u64..10_000_000, any::<u64>()],
        hosts in 1_u32..1000, interfaces in 1_u32..64, addresses in 1_u32..60_000, each in 1_u32..=64_512,
        servers in prop_oneof![1_u32..4, 1_u32..60_000], ports in 1_u16..20, grouped in any::<bool>(),
        choice in word(&["explicit", "range", "no_port", "kernel"]), tables in word(&["many", "one"]),
        accept in word(&["yes", "no"]), fit in word(&["yes", "no"]), engine in word(&["epoll", "tokio"]),
        limits in prop::collection::vec(limit(), 7), hard in 0_u64..1 << 40, free in 0_u64..1 << 50, rate in 1_u64..,
        range in (1_u16.., 1_u16..), user in any::<bool>(), cpus in 0_usize..300,
    ) {
        let listed: Vec<String> = (0..ports).map(|port| (9000 + port).to_string()).collect();
        let mut sets = vec![
            format!("connections={connections}"), format!("fit={fit}"), format!("place={place}"),
            format!("server={{addresses: {servers}, ports: [{}], accept: {accept}, engine: {engine}}}", listed.join(", ")),
            format!("descriptor_tables={tables}"), format!("ramp.rate={rate}/s"), format!("clients.ports={choice}"),
        ];
        if grouped {
            sets.push(format!(
                "clients.groups=[{{hosts: {hosts}, interfaces: {interfaces}, addresses_per_interface: {addresses}, connections_per_address: {each}}}]"
            ));
        }
        let overrides: Vec<Override> = sets.iter().map(|set| Override::from_assignment(set).expect("an assignment")).collect();
        // What is beyond all reason the scenario refuses already.
        if let Ok(scenario) = scenario::built_in(&overrides) {
            let mut facts = if user { facts_of_a_user() } else { facts() };
            facts.cpus = cpus;
            facts.memory.free = Bytes::new(free);
            facts.memory.total = Bytes::new(free);
            facts.descriptors.hard = if hard == 0 { Limit::Unlimited } else { Limit::At(hard) };
            let [files, watches, threads, neighbours, entries, tracked, somaxconn] = limits.try_into().expect("seven");
            facts.descriptors.file_max = files;
            facts.descriptors.epoll_watches = watches;
            facts.descriptors.threads_max = threads;
            facts.net.neighbour_limit = neighbours;
            facts.conntrack.limit = entries;
            facts.conntrack.entries = tracked;
            facts.net.somaxconn = somaxconn;
            facts.net.port_range = PortRange::new(range.0, range.1).map_err(|error| error.to_string()).into();
            match choose_place(scenario.place, scenario.network, &facts, DockerSupport::Available).map(|decision| plan(&scenario, &facts, &decision)) {
                Ok(Ok(plan)) => {
                    prop_assert!(plan.budget.iter().all(BudgetRow::fits), "{:?}", plan.budget);
                    prop_assert!(!plan.to_text().is_empty());
                    prop_assert!(!emit(&plan, Emit::Sysctl).is_empty());
                }
                Ok(Err(refusal)) => prop_assert!(!refusal.to_text().is_empty()),
                Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            }
        }
    }
}
