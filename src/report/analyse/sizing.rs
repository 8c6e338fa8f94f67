//! What one connection takes on the side of a server that is not the lab's own, for those who have to size a machine for it.

use crate::domain::{MemoryBasis, Reading};

use crate::report::model::{
    DescriptorNeed, MemoryDetail, Moment, ServerDetail, Sizing, Slope, Usage, UserBy,
};
use crate::report::number::{bytes_each, grouped};

/// Share of the cost of a connection below which half of the slope's interval has to lie.
const SURE: f64 = 0.02;

/// Bytes that a connection takes in the kernel at least: less than any socket.
const LEAST_OF_KERNEL: f64 = 100.0;

/// Puts it together: the kernel's part from the attribution, its own part from the slope, where that serves.
pub(super) fn sizing(
    server: &ServerDetail,
    memory: &Reading<MemoryDetail>,
    slope: &Reading<Slope>,
) -> Reading<Sizing> {
    let memory = match memory {
        Reading::Present(memory) => memory,
        Reading::Missing(gap) => return Reading::Missing(gap.clone()),
    };
    if let Some(why) = memory.not_split.as_ref().or(memory.not_measurable.as_ref()) {
        return Reading::missing(why.clone());
    }
    let (Some(state), Some(base), Some(full)) = (
        server
            .accepting_at(Moment::Target)
            .or_else(|| server.accepting_at(Moment::RampEnd)),
        server.usage_at(Moment::Baseline),
        server
            .usage_at(Moment::Target)
            .or_else(|| server.usage_at(Moment::RampEnd)),
    ) else {
        return Reading::missing("the server's side was not observed");
    };
    let accepted = state.accepted as f64;
    if state.accepted == 0 {
        return Reading::missing("the server accepted no connection");
    }
    if state.waiting > state.accepted / 100 {
        return Reading::missing(format!(
            "{} connections waited in the accept queue, which cost the server less than accepted ones",
            grouped(state.waiting)
        ));
    }
    let own = match &memory.user.server {
        Reading::Present(own) => own.0,
        Reading::Missing(gap) => return Reading::Missing(gap.clone()),
    };
    let all: f64 = memory.rows.iter().map(|row| row.server).sum();
    let kernel = (all - own) / accepted;
    // Each has a socket, so that so little is what something else on the machine has made of the difference.
    if kernel < LEAST_OF_KERNEL {
        return Reading::missing(
            "the kernel's part of a connection came out as nothing: other memory on the machine moved more than the connections took",
        );
    }
    let (user, user_by) = user(slope, kernel, own / accepted);
    Reading::Present(Sizing {
        kernel,
        user,
        user_by,
        fixed: base.anonymous.as_f64() + base.page_tables.as_f64(),
        descriptors: descriptors(base, full, accepted),
        watches: (memory.basis == MemoryBasis::Counted).then(|| watched(memory) / accepted),
        measured_with: state.accepted,
        threads: full.threads.saturating_sub(base.threads) as f64 / accepted,
    })
}

/// The server's registrations with epoll.
fn watched(memory: &MemoryDetail) -> f64 {
    memory
        .row("eventpoll_epi")
        .filter(|row| row.bytes > 0.0)
        .map_or(0.0, |row| {
            row.objects.unwrap_or(0.0) * row.server / row.bytes
        })
}

/// The server's own memory for each connection.
fn user(slope: &Reading<Slope>, kernel: f64, difference: f64) -> (f64, UserBy) {
    let difference = difference.max(0.0);
    let instead = |why: String| (difference, UserBy::Difference { why });
    match slope {
        Reading::Missing(gap) => instead(gap.gap.clone()),
        Reading::Present(slope) => {
            let most = SURE * (kernel + slope.slope.max(difference));
            if slope.half_width > most {
                instead(format!(
                    "the slope of its memory is {} ± {}, which is not sure enough",
                    bytes_each(slope.slope),
                    bytes_each(slope.half_width)
                ))
            } else if (slope.slope - difference).abs() > most.max(2.0 * slope.half_width) {
                instead(format!(
                    "the slope of its memory is {} ± {}, and the difference is {}: it does not grow evenly",
                    bytes_each(slope.slope),
                    bytes_each(slope.half_width),
                    bytes_each(difference)
                ))
            } else {
                (slope.slope.max(0.0), UserBy::Slope(*slope))
            }
        }
    }
}

fn descriptors(base: &Usage, full: &Usage, accepted: f64) -> Reading<DescriptorNeed> {
    let (before, after) = match (&base.descriptors, &full.descriptors) {
        (Reading::Present(before), Reading::Present(after)) => (*before, *after),
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
            return Reading::Missing(gap.clone());
        }
    };
    let grown = after.saturating_sub(before) as f64;
    let fullest_fixed = base.fullest.map_or(0, |fullest| fullest.open);
    let fullest = full
        .fullest
        .map_or(0, |fullest| fullest.open.saturating_sub(fullest_fixed));
    // With a process for each connection none of them grows, and all together do.
    if grown <= 0.0 {
        return Reading::missing("its descriptors did not grow with the connections");
    }
    Reading::Present(DescriptorNeed {
        each: grown / accepted,
        fixed: before,
        fullest_share: (fullest as f64 / grown).min(1.0),
        fullest_fixed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::analyse::slope::fit;

    fn line(each: f64, scatter: f64) -> Reading<Slope> {
        let points: Vec<_> = (0..20)
            .map(|step| {
                let x = f64::from(step) * 1000.0;
                let off = if step % 2 == 0 { scatter } else { -scatter };
                (x, each.mul_add(x, off))
            })
            .collect();
        fit(&points)
    }

    #[test]
    fn a_sure_slope_is_taken() {
        let (user, by) = user(&line(500.0, 1000.0), 3000.0, 501.0);
        assert!((user - 500.0).abs() < 1.0, "{user}");
        assert!(matches!(by, UserBy::Slope(_)), "{by:?}");
    }

    #[test]
    fn a_slope_that_is_unsure_or_disagrees_gives_way_to_the_difference() {
        for (slope, difference) in [
            (line(500.0, 3e6), 520.0),
            (line(500.0, 0.0), 900.0),
            (Reading::missing("2 samples"), 7.0),
        ] {
            let (user, by) = user(&slope, 3000.0, difference);
            assert!((user - difference).abs() < 1e-9, "{user}");
            assert!(matches!(by, UserBy::Difference { .. }), "{by:?}");
        }
    }
}
