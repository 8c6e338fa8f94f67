//! What the method cannot tell, whatever the run: no doubt of one run, but told under Method in each report.

use crate::domain::{Ends, HostFacts, Reading, RunSummary, SizeSource};

/// What the method leaves open in every run of this kind. It is told under Method: a sentence that stands in every report
/// would hide the ones that do not.
pub(super) fn limits(summary: &Reading<RunSummary>, facts: &Reading<HostFacts>) -> Vec<String> {
    let mut limits = Vec::new();
    if summary
        .present()
        .is_some_and(|plan| plan.ends == Ends::Both)
    {
        limits.push(
            "Both ends are on one machine: they share its processors and its memory, and no network lies between them. The rate is that of both together."
                .to_owned(),
        );
    }
    if summary
        .present()
        .is_some_and(|plan| plan.subject().is_some())
    {
        limits.push(
            "The server is observed from outside: how its memory and its time are spent inside is not seen."
                .to_owned(),
        );
    }
    if let Some(facts) = facts.present() {
        if facts.emulated {
            limits.push(
                "The processors are emulated: each instruction is translated by a program (QEMU without hardware help). Rates, latencies and processor time say nothing about a real machine. Memory per connection is the kernel's own and does not depend on it."
                    .to_owned(),
            );
        } else if facts.virtual_machine {
            limits.push(
                "This is a virtual machine: memory that the hypervisor took back is faulted in again by the first large run, which is then slower."
                    .to_owned(),
            );
        }
        if facts.objects.source != SizeSource::Slabinfo {
            limits.push(
                "Sizes of kernel objects were estimated for the plan: /proc/slabinfo is only for root."
                    .to_owned(),
            );
        }
    }
    limits.push(
        "One repetition only: the rate of another run may differ. Run it again before comparing."
            .to_owned(),
    );
    limits
}
