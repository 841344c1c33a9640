//! Colours of the figure: time as a scale from amber to violet, and ink, for light and for dark paper.

use std::fmt::Write;

/// Steps of the scale of time.
pub(super) const SHADES: usize = 24;

type Rgb = [f64; 3];

/// The scale's supports on light paper: each is darker than the one before, so that it reads in grey too.
const ON_LIGHT: [Rgb; 4] = [[235.0, 160.0, 20.0], [222.0, 84.0, 62.0], [160.0, 44.0, 126.0], [72.0, 32.0, 140.0]];
/// The same on dark paper, where the first is the brightest.
const ON_DARK: [Rgb; 4] = [[255.0, 214.0, 112.0], [255.0, 142.0, 96.0], [222.0, 104.0, 176.0], [150.0, 120.0, 255.0]];

fn shade(supports: &[Rgb; 4], at: usize) -> String {
    let position = at as f64 / (SHADES - 1) as f64 * (supports.len() - 1) as f64;
    let left = (position as usize).min(supports.len() - 2);
    let part = position - left as f64;
    let mixed = [0, 1, 2].map(|c| supports[left][c] + part * (supports[left + 1][c] - supports[left][c]));
    mixed.iter().fold("#".to_owned(), |text, c| text + &format!("{:02x}", c.round() as u8))
}

/// The style sheet. The light colours stand alone, for programs that know no media queries; every rule is confined to
/// the figure, so that a page may hold it inline.
pub(super) fn style() -> String {
    let shades = |supports: &[Rgb; 4]| {
        let mut text = String::new();
        for at in 0..SHADES {
            let colour = shade(supports, at);
            let _ = writeln!(text, ".toy .s{at}{{stroke:{colour}}} .toy .f{at}{{fill:{colour}}}");
        }
        text
    };
    let (light, dark) = (shades(&ON_LIGHT), shades(&ON_DARK));
    format!(
        "\
.toy text{{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:11px;fill:#24292f}}
.toy .name{{font-size:13px;font-weight:600}}
.toy .small{{font-size:10px;fill:#59636e}}
.toy .axis{{font-style:italic;font-size:12px}}
.toy .paper{{fill:#ffffff}}
.toy .frame{{fill:none;stroke:#8c959f}}
.toy .grid{{stroke:#d8dee4;stroke-width:.6}}
.toy .front{{fill:none;stroke:#8c959f;stroke-width:5;stroke-opacity:.65;stroke-linecap:round}}
.toy .way{{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}}
.toy .dot{{fill:#24292f}}
.toy .end{{fill:#ffffff;stroke-width:1.6}}
.toy .star{{fill:#12a150;stroke:#ffffff;stroke-width:1}}
{light}@media (prefers-color-scheme:dark){{
.toy text,.toy .dot{{fill:#e6edf3}}
.toy .small{{fill:#9198a1}}
.toy .paper,.toy .end{{fill:#14181e}}
.toy .frame{{stroke:#656c76}}
.toy .grid{{stroke:#2b323b}}
.toy .front{{stroke:#8c959f}}
.toy .star{{fill:#3fd6a0;stroke:#14181e}}
{dark}}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_goes_from_its_first_colour_to_its_last() {
        assert_eq!(shade(&ON_LIGHT, 0), "#eba014");
        assert_eq!(shade(&ON_LIGHT, SHADES - 1), "#48208c");
        let grey = |colour: &str| -> f64 {
            let part = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
            0.299 * part(1) + 0.587 * part(3) + 0.114 * part(5)
        };
        let greys: Vec<f64> = (0..SHADES).map(|at| grey(&shade(&ON_LIGHT, at))).collect();
        assert!(greys.windows(2).all(|pair| pair[0] > pair[1]), "{greys:?}");
    }
}
