//! Charts of a run as SVG, one figure each. A chart that has nothing to show is not drawn.

mod canvas;

use plotters::style::RGBColor;

use super::model::{AcceptingAt, LatencyAt, Report, Series, Slope};
use super::number::{grouped, hundredths, micros, tenths, whole};
use crate::domain::Phase;
use canvas::{Axis, Canvas, Line, NameAt, Scale, Shade};

pub use canvas::ChartError;

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The file's name inside `charts/`.
    pub file: &'static str,
    /// What it shows, for readers who do not see it.
    pub title: String,
    /// The drawing.
    pub svg: String,
}

// Colours that differ in lightness too, for those who cannot tell the hues apart (after Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const YELLOW: RGBColor = RGBColor(230, 159, 0);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const GREY: RGBColor = RGBColor(200, 200, 200);

/// Points of one line: more would only make the file larger.
const MOST_POINTS: usize = 800;

/// Draws what there is to draw.
///
/// # Errors
/// When the drawing library fails.
pub fn charts(report: &Report) -> Result<Vec<Chart>, ChartError> {
    let series = &report.series;
    let hold = hold(series);
    let drawn = [
        over_time(
            "connections.svg",
            "Connections held over time",
            "connections",
            &series.connections,
            BLUE,
            hold,
        )?,
        accepting(&series.accepting, hold)?,
        over_time(
            "rate.svg",
            "Connections opened per second, over time",
            "connections per second",
            &series.rate,
            GREEN,
            None,
        )?,
        memory(series, hold)?,
        fitted(series, report.slope.present())?,
        latency(&series.latency)?,
        cpu(series, hold)?,
        over_time(
            "listen-drops.svg",
            "Connections dropped by listeners (ListenDrops) over time",
            "dropped so far",
            &series.listen_drops,
            ORANGE,
            hold,
        )?,
        drain(&series.drain)?,
    ];
    Ok(drawn.into_iter().flatten().collect())
}

/// The span of the hold, to be shaded.
fn hold(series: &Series) -> Option<Shade> {
    let at = |phase| {
        let found = series.phases.iter().find(|(began, _)| *began == phase);
        found.map(|(_, at)| *at)
    };
    let after = [Phase::Verify, Phase::Drain, Phase::Teardown];
    Some(Shade {
        from: at(Phase::Hold)?,
        until: after.into_iter().find_map(at)?,
        name: "hold",
        at: NameAt::Bottom,
    })
}

fn over_time(
    file: &'static str,
    title: &str,
    unit: &str,
    points: &[(f64, f64)],
    colour: RGBColor,
    hold: Option<Shade>,
) -> Result<Option<Chart>, ChartError> {
    if points.len() < 2 {
        return Ok(None);
    }
    let points = thinned(points);
    let canvas = Canvas {
        title,
        x: Axis::of(
            "seconds since the run began",
            points.iter().map(|(x, _)| *x),
            whole,
        ),
        y: Axis::of(unit, points.iter().map(|(_, y)| *y), whole),
        scale: Scale::Linear,
        shaded: hold,
    };
    let svg = canvas.lines(&[Line {
        name: None,
        colour,
        points: &points,
    }])?;
    Ok(Some(chart(file, title, svg)))
}

/// A limit that is larger than the largest value by more than this is named and not drawn: the lines would lie on the axis.
const FARTHEST_LIMIT: f64 = 2.0;

