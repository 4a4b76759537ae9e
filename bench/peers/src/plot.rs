//! Who needed how long: for each, the share of its cuts that were over by then.

use anyhow::{Result, anyhow};
use base::Duration;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 480);
/// Colours that people with any colour vision can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 86, 86),
];

/// An SVG of its own.
pub(crate) fn draw(curves: &[(&str, &[Duration])]) -> Result<String> {
    let mut text = String::new();
    paint(curves, &mut text).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(text)
}

fn paint(
    curves: &[(&str, &[Duration])],
    text: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let longest = curves.iter().flat_map(|(_, values)| values.iter()).max();
    let end = longest.map_or(100.0, |longest| ms(*longest)).max(10.0) * 1.1;
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("From the power cut; share of the cuts", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d((10.0..end).log_scale(), 0.0..1.0)?;
    chart.configure_mesh().x_desc("milliseconds").y_desc("share").draw()?;
    for ((name, values), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(steps(values), style))?
            .label(*name)
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

/// The empirical distribution as a stair.
fn steps(values: &[Duration]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().map(|value| ms(*value)).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let step = |(place, at): (usize, &f64)| {
        [(*at, place as f64 / count), (*at, (place + 1) as f64 / count)]
    };
    sorted.iter().enumerate().flat_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::{draw, steps};
    use base::Duration;

    #[test]
    fn the_stair_ends_at_all() {
        let values = [30, 20].map(Duration::from_millis);
        assert_eq!(steps(&values), [(20.0, 0.0), (20.0, 0.5), (30.0, 0.5), (30.0, 1.0)]);
        assert!(steps(&[]).is_empty());
    }

    #[test]
    fn the_plot_names_everybody() {
        let values = [30, 20].map(Duration::from_millis);
        let svg = draw(&[("netguard", &values), ("nobody", &[])]).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("netguard") && svg.contains("nobody"));
    }
}
