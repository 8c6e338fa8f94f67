//! From the account to the figures of `result.json`: for each connection, with how each is known.

use crate::domain::{
    AttributionRow, MemoryBasis, MemoryResult, MemorySide, PerConnection, Reading,
};

use crate::report::model::{AccountRow, FloatBytes, MemoryDetail, Slope};

const USER: &str = "user_bytes_per_connection";
const KERNEL: &str = "kernel_bytes_per_connection";
const SUM: &str = "bytes_per_connection";
const CHARGED: &str = "charged_bytes_per_connection";

/// Relative half width of the slope's confidence interval above which it stands for nothing.
const SLOPE_IS_SURE: f64 = 0.02;

/// The figures.
pub(in crate::report::analyse) fn memory_result(
    memory: &Reading<MemoryDetail>,
    slope: &Reading<Slope>,
) -> MemoryResult {
    let slope_figure = slope_figure(slope);
    let slope_confidence_bytes = slope.present().map(|slope| slope.half_width);
    let memory = match memory {
        Reading::Present(memory) => memory,
        Reading::Missing(gap) => {
            return MemoryResult {
                server: unknown(&gap.gap),
                client: unknown(&gap.gap),
                both: unknown(&gap.gap),
                shared_bytes_per_connection: None,
                attribution: Vec::new(),
                outside: Vec::new(),
                unexplained_fraction: None,
                disturbed: None,
                free_residual_bytes_per_connection: PerConnection {
                    value: None,
                    how: gap.gap.clone(),
                },
                slope_bytes_per_connection: slope_figure,
                slope_confidence_bytes,
            };
        }
    };
    let kernel_of = |field: fn(&AccountRow) -> f64, user: &Reading<FloatBytes>| {
        let all: f64 = memory.rows.iter().map(field).sum();
        all - user.present().map_or(0.0, |user| user.0)
    };
    let split = |kernel: f64| match (&memory.not_split, &memory.not_measurable) {
        (Some(why), _) | (None, Some(why)) => Reading::missing(why.clone()),
        (None, None) => Reading::Present(FloatBytes(kernel)),
    };
    let server_kernel = kernel_of(|row| row.server, &memory.user.server);
    let client_kernel = kernel_of(|row| row.client, &memory.user.client);
    let shared = memory.total()
        - memory
            .rows
            .iter()
            .map(|row| row.server + row.client)
            .sum::<f64>();
    MemoryResult {
        server: side(
            memory,
            &split(server_kernel),
            (&memory.user.server, if memory.by_share { SHARED } else { OWN }),
            &memory.charged.server,
        ),
        client: side(
            memory,
            &split(client_kernel),
            (&memory.user.client, OWN),
            &memory.charged.client,
        ),
        both: both(memory, slope),
        shared_bytes_per_connection: (memory.not_split.is_none()
            && memory.not_measurable.is_none())
        .then(|| shared / memory.connections),
        attribution: memory.rows.iter().map(attribution).collect(),
        outside: memory.outside.iter().map(attribution).collect(),
        unexplained_fraction: Some(memory.unexplained_fraction().abs())
            .filter(|share| share.is_finite()),
        disturbed: memory.disturbed.clone(),
        free_residual_bytes_per_connection: match &memory.residual {
            Reading::Present(residual) => PerConnection {
                value: Some(residual.0 / memory.connections),
                how: "drop of MemFree, less the growth of every row of /proc/meminfo and of the free pages on per-CPU lists".to_owned(),
            },
            Reading::Missing(gap) => PerConnection {
                value: None,
                how: gap.gap.clone(),
            },
        },
        slope_bytes_per_connection: slope_figure,
        slope_confidence_bytes,
    }
}

fn slope_figure(slope: &Reading<Slope>) -> PerConnection {
    match slope {
        Reading::Present(slope) => PerConnection {
            value: Some(slope.slope),
            how: format!(
                "least squares through {} samples of the ramp, both ends",
                slope.points
            ),
        },
        Reading::Missing(gap) => PerConnection {
            value: None,
            how: gap.gap.clone(),
        },
    }
}

fn attribution(row: &AccountRow) -> AttributionRow {
    AttributionRow {
        object: row.object.clone(),
        objects: row.objects,
        bytes: row.bytes,
        server_bytes: row.server,
        client_bytes: row.client,
        source: row.source,
    }
}

fn unknown(why: &str) -> MemorySide {
    MemorySide {
        user_bytes_per_connection: None,
        kernel_bytes_per_connection: None,
        bytes_per_connection: None,
        basis: None,
        charged_bytes_per_connection: None,
        how: [USER, KERNEL, SUM, CHARGED]
            .map(|name| (name.to_owned(), why.to_owned()))
            .into(),
    }
}

