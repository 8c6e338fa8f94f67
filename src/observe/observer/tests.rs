//! The thread and its deadlines. Times are given, or waited for; nothing is slept for.

use super::*;

#[test]
fn deadlines_are_multiples_of_the_interval_and_missed_ones_are_skipped() {
    let origin = Instant::now();
    let ticks = Ticks {
        origin,
        interval: Duration::from_millis(100),
    };
    assert_eq!(ticks.after(origin), 1);
    assert_eq!(ticks.after(origin + Duration::from_millis(99)), 1);
    assert_eq!(ticks.after(origin + Duration::from_millis(100)), 2);
    // A sample that took 3.5 intervals: the next tick is the fifth, none is made up for.
    assert_eq!(ticks.after(origin + Duration::from_millis(450)), 5);
    assert_eq!(ticks.at(5), origin + Duration::from_millis(500));
}

fn observer(interval: Duration) -> (Observer, Receiver<Sample>) {
    let (out, samples) = channel();
    let config = ObserverConfig {
        interval,
        ..ObserverConfig::every_second(Instant::now())
    };
    let sink: Sink = Box::new(move |sample| {
        let _ = out.send(sample);
    });
    (Observer::start(config, sink).unwrap(), samples)
}

#[test]
fn a_sample_asked_for_goes_to_the_sink_too() {
    let (observer, samples) = observer(Duration::from_secs(3600));
    observer.watch_process(WorkerId::client(3), std::process::id());
    let first = observer.sample_now().unwrap();
    observer.forget_process(WorkerId::client(3));
    let second = observer.sample_now().unwrap();
    assert_eq!((first.number, second.number), (0, 1));
    assert_eq!(first.processes[0].worker, WorkerId::client(3));
    assert!(first.processes[0].anonymous.bytes() > 0);
    assert!(second.processes.is_empty());
    let cost = observer.stop().unwrap();
    assert_eq!(cost.samples, 2);
    assert_eq!(samples.iter().collect::<Vec<_>>(), [first, second]);
}

#[test]
fn ticks_come_by_themselves_until_it_is_stopped() {
    let (observer, samples) = observer(Duration::from_millis(2));
    let deadline = Duration::from_secs(60);
    for number in 0..3 {
        assert_eq!(samples.recv_timeout(deadline).unwrap().number, number);
    }
    observer.stop().unwrap();
    samples.try_iter().for_each(drop);
    assert!(samples.recv().is_err(), "the sink is gone");
}

#[test]
fn a_machine_that_tells_nothing_gives_gaps_and_no_zeros() {
    let nothing = tempfile::tempdir().unwrap();
    let config = ObserverConfig {
        root: nothing.path().to_owned(),
        interval: Duration::from_secs(3600),
        ..ObserverConfig::every_second(Instant::now())
    };
    let observer = Observer::start(config, Box::new(drop)).unwrap();
    observer.watch_namespace(HostIndex(1), nothing.path().join("net"));
    let sample = observer.sample_now().unwrap();
    assert!(sample.memory.gap().unwrap().contains("proc/meminfo"));
    assert!(sample.slabs.gap().unwrap().contains("proc/slabinfo"));
    assert!(sample.cpu.gap().is_some() && sample.files.gap().is_some());
    assert!(sample.kernel_log.gap().is_some());
    let namespace = &sample.namespaces[0];
    assert_eq!(namespace.host, HostIndex(1));
    assert!(namespace.sockets.gap().is_some() && namespace.tcp.gap().is_some());
}
