//! Sockets counted by state, with `ss` as second witness, and what the observer sees of a namespace from outside. Everything
//! happens in a network namespace of the test's own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use c1m::domain::{ConnCount, HostIndex, SizeSource, StateCounts, TcpState};
use c1m::kernel::object_sizes::{from_btf, from_slabinfo};
use c1m::kernel::sys::netns::{move_into_new_network, thread_id};
use c1m::observe::{
    NamespaceWindow, Observer, ObserverConfig, count_sockets, current_established, inside_namespace,
};

/// Does `work` in a new network namespace whose loopback is up.
fn in_new_namespace(work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_new_network().expect("this test needs CAP_SYS_ADMIN: run it as root");
            let up = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.expect("ip runs").success());
            work();
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

const LISTEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000);

/// What `ss` of this thread's namespace says: sockets whose local (`sport`) or remote (`dport`) port is 9000, by state.
fn ss(end: &str) -> StateCounts {
    let output = Command::new("ss")
        .args(["-tanH", &format!("{end} = :9000")])
        .output()
        .expect("ss runs");
    assert!(output.status.success());
    let mut states = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let state = match line.split_ascii_whitespace().next().unwrap_or_default() {
            "ESTAB" => TcpState::Established,
            "LISTEN" => TcpState::Listen,
            "CLOSE-WAIT" => TcpState::CloseWait,
            "FIN-WAIT-2" => TcpState::FinWait2,
            "TIME-WAIT" => TcpState::TimeWait,
            other => panic!("ss says {other}"),
        };
        *states.entry(state).or_insert(0) += 1;
    }
    StateCounts(states)
}

#[test]
fn sockets_by_state_are_what_ss_says() {
    in_new_namespace(|| {
        let listener = TcpListener::bind(LISTEN).unwrap();
        let mut pairs: Vec<_> = (0..500)
            .map(|_| {
                let client = TcpStream::connect(LISTEN).unwrap();
                (client, listener.accept().unwrap().0)
            })
            .collect();
        // 20 clients are gone and the server has not noticed; 10 are gone on both sides, the client first.
        let half_closed: Vec<_> = pairs.drain(..20).map(|(_client, server)| server).collect();
        pairs.drain(..10).for_each(|(client, server)| {
            drop(client);
            drop(server);
        });
        // Closing goes on after drop(2) returned.
        let deadline = Instant::now() + Duration::from_secs(30);
        let counted = loop {
            let counted = count_sockets(&[LISTEN]).unwrap();
            let client = |state| counted.client.of(state).count();
            if client(TcpState::TimeWait) == 10 && client(TcpState::FinWait2) == 20 {
                break counted;
            }
            assert!(Instant::now() < deadline, "{counted:?}");
        };
        assert_eq!(counted.server, ss("sport"));
        assert_eq!(counted.client, ss("dport"));
        assert_eq!(counted.other, StateCounts::default());
        let of = |state| counted.server.of(state).count();
        assert_eq!(of(TcpState::Established), 470);
        assert_eq!(of(TcpState::CloseWait), 20);
        assert_eq!(of(TcpState::Listen), 1);
        // ESTABLISHED at both ends, CLOSE_WAIT at one.
        assert_eq!(current_established().unwrap(), ConnCount::new(2 * 470 + 20));
        drop(half_closed);
    });
}

#[test]
fn a_namespace_is_seen_from_outside() {
    in_new_namespace(|| {
        let listener = TcpListener::bind(LISTEN).unwrap();
        let pairs: Vec<_> = (0..7)
            .map(|_| {
                (
                    TcpStream::connect(LISTEN).unwrap(),
                    listener.accept().unwrap(),
                )
            })
            .collect();
        let task = format!("/proc/{}/task/{}", std::process::id(), thread_id());
        let outside = || {
            let file = PathBuf::from(&task).join("ns/net");
            let window = NamespaceWindow::open(&file).unwrap();
            let observer =
                Observer::start(ObserverConfig::every_second(Instant::now()), Box::new(drop))
                    .unwrap();
            observer.watch_namespace(HostIndex(1), window.proc_net().to_owned());
            observer.watch_namespace(HostIndex(2), Path::new(&task).join("net"));
            let sample = observer.sample_now().unwrap();
            for namespace in &sample.namespaces {
                assert_eq!(namespace.tcp.present().unwrap().established, 14);
                assert_eq!(namespace.sockets.present().unwrap().tcp_in_use, 15);
            }
            assert_eq!(sample.namespaces.len(), 2);
            assert!(
                sample
                    .slabs
                    .present()
                    .unwrap()
                    .iter()
                    .any(|cache| cache.name == "TCP")
            );
            let counted = inside_namespace(&file, || count_sockets(&[LISTEN])).unwrap();
            assert_eq!(counted.server.of(TcpState::Established).count(), 7);
        };
        thread::scope(|scope| {
            // Threads begin where their maker is: this one goes back to where the process is.
            let outsider = scope.spawn(|| {
                inside_namespace(Path::new("/proc/self/ns/net"), || {
                    outside();
                    Ok(())
                })
                .unwrap();
            });
            outsider.join().unwrap();
        });
        drop(pairs);
    });
}

#[test]
fn estimated_sizes_of_objects_agree_with_slabinfo() {
    let root = Path::new("/");
    let exact = from_slabinfo(root).expect("root reads /proc/slabinfo");
    let estimate = from_btf(root).expect("the kernel has type information");
    assert_eq!(exact.source, SizeSource::Slabinfo);
    assert_eq!(estimate.source, SizeSource::BtfEstimate);
    for name in ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"] {
        let (exact, estimate) = (exact.bytes_of(name), estimate.bytes_of(name));
        assert!(
            (estimate - exact).abs() <= exact * 0.15,
            "{name}: {exact} in slabinfo, {estimate} estimated"
        );
    }
}