/// A figure per connection with how it is known, or why it is not.
fn figure(memory: &MemoryDetail, bytes: &Reading<FloatBytes>, how: &str) -> (Option<f64>, String) {
    match bytes {
        Reading::Present(bytes) => (Some(bytes.0 / memory.connections), how.to_owned()),
        Reading::Missing(gap) => (None, gap.gap.clone()),
    }
}

/// The sum of both, or which of them is not known.
fn sum(user: &(Option<f64>, String), kernel: &(Option<f64>, String)) -> (Option<f64>, String) {
    match (user, kernel) {
        ((Some(user), _), (Some(kernel), _)) => (Some(user + kernel), "sum of the two".to_owned()),
        ((None, why), _) | (_, (None, why)) => {
            (None, format!("one of the two is not known: {why}"))
        }
    }
}

const OWN: &str = "growth of RssAnon and VmPTE of its processes";
const SHARED: &str = "growth of the proportional share (PSS) and VmPTE of its processes: it started or ended some, and RssAnon counts pages that processes share once for each";
const COUNTED: &str =
    "kernel objects of this end, counted, by their share of the pages of their slabs";
const MODELLED: &str = "modelled, not counted: numbers by the plan, sizes by the kernel's type information or assumed, because /proc/slabinfo could not be read";
const CHARGE: &str = "growth of the kernel memory charged to its control groups, less page tables: the size of each object and 8 B, without the waste at the end of slabs and without the data of security modules, so too low";

fn side(
    memory: &MemoryDetail,
    kernel: &Reading<FloatBytes>,
    (user, own): (&Reading<FloatBytes>, &str),
    charged: &Reading<FloatBytes>,
) -> MemorySide {
    let how = match memory.basis {
        MemoryBasis::Counted => COUNTED,
        MemoryBasis::Modelled => MODELLED,
    };
    let user = figure(memory, user, own);
    let kernel = figure(memory, kernel, how);
    assemble(
        user,
        kernel,
        None,
        Some(memory.basis),
        figure(memory, charged, CHARGE),
    )
}

fn assemble(
    user: (Option<f64>, String),
    kernel: (Option<f64>, String),
    instead: Option<(Option<f64>, String)>,
    basis: Option<MemoryBasis>,
    charged: (Option<f64>, String),
) -> MemorySide {
    let all = instead.unwrap_or_else(|| sum(&user, &kernel));
    MemorySide {
        user_bytes_per_connection: user.0,
        kernel_bytes_per_connection: kernel.0,
        bytes_per_connection: all.0,
        basis: basis.filter(|_| kernel.0.is_some()),
        charged_bytes_per_connection: charged.0,
        how: [
            (USER, user.1),
            (KERNEL, kernel.1),
            (SUM, all.1),
            (CHARGED, charged.1),
        ]
        .map(|(name, how)| (name.to_owned(), how))
        .into(),
    }
}

/// Both ends: what grew, whoever's it is. Where slabs make a quotient say nothing, a sure slope stands in its place.
fn both(memory: &MemoryDetail, slope: &Reading<Slope>) -> MemorySide {
    let user = match (&memory.user.server, &memory.user.client) {
        (Reading::Present(server), Reading::Present(client)) => {
            Reading::Present(FloatBytes(server.0 + client.0))
        }
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => Reading::Missing(gap.clone()),
    };
    let kernel = match &memory.not_measurable {
        Some(why) => Reading::missing(why.clone()),
        None => Reading::Present(FloatBytes(memory.kernel())),
    };
    let sure = slope
        .present()
        .filter(|slope| slope.half_width < SLOPE_IS_SURE * slope.slope.abs())
        .filter(|_| memory.not_measurable.is_some())
        .map(|slope| {
            (
                Some(slope.slope),
                format!(
                    "slope of memory over connections, {} samples of the ramp",
                    slope.points
                ),
            )
        });
    let charged = match (&memory.charged.server, &memory.charged.client) {
        (Reading::Present(server), Reading::Present(client)) => {
            Reading::Present(FloatBytes(server.0 + client.0))
        }
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => Reading::Missing(gap.clone()),
    };
    assemble(
        figure(memory, &user, "growth of RssAnon and VmPTE of all workers"),
        figure(
            memory,
            &kernel,
            "growth of slab, kernel stacks, vmalloc and per-CPU memory in /proc/meminfo, and objects that found room in slabs which were there before",
        ),
        sure,
        Some(MemoryBasis::Counted),
        figure(memory, &charged, CHARGE),
    )
}
