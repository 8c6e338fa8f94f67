//! `scenario.resolved.yaml` is a scenario file: what a run records of its scenario reads as the same scenario again, for
//! every shipped file and for generated ones. And whatever stands in a file, the loader answers; it never panics.

use std::fs;
use std::path::{Path, PathBuf};

use c1m::scenario::{self, Override, Scenario};
use proptest::prelude::*;
use serde_json::{Value, json};

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no scenario");
    files
}

/// The scenario after it was written and read again, from a file whose name says nothing.
fn again(scenario: &Scenario) -> Scenario {
    let text = scenario::to_yaml(scenario).expect("it can be written");
    scenario::parse(&text, "scenario.resolved.yaml", &[])
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

#[test]
fn every_file_reads_as_the_same_scenario_after_it_was_resolved() {
    for folder in ["lab/scenarios", "tests/fixtures/scenarios/valid"] {
        for path in yaml_files(folder) {
            let scenario = scenario::load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(again(&scenario), scenario, "{}", path.display());
        }
    }
    let built_in = scenario::built_in_default();
    assert_eq!(again(&built_in), built_in);
}

#[test]
fn what_is_recorded_can_be_checked_by_the_published_schema() {
    let schema = scenario::schema();
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for path in yaml_files("tests/fixtures/scenarios/valid") {
        let scenario = scenario::load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let text = scenario::to_yaml(&scenario).expect("it can be written");
        let json: Value = serde_yaml::from_str(&text).expect("YAML");
        assert!(validator.is_valid(&json), "{text}");
    }
}

/// A length of time in each way that a file may say it.
fn duration() -> impl Strategy<Value = String> {
    prop_oneof![
        (1_u64..31_000_000, 0_u32..1_000_000_000).prop_map(|(s, ns)| format!("{s}.{ns:09}s")),
        (1_u64..4_000_000).prop_map(|ms| format!("{ms}ms")),
        (1_u64..8760).prop_map(|h| format!("{h} h")),
    ]
}

fn group() -> impl Strategy<Value = Value> {
    (1_u32..5, 1_u32..5, 1_u32..50, 1_u32..=64_512, port_choice()).prop_map(
        |(hosts, interfaces, addresses, each, ports)| {
            json!({
                "hosts": hosts, "interfaces": interfaces, "addresses_per_interface": addresses,
                "connections_per_address": each, "ports": ports,
            })
        },
    )
}

fn port_choice() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["explicit", "range", "no_port", "kernel"])
}

fn keepalive() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("no")),
        (1_u32..=32_767, 1_u32..=32_767, 1_u32..=127).prop_map(|(idle, interval, probes)| {
            json!({"idle": format!("{idle}s"), "interval": format!("{interval}s"), "probes": probes})
        }),
    ]
}

prop_compose! {
    fn server()(
        engine in prop::sample::select(vec!["epoll", "tokio"]), addresses in 1_u32..20,
        ports in prop::collection::btree_set(1_u16.., 1..5), acceptors in prop_oneof![Just(json!("auto")), (1_u32..=4096).prop_map(Value::from)],
        service in prop::sample::select(vec!["queue", "accept", "silent", "echo"]), older in prop::option::of((any::<bool>(), any::<bool>())), keepalive in keepalive(), backlog in prop::option::of(1_u32..=2_147_483_647),
    ) -> Value {
        let mut server = json!({
            "engine": engine, "addresses": addresses, "ports": ports, "acceptors": acceptors, "keepalive": keepalive,
        });
        match older {
            // The keys of earlier versions.
            Some((accept, read)) => {
                server["accept"] = accept.into();
                server["read"] = read.into();
            }
            // Only this engine leaves connections unwatched, and only with threads that have a table each.
            None if service == "accept" => {
                server["service"] = service.into();
                server["engine"] = "epoll".into();
                server["acceptors"] = "auto".into();
            }
            None => server["service"] = service.into(),
        }
        if let Some(backlog) = backlog {
            server["backlog"] = backlog.into();
        }
        server
    }
}

prop_compose! {
    fn settings()(
        range in "[ ]{0,2}[0-9]{1,5} +[0-9]{1,5}", text in "[!-~]{1,12}( [!-~]{1,12})?", least in any::<u64>(), size in 1_u64..100,
    ) -> Value {
        json!({
            "namespace": {"net.ipv4.ip_local_port_range": range, "net.ipv4.tcp_rmem": text},
            "host": {"fs.file-max": {"at_least": least}, "vm.min_free_kbytes": format!("{size}MiB")},
        })
    }
}