/// How far a server that is not the lab's own had accepted.
fn accepting(told: &[AcceptingAt], hold: Option<Shade>) -> Result<Option<Chart>, ChartError> {
    let most = told
        .iter()
        .map(|at| at.accepted.max(at.waiting))
        .fold(0.0, f64::max);
    if told.len() < 2 || most <= 0.0 {
        return Ok(None);
    }
    let limit = told.iter().map(|at| at.limit).fold(0.0, f64::max);
    let drawn = limit > 0.0 && limit <= FARTHEST_LIMIT * most;
    let title = if drawn || limit <= 0.0 {
        "Connections accepted, and waiting in the accept queue, over time".to_owned()
    } else {
        format!(
            "Connections accepted, and waiting in the accept queue (room for {}), over time",
            whole(limit)
        )
    };
    let line = |field: fn(&AcceptingAt) -> f64| -> Vec<(f64, f64)> {
        let points = told.iter().map(|at| (at.at_seconds, field(at)));
        thinned(&points.collect::<Vec<_>>())
    };
    let (accepted, waiting) = (line(|at| at.accepted), line(|at| at.waiting));
    let room = if drawn {
        line(|at| at.limit)
    } else {
        Vec::new()
    };
    let canvas = Canvas {
        title: &title,
        x: Axis::of(
            "seconds since the run began",
            accepted.iter().map(|(x, _)| *x),
            whole,
        ),
        y: Axis::of(
            "connections",
            accepted
                .iter()
                .chain(&waiting)
                .chain(&room)
                .map(|(_, y)| *y),
            whole,
        ),
        scale: Scale::Linear,
        shaded: hold,
    };
    let mut lines = vec![
        Line {
            name: Some("accepted"),
            colour: BLUE,
            points: &accepted,
        },
        Line {
            name: Some("waiting"),
            colour: ORANGE,
            points: &waiting,
        },
    ];
    if drawn {
        lines.push(Line {
            name: Some("room in the accept queue"),
            colour: GREY,
            points: &room,
        });
    }
    let svg = canvas.lines(&lines)?;
    Ok(Some(chart("accepted.svg", &title, svg)))
}

fn memory(series: &Series, hold: Option<Shade>) -> Result<Option<Chart>, ChartError> {
    let most = series
        .memory
        .iter()
        .map(|(_, bytes)| *bytes)
        .fold(0.0, f64::max);
    let (unit, size) = unit_of(most);
    let scaled: Vec<_> = series
        .memory
        .iter()
        .map(|(at, bytes)| (*at, (bytes / size).max(0.0)))
        .collect();
    over_time(
        "memory.svg",
        "Memory beyond the baseline over time: kernel and workers, both ends",
        unit,
        &scaled,
        ORANGE,
        hold,
    )
}

fn unit_of(most: f64) -> (&'static str, f64) {
    if most >= 4.0 * 1_073_741_824.0 {
        ("GiB", 1_073_741_824.0)
    } else {
        ("MiB", 1_048_576.0)
    }
}

fn fitted(series: &Series, slope: Option<&Slope>) -> Result<Option<Chart>, ChartError> {
    let Some(slope) = slope else {
        return Ok(None);
    };
    let points = &series.memory_over_connections;
    let most = points.iter().map(|(_, bytes)| *bytes).fold(0.0, f64::max);
    let (unit, size) = unit_of(most);
    let title = format!(
        "Memory over connections: {} ± {} B per connection, both ends (95 % CI)",
        whole(slope.slope),
        super::number::figure(slope.half_width)
    );
    let scaled: Vec<_> = points.iter().map(|(x, y)| (*x, y / size)).collect();
    let canvas = Canvas {
        title: &title,
        x: Axis::of("connections held", points.iter().map(|(x, _)| *x), whole),
        y: Axis::of(unit, scaled.iter().map(|(_, y)| *y), whole),
        scale: Scale::Linear,
        shaded: None,
    };
    let steps = 40;
    let along = (0..=steps).map(|step| canvas.x.max * f64::from(step) / f64::from(steps));
    let band: Vec<(f64, f64, f64)> = along
        .map(|x| {
            let (middle, half) = (slope.at(x), slope.band(x));
            (x, (middle - half) / size, (middle + half) / size)
        })
        .collect();
    let svg = canvas.fit(&scaled, &band, BLUE, ORANGE)?;
    Ok(Some(chart("memory-over-connections.svg", &title, svg)))
}

