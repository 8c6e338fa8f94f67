//! How every chart looks: size, type, axes with units, legend. The one place that knows the drawing library.

use std::fmt::Display;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::{
    AreaSeries, Cartesian2d, Circle, DrawingArea, EmptyElement, IntoDrawingArea, IntoLogRange,
    LineSeries, Polygon, Ranged, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE};

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the chart \"{title}\": {why}")]
pub struct ChartError {
    /// Its title.
    pub title: String,
    /// What the drawing library says.
    pub why: String,
}

/// Pixels of a chart: the width of a page of text on most sites that show markdown.
const SIZE: (u32, u32) = (900, 420);
const TITLE_TEXT: i32 = 19;
const AXIS_TEXT: i32 = 15;
const LABEL_TEXT: i32 = 14;
/// Pixels left of the y axis: room for `1,024,000` and the axis' name.
const Y_LABELS: u32 = 100;
const X_LABELS: u32 = 50;
/// The confidence band.
const PALE: RGBColor = RGBColor(244, 205, 178);
/// Pixels that a letter of a name takes, generously: an SVG has no fonts to ask.
const LETTER: i32 = 8;
/// Pixels around everything.
const EDGE: i32 = 12;
/// Share of the x axis that a span needs for its name.
const ROOM_FOR_NAME: f64 = 0.08;
const FACE: &str = "sans-serif";

/// An axis.
pub(super) struct Axis<'a> {
    pub(super) label: &'a str,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) show: fn(f64) -> String,
}

impl<'a> Axis<'a> {
    /// From nothing to a little beyond the largest value.
    pub(super) fn of(
        label: &'a str,
        values: impl Iterator<Item = f64>,
        show: fn(f64) -> String,
    ) -> Self {
        let (least, most) = values.fold((f64::INFINITY, 0.0), |(least, most), value| {
            (least.min(value), f64::max(most, value))
        });
        Self {
            label,
            // Only a logarithmic axis has use for the least value.
            min: if least.is_finite() { least } else { 0.0 },
            max: if most > 0.0 { most * 1.04 } else { 1.0 },
            show,
        }
    }
}

/// How the y axis is divided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// One line, named in the legend where it has a name.
pub(super) struct Line<'a> {
    pub(super) name: Option<&'static str>,
    pub(super) colour: RGBColor,
    pub(super) points: &'a [(f64, f64)],
}

/// One of several areas upon each other: its name, and the sums of all layers up to it.
pub(super) type Layer = (&'static str, RGBColor, Vec<(f64, f64)>);

/// A span of x that is shaded, and named where there is room.
#[derive(Clone, Copy)]
pub(super) struct Shade {
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) name: &'static str,
    /// Where its name stands: where the data are not.
    pub(super) at: NameAt,
}

/// Where a name stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NameAt {
    /// Just above the axis.
    Bottom,
    /// Just below the upper edge.
    Top,
}

/// A chart to be drawn.
pub(super) struct Canvas<'a> {
    pub(super) title: &'a str,
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
    pub(super) scale: Scale,
    pub(super) shaded: Option<Shade>,
}

type Area<'b> = DrawingArea<SVGBackend<'b>, Shift>;
type Plot<'b, Y> =
    ChartContext<'b, SVGBackend<'b>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>;

/// Colours on a dark page. A browser takes them by the reader's own setting (`prefers-color-scheme`); other programs draw the
/// chart as it is.
const DARK: &str = concat!(
    "<style>@media (prefers-color-scheme: dark) {",
    " rect[fill=\"#FFFFFF\"] { fill: #0d1117 }",
    " text[fill=\"#000000\"] { fill: #e6edf3 }",
    " [stroke=\"#000000\"] { stroke: #e6edf3 }",
    " }</style>"
);

/// The drawing with colours for a dark page too.
fn for_dark_pages(svg: &str) -> String {
    match svg.split_once('\n') {
        Some((begin, rest)) => format!("{begin}\n{DARK}\n{rest}"),
        None => svg.to_owned(),
    }
}

