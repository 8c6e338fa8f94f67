//! A staged run whose server is not the lab's own: two workers below a first process, as nginx has them.

use super::SERVER_EACH;
use crate::domain::*;
use crate::record::Recording;

/// Its processes.
const PROCESSES: u64 = 3;
/// What it has open before the first connection: in all, and in each process.
const OPEN: u64 = 30;
const OPEN_EACH: u64 = OPEN / PROCESSES;
/// Microseconds of processor time for each connection.
pub(in crate::report) const CPU_MICROS_EACH: u64 = 20;
/// Its memory before the first connection: PSS.
pub(in crate::report) const PSS: Bytes = Bytes::from_mib(3);

/// Turns the server of a staged run into one that is not the lab's own. So many connections wait in its accept queue from the
/// end of the ramp on.
pub(in crate::report) fn of_subject(recording: &mut Recording, waiting: u64) {
    let Reading::Present(summary) = &mut recording.summary else {
        return;
    };
    let target = summary.target.count();
    let listen = summary.workers[0].planned.spec.listen().to_vec();
    let address = listen[0].into();
    summary.workers[0].planned.spec = WorkerSpec::Subject(SubjectSpec {
        subject: Subject::Command(CommandSubject {
            words: ["nginx", "-g", "daemon off;"].map(str::to_owned).to_vec(),
            ..CommandSubject::default()
        }),
        listen,
        capacity: summary.target,
        container_pid: None,
        ready_seconds: 30,
    });
    let queue = |length| ListenQueue {
        address,
        length,
        limit: 511,
    };
    let accepting = |at_seconds, open: u64| {
        let waits = waiting.min(open);
        Envelope {
            at_seconds,
            stage: None,
            event: RunEvent::Accepting {
                state: AcceptState {
                    accepted: open - waits,
                    waiting: waits,
                    half_open: 0,
                    closed_by_client: 0,
                    queues: vec![queue(waits)],
                },
            },
        }
    };
    let mut events = Vec::new();
    for envelope in recording.events.drain(..) {
        let at = envelope.at_seconds;
        let told = |event| Envelope {
            at_seconds: at,
            stage: None,
            event,
        };
        match &envelope.event {
            RunEvent::Setting(_) => {
                let facts = Box::new(facts(queue(0)));
                events.push(told(RunEvent::Subject { facts }));
                events.push(accepting(at, 0));
                events.push(envelope);
            }
            RunEvent::PhaseBegan {
                phase: Phase::Verify,
            } => {
                let mut samples = recording.samples.iter();
                let sample = samples.find(|sample| sample.at_seconds >= at);
                events.push(envelope);
                events.extend(sample.map(|sample| {
                    told(RunEvent::Marked {
                        mark: Mark::HoldEnd,
                        sample: sample.number,
                    })
                }));
            }
            RunEvent::PhaseBegan { phase: Phase::Ramp } => {
                events.push(envelope);
                events.push(accepting(at, 0));
            }
            RunEvent::Progress { counters, .. } => {
                let open = counters.established.count();
                events.push(envelope);
                events.push(accepting(at, open));
            }
            _ => events.push(envelope),
        }
    }
    recording.events = events;
    for sample in &mut recording.samples {
        wait_in(sample, target, waiting);
    }
}

/// Takes from a sample what those connections do not have that wait, and gives it what the server's processes use.
fn wait_in(sample: &mut Sample, target: u64, waiting: u64) {
    let open = sample.files.present().map_or(0, |(open, _)| *open);
    let open = ((open - 2000) / 2).min(target);
    let accepted = open - waiting.min(open);
    sample.trees = vec![(WorkerId::SERVER, tree(accepted))];
    for cache in sample.slabs_mut() {
        let less = match cache.name.as_str() {
            "sock_inode_cache" | "filp" | "dentry" | "lsm_inode_cache" | "lsm_file_cache"
            | "eventpoll_epi" | "eventpoll_pwq" | "ep_head" => open - accepted,
            _ => 0,
        };
        cache.objects -= less;
        cache.pages = cache
            .pages
            .saturating_sub(Bytes::new(less * cache.slot.bytes()));
    }
    if waiting > 0 {
        let objects = 10 + open - accepted;
        sample.slabs_mut().push(SlabCache {
            name: "request_sock_TCP".to_owned(),
            merged: Vec::new(),
            objects,
            slot: Bytes::new(REQUEST),
            slots_per_slab: None,
            pages: Bytes::new(objects * REQUEST),
        });
    }
}

/// Bytes of the request that a connection has until it is accepted.
pub(in crate::report) const REQUEST: u64 = 304;

impl Sample {
    fn slabs_mut(&mut self) -> &mut Vec<SlabCache> {
        match &mut self.slabs {
            Reading::Present(slabs) => slabs,
            Reading::Missing(_) => panic!("the staged machine tells its slabs"),
        }
    }
}

fn facts(queue: ListenQueue) -> SubjectFacts {
    SubjectFacts {
        pid: Some(100),
        tree: Some(TreeRoot::Below(99)),
        program: Reading::Present("/usr/sbin/nginx".to_owned()),
        processes: [(100, "nginx"), (101, "nginx"), (102, "nginx")]
            .map(|(pid, name)| (pid, name.to_owned()))
            .to_vec(),
        listening: vec![queue],
        nofile: Reading::Present(Limit::At(20_000)),
        somaxconn: Some(4096),
        most_tasks: Vec::new(),
        logs: vec!["/var/log/nginx/error.log".to_owned()],
    }
}

fn tree(accepted: u64) -> TreeSample {
    TreeSample {
        processes: PROCESSES,
        threads: PROCESSES,
        cpu_seconds: 0.05 + (accepted * CPU_MICROS_EACH) as f64 / 1e6,
        descriptors: Reading::Present(OPEN + accepted),
        fullest: Some(DescriptorUse {
            pid: 101,
            open: OPEN_EACH + accepted.div_ceil(2),
            limit: Limit::At(20_000),
        }),
        proportional: Some(Reading::Present(PSS + Bytes::new(accepted * SERVER_EACH))),
    }
}