fn latency(buckets: &[LatencyAt]) -> Result<Option<Chart>, ChartError> {
    if buckets.len() < 2 {
        return Ok(None);
    }
    let title = "Connect latency over the number of connections held";
    let line = |index: usize| -> Vec<(f64, f64)> {
        let each = buckets.iter();
        each.map(|bucket| (bucket.held, bucket.percentiles[index].max(1.0)))
            .collect()
    };
    let [median, ninety, ninety_nine, most] = [0, 1, 2, 3].map(line);
    let canvas = Canvas {
        title,
        x: Axis::of("connections held", median.iter().map(|(x, _)| *x), whole),
        y: Axis::of(
            "connect latency (logarithmic)",
            most.iter().chain(&median).map(|(_, y)| *y),
            micros,
        ),
        scale: Scale::Logarithmic,
        shaded: None,
    };
    let line = |name, colour, points| Line {
        name: Some(name),
        colour,
        points,
    };
    let svg = canvas.lines(&[
        line("largest", PURPLE, &most),
        line("99th percentile", ORANGE, &ninety_nine),
        line("90th percentile", YELLOW, &ninety),
        line("median", BLUE, &median),
    ])?;
    Ok(Some(chart("latency.svg", title, svg)))
}

fn cpu(series: &Series, hold: Option<Shade>) -> Result<Option<Chart>, ChartError> {
    if series.cpu.len() < 2 {
        return Ok(None);
    }
    let title = "Processor time of the whole machine over time";
    let mut sums: Vec<f64> = vec![0.0; series.cpu.len()];
    let mut layer = |name, colour, share: fn(&super::model::CpuShares) -> f64| {
        let points: Vec<(f64, f64)> = series
            .cpu
            .iter()
            .zip(&mut sums)
            .map(|((at, shares), sum)| {
                *sum += share(shares) * 100.0;
                (*at, *sum)
            })
            .collect();
        (name, colour, thinned(&points))
    };
    let layers = [
        layer("user", GREEN, |shares| shares.user),
        layer("system", BLUE, |shares| shares.system),
        layer("interrupts and softirq", ORANGE, |shares| {
            shares.softirq + shares.irq
        }),
        layer("stolen by the hypervisor", PURPLE, |shares| shares.steal),
        layer("waiting for I/O", GREY, |shares| shares.iowait),
    ];
    let canvas = Canvas {
        title,
        x: Axis::of(
            "seconds since the run began",
            series.cpu.iter().map(|(at, _)| *at),
            whole,
        ),
        y: Axis {
            label: "% of all processors",
            min: 0.0,
            max: 100.0,
            show: whole,
        },
        scale: Scale::Linear,
        shaded: hold.map(|hold| Shade {
            at: NameAt::Top,
            ..hold
        }),
    };
    Ok(Some(chart("cpu.svg", title, canvas.stacked(&layers)?)))
}

fn drain(points: &[(f64, f64)]) -> Result<Option<Chart>, ChartError> {
    let most = points.iter().map(|(_, left)| *left).fold(0.0, f64::max);
    if points.len() < 2 || most <= 0.0 {
        return Ok(None);
    }
    let title = format!("Closing {} connections by reset", grouped(rounded(most)));
    let canvas = Canvas {
        title: &title,
        x: Axis::of(
            "seconds since the closing began",
            points.iter().map(|(x, _)| *x),
            if points.last().is_some_and(|(last, _)| *last > 2.0) {
                tenths
            } else {
                hundredths
            },
        ),
        y: Axis::of("connections left", points.iter().map(|(_, y)| *y), whole),
        scale: Scale::Linear,
        shaded: None,
    };
    let svg = canvas.lines(&[Line {
        name: None,
        colour: PURPLE,
        points,
    }])?;
    Ok(Some(chart("drain.svg", &title, svg)))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn rounded(count: f64) -> u64 {
    count.round() as u64
}

fn chart(file: &'static str, title: &str, svg: String) -> Chart {
    Chart {
        file,
        title: title.to_owned(),
        svg,
    }
}

/// Every n-th point, and the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let mut thin: Vec<_> = points.iter().copied().step_by(stride).collect();
    if let Some(last) = points.last()
        && thin.last() != Some(last)
    {
        thin.push(*last);
    }
    thin
}