impl Canvas<'_> {
    /// Lines.
    pub(super) fn lines(&self, lines: &[Line<'_>]) -> Result<String, ChartError> {
        let mut svg = String::new();
        {
            let named = lines
                .iter()
                .filter_map(|line| Some((line.name?, line.colour)));
            let (whole, area) = self.areas(&mut svg, &named.collect::<Vec<_>>())?;
            match self.scale {
                Scale::Linear => {
                    let mut plot = self.plot(&area, 0.0..self.y.max)?;
                    self.draw_lines(&mut plot, lines)?;
                }
                Scale::Logarithmic => {
                    let range = (self.y.min.max(1.0) * 0.8..self.y.max * 1.2).log_scale();
                    let mut plot = self.plot(&area, range)?;
                    self.draw_lines(&mut plot, lines)?;
                }
            }
            whole.present().map_err(|error| self.failed(error))?;
        }
        Ok(for_dark_pages(&svg))
    }

    /// Areas upon each other; each layer has the sums up to itself.
    pub(super) fn stacked(&self, layers: &[Layer]) -> Result<String, ChartError> {
        let mut svg = String::new();
        {
            let names = layers.iter().map(|(name, colour, _)| (*name, *colour));
            let (whole, area) = self.areas(&mut svg, &names.collect::<Vec<_>>())?;
            let mut plot = self.plot(&area, 0.0..self.y.max)?;
            // The highest first, so that each lower one covers its part.
            for (_, colour, points) in layers.iter().rev() {
                let series = AreaSeries::new(points.iter().copied(), 0.0, colour.mix(1.0));
                plot.draw_series(series)
                    .map_err(|error| self.failed(error))?;
            }
            whole.present().map_err(|error| self.failed(error))?;
        }
        Ok(for_dark_pages(&svg))
    }

    /// Points with their fitted line and its confidence band: x, lower and upper bound.
    pub(super) fn fit(
        &self,
        points: &[(f64, f64)],
        band: &[(f64, f64, f64)],
        dots: RGBColor,
        line: RGBColor,
    ) -> Result<String, ChartError> {
        let mut svg = String::new();
        {
            let names = [
                ("one sample", dots),
                ("fitted line", line),
                ("95 % confidence band", PALE),
            ];
            let (whole, area) = self.areas(&mut svg, &names)?;
            let mut plot = self.plot(&area, 0.0..self.y.max)?;
            let upper = band.iter().map(|(x, _, upper)| (*x, upper.max(0.0)));
            let lower = band.iter().rev().map(|(x, lower, _)| (*x, lower.max(0.0)));
            let outline: Vec<_> = upper.chain(lower).collect();
            plot.draw_series([Polygon::new(outline, PALE)])
                .map_err(|error| self.failed(error))?;
            let middle = band
                .iter()
                .map(|(x, lower, upper)| (*x, f64::midpoint(*lower, *upper)));
            plot.draw_series(LineSeries::new(
                middle.filter(|(_, y)| *y >= 0.0),
                line.stroke_width(2),
            ))
            .map_err(|error| self.failed(error))?;
            let dot = ShapeStyle::from(&dots).filled();
            plot.draw_series(points.iter().map(|point| Circle::new(*point, 4, dot)))
                .map_err(|error| self.failed(error))?;
            whole.present().map_err(|error| self.failed(error))?;
        }
        Ok(for_dark_pages(&svg))
    }

    /// The whole drawing with its title and the names of what is drawn, and the part below for the plot.
    fn areas<'b>(
        &self,
        svg: &'b mut String,
        names: &[(&str, RGBColor)],
    ) -> Result<(Area<'b>, Area<'b>), ChartError> {
        let whole = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        whole.fill(&WHITE).map_err(|error| self.failed(error))?;
        let title =
            TextStyle::from((FACE, TITLE_TEXT).into_font()).pos(Pos::new(HPos::Left, VPos::Top));
        whole
            .draw(&Text::new(self.title, (EDGE, EDGE), title))
            .map_err(|error| self.failed(error))?;
        let mut x = EDGE;
        for (name, colour) in names {
            let y = EDGE + TITLE_TEXT + 14;
            let patch = Rectangle::new([(x, y), (x + 14, y + 10)], colour.filled());
            whole.draw(&patch).map_err(|error| self.failed(error))?;
            let style = TextStyle::from((FACE, LABEL_TEXT).into_font())
                .pos(Pos::new(HPos::Left, VPos::Center));
            whole
                .draw(&Text::new((*name).to_owned(), (x + 20, y + 5), style))
                .map_err(|error| self.failed(error))?;
            let letters = i32::try_from(name.chars().count()).unwrap_or(0);
            x += 20 + letters * LETTER + 24;
        }
        let above = if names.is_empty() {
            EDGE + TITLE_TEXT
        } else {
            EDGE + TITLE_TEXT + 14 + 14
        };
        let (_, below) = whole.split_vertically(above);
        Ok((whole, below))
    }

    /// Axes and grid.
    fn plot<'b, Y>(
        &self,
        area: &Area<'b>,
        range: impl plotters::coord::ranged1d::AsRangedCoord<CoordDescType = Y, Value = f64>,
    ) -> Result<Plot<'b, Y>, ChartError>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut plot = ChartBuilder::on(area)
            .margin(12)
            .margin_right(28)
            .x_label_area_size(X_LABELS)
            .y_label_area_size(Y_LABELS)
            .build_cartesian_2d(0.0..self.x.max, range)
            .map_err(|error| self.failed(error))?;
        let (show_x, show_y) = (self.x.show, self.y.show);
        plot.configure_mesh()
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .x_labels(10)
            .y_labels(8)
            .x_label_formatter(&|value| show_x(*value))
            .y_label_formatter(&|value| show_y(*value))
            .axis_desc_style((FACE, AXIS_TEXT).into_font())
            .label_style((FACE, LABEL_TEXT).into_font())
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(BLACK.mix(0.12))
            .axis_style(BLACK.mix(0.5))
            .draw()
            .map_err(|error| self.failed(error))?;
        self.shade(&mut plot)?;
        Ok(plot)
    }

    fn shade<Y>(&self, plot: &mut Plot<'_, Y>) -> Result<(), ChartError>
    where
        Y: Ranged<ValueType = f64>,
    {
        let Some(Shade {
            from,
            until,
            name,
            at,
        }) = self.shaded
        else {
            return Ok(());
        };
        let until = until.min(self.x.max);
        let span = Rectangle::new([(from, 0.0), (until, self.y.max)], BLACK.mix(0.05).filled());
        plot.draw_series([span])
            .map_err(|error| self.failed(error))?;
        if until - from > self.x.max * ROOM_FOR_NAME {
            let (y, pixels, anchor) = match at {
                NameAt::Bottom => (0.0, -6, VPos::Bottom),
                NameAt::Top => (self.y.max, 6, VPos::Top),
            };
            let colour = BLACK.mix(0.6);
            let style = TextStyle::from((FACE, LABEL_TEXT).into_font())
                .color(&colour)
                .pos(Pos::new(HPos::Center, anchor));
            let text = EmptyElement::at((f64::midpoint(from, until), y))
                + Text::new(name, (0, pixels), style);
            plot.draw_series([text])
                .map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn draw_lines<Y>(&self, plot: &mut Plot<'_, Y>, lines: &[Line<'_>]) -> Result<(), ChartError>
    where
        Y: Ranged<ValueType = f64>,
    {
        for line in lines {
            let series = LineSeries::new(line.points.iter().copied(), line.colour.stroke_width(2));
            plot.draw_series(series)
                .map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn failed(&self, error: impl Display) -> ChartError {
        ChartError {
            title: self.title.to_owned(),
            why: error.to_string(),
        }
    }
}
