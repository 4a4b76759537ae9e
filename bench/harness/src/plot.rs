//! Distributions: for each of several, the share of its values that are no larger.

use base::Duration;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 480);
/// Smaller values are drawn here.
const MS_MIN: f64 = 0.001;
/// Colours that people with any colour vision can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 86, 86),
];

/// One of them: points of value in milliseconds and share, both rising.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Value and share.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// The empirical distribution of some values, as a stair.
    #[must_use]
    pub fn of(name: impl Into<String>, values: &[Duration]) -> Self {
        let each: Vec<_> = values.iter().map(|value| (*value, 1)).collect();
        Self::of_counts(name, &each)
    }

    /// The same of values that come as value and count.
    #[must_use]
    pub fn of_counts(name: impl Into<String>, counts: &[(Duration, u64)]) -> Self {
        let mut sorted: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
        sorted.sort_unstable();
        let all = sorted.iter().map(|(_, count)| *count).sum::<u64>() as f64;
        let mut below = 0;
        let step = |(value, count): &&(Duration, u64)| {
            let from = below as f64 / all;
            below += count;
            [(ms(*value), from), (ms(*value), below as f64 / all)]
        };
        Self { name: name.into(), points: sorted.iter().flat_map(step).collect() }
    }
}

/// An SVG of its own; in words why not.
///
/// # Errors
/// When it cannot be drawn.
pub fn draw(title: &str, curves: &[Curve]) -> Result<String, String> {
    let mut text = String::new();
    paint(title, curves, &mut text).map_err(|error| format!("cannot draw: {error}"))?;
    Ok(text)
}

fn paint(
    title: &str,
    curves: &[Curve],
    text: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    // On a logarithmic axis nothing lies at zero.
    let values = || curves.iter().flat_map(|curve| &curve.points).map(|(at, _)| at.max(MS_MIN));
    let begin = values().fold(10.0, f64::min) * 0.9;
    let end = values().fold(begin * 2.0, f64::max) * 1.1;
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d((begin..end).log_scale(), 0.0..1.0)?;
    chart.configure_mesh().x_desc("milliseconds").y_desc("share").draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        let points = curve.points.iter().map(|(at, share)| (at.max(MS_MIN), *share));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

fn ms(span: Duration) -> f64 {
    span.nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::{Curve, draw};
    use base::Duration;

    #[test]
    fn the_stair_ends_at_all() {
        let values = [30, 20].map(Duration::from_millis);
        let points = [(20.0, 0.0), (20.0, 0.5), (30.0, 0.5), (30.0, 1.0)];
        assert_eq!(Curve::of("x", &values).points, points);
        assert!(Curve::of("x", &[]).points.is_empty());
    }

    #[test]
    fn the_plot_names_everybody_and_takes_any_values() {
        let some = [30, 0].map(Duration::from_millis);
        let curves = [Curve::of("some", &some), Curve::of("nobody", &[])];
        let svg = draw("a title", &curves).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("a title"));
        assert!(svg.contains("some") && svg.contains("nobody"));
        assert!(draw("", &[]).is_ok());
    }
}