prop_compose! {
    /// A scenario file that is right, with nothing left to its default at random.
    fn valid()(
        name in "[^\\p{Cc}]{1,60}", description in any::<String>(), connections in 1_u64..,
        fit in any::<bool>(), hold in duration(), place in prop::sample::select(vec!["auto", "docker", "host", "loopback", "netns"]),
        network in prop::sample::select(vec!["auto", "bridge", "link", "macvlan"]),
        rate in prop_oneof![Just("as_fast_as_possible".to_owned()), (1_u64..).prop_map(|n| format!("{n}/s")), "[1-9][0-9]{0,5}\\.[0-9]{1,9}/min"],
        in_flight in 1_u32..=1_000_000, says_nothing in any::<bool>(), server in server(), groups in prop::option::of(prop::collection::vec(group(), 1..4)),
        tables in prop::sample::select(vec!["many", "one"]), loss in prop::sample::select(vec!["end", "continue"]),
        verify in prop_oneof![Just(None), Just(Some(json!("none"))), (1_u32..).prop_map(|n| Some(json!({"sample": n}))),
            (1_u32.., 1_u32..).prop_map(|(n, rate)| Some(json!({"sample": n, "rate": format!("{rate}/min")}))), (1_u32..).prop_map(|rate| Some(json!({"rate": format!("{rate}/s")})))],
        settings in settings(), bound in any::<f64>().prop_filter("a number", |bound| bound.is_finite()), most in any::<bool>(),
        formats in prop::collection::vec(prop::sample::select(vec!["markdown", "charts"]), 0..3), keepalive in keepalive(),
    ) -> Value {
        let mut file = json!({
            "name": name, "description": description.replace('\0', ""), "fit": fit, "hold": hold, "place": place, "network": network,
            "ramp": {"rate": rate, "in_flight": in_flight, "connect_timeout": "3s"},
            "clients": {"keepalive": keepalive}, "descriptor_tables": tables, "on_worker_loss": loss, "settings": settings,
            "thresholds": {"ramp.rate_per_second": if most { json!({"at_most": bound}) } else { json!({"at_least": bound}) }},
            "formats": formats,
        });
        let answers = match server["service"].as_str() {
            Some(service) => service == "echo",
            None => server["accept"] == true && server["read"] == true,
        };
        if says_nothing {
            file["protocol"] = "tcp".into();
        } else if answers
            && let Some(verify) = verify
        {
            file["verify"] = verify;
        }
        match groups {
            Some(groups) => file["clients"]["groups"] = groups.into(),
            None => file["connections"] = (connections % 2_000_000_000 + 1).into(),
        }
        file["server"] = server;
        file
    }
}

/// Words of scenario files, and others.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "connections",
        "clients",
        "groups",
        "server",
        "ports",
        "ramp",
        "rate",
        "hold",
        "verify",
        "sample",
        "keepalive",
        "idle",
        "settings",
        "host",
        "namespace",
        "fs.file-max",
        "thresholds",
        "at_least",
        "backlog",
        "addresses",
        "hosts",
        "interfaces",
        "addresses_per_interface",
        "connections_per_address",
        "name",
        "formats",
        "acceptors",
        "x-mine",
        "protocol",
        "http",
        "path",
        "script",
        "open",
        "steps",
        "send",
        "expect",
        "exactly",
        "all",
        "yes",
        "auto",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

/// Any value at all: huge numbers, times beyond all bounds, lists where maps belong.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "1e300s",
            "99999999999999999999999h",
            "18446744073709551615",
            "18446744073709551616",
            "-1",
            "99999999999TiB",
            "1_._s",
            "999999999999999999999/s",
            "\u{feff}",
        ])
        .prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_generated_scenario_reads_as_the_same_after_it_was_resolved(file in valid()) {
        let scenario = match scenario::parse(&file.to_string(), "any.yaml", &[]) {
            Ok(scenario) => scenario,
            Err(errors) => panic!("{errors}"),
        };
        prop_assert_eq!(&scenario.name, file["name"].as_str().expect("a text"));
        prop_assert_eq!(again(&scenario), scenario);
    }

    #[test]
    fn any_value_is_answered(file in anything(), key in "[a-z.0-9]{0,12}", name in any::<String>()) {
        let set = Override::from_assignment(&format!("{key}={file}"));
        let sets: Vec<Override> = set.into_iter().collect();
        for text in [file.to_string(), serde_yaml::to_string(&file).expect("YAML")] {
            match scenario::parse(&text, &name, &[]) {
                Ok(scenario) => prop_assert_eq!(again(&scenario), scenario),
                Err(errors) => prop_assert!(!errors.errors.is_empty() && !errors.to_string().is_empty()),
            }
        }
        if let Err(errors) = scenario::parse("connections: 5\n", "a.yaml", &sets) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), cut in 0_usize..400, with in "[\t\n {}:&*|>\\-\"'\u{85}\u{feff}]{0,4}") {
        let shipped = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/scenarios/article.yaml"),
        )
        .expect("readable");
        let at = shipped.floor_char_boundary(cut);
        for text in [text, format!("{}{with}{}", &shipped[..at], &shipped[at..])] {
            if let Err(errors) = scenario::parse(&text, "a.yaml", &[]) {
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }
}
