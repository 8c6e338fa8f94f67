//! A straight line through points by least squares, with the 95 % confidence interval of its slope (Student's t).

use crate::domain::Reading;

use crate::report::model::Slope;

/// Points below which a confidence interval says nothing.
const FEWEST_POINTS: usize = 3;

/// Fits memory in bytes over a number of connections.
pub(super) fn fit(points: &[(f64, f64)]) -> Reading<Slope> {
    if points.len() < FEWEST_POINTS {
        return Reading::missing(format!(
            "{} samples fell into the ramp, and a line needs at least {FEWEST_POINTS}",
            points.len()
        ));
    }
    let count = points.len() as f64;
    let mean = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean) * (x - mean)).sum();
    if spread <= 0.0 {
        return Reading::missing("the number of connections did not change between the samples");
    }
    let product: f64 = points.iter().map(|(x, y)| (x - mean) * (y - mean_y)).sum();
    let slope = product / spread;
    let intercept = slope.mul_add(-mean, mean_y);
    let squares: f64 = points
        .iter()
        .map(|(x, y)| (y - slope.mul_add(*x, intercept)).powi(2))
        .sum();
    let scatter = (squares / (count - 2.0)).sqrt();
    let quantile = student_95(points.len() - 2);
    Reading::Present(Slope {
        slope,
        intercept,
        half_width: quantile * scatter / spread.sqrt(),
        points: points.len(),
        scatter,
        mean,
        spread,
        quantile,
    })
}

/// The 97.5 % quantile of Student's distribution: exact for few degrees of freedom, by the first terms of
/// Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5) from 11 on, where three of them are good to three digits.
fn student_95(freedom: usize) -> f64 {
    const FEW: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    const NORMAL: f64 = 1.959_964;
    if let Some(exact) = freedom.checked_sub(1).and_then(|index| FEW.get(index)) {
        return *exact;
    }
    let freedom = freedom as f64;
    let [one, three, five, seven] = [1, 3, 5, 7].map(|power| NORMAL.powi(power));
    let terms = [
        (three + one) / 4.0,
        (5.0 * five + 16.0 * three + 3.0 * one) / 96.0,
        (3.0 * seven + 19.0 * five + 17.0 * three - 15.0 * one) / 384.0,
    ];
    let powers = (1..).map(|power| freedom.powi(power));
    NORMAL
        + terms
            .iter()
            .zip(powers)
            .map(|(term, power)| term / power)
            .sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_found_again_without_doubt() {
        let points: Vec<_> = (0..20)
            .map(|x| (f64::from(x), 8130.0f64.mul_add(f64::from(x), 5.0)))
            .collect();
        let fitted = fit(&points);
        let slope = fitted.present().expect("a line");
        assert!((slope.slope - 8130.0).abs() < 1e-6);
        assert!((slope.intercept - 5.0).abs() < 1e-6);
        assert!(slope.half_width < 1e-6);
    }

    /// Textbook figures: x = 1..5, y = 2 4 5 4 5 has slope 0.6, standard error 0.2828, t(3) = 3.182.
    #[test]
    fn the_interval_is_students() {
        let points = [(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)];
        let fitted = fit(&points);
        let slope = fitted.present().expect("a line");
        assert!((slope.slope - 0.6).abs() < 1e-9);
        assert!((slope.half_width - 3.182 * 0.282_843).abs() < 1e-3);
    }

    #[test]
    fn quantiles_agree_with_the_tables() {
        for (freedom, expected) in [
            (1, 12.706),
            (10, 2.228),
            (11, 2.201),
            (20, 2.086),
            (60, 2.000),
        ] {
            assert!((student_95(freedom) - expected).abs() < 1.5e-3, "{freedom}");
        }
    }

    #[test]
    fn too_few_points_are_a_gap() {
        assert!(fit(&[(1.0, 1.0), (2.0, 2.0)]).gap().is_some());
        assert!(fit(&[(1.0, 1.0); 9]).gap().is_some());
    }
}
