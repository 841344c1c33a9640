//! What all drawings have in common: axes with round ticks, and text that is safe within SVG.

mod axis;

use std::fmt::{self, Display, Formatter, Write};

pub use axis::Axis;

/// Text as XML.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}

/// The beginning of a text, if all of it is too long.
pub fn shortened(text: &str, letters: usize) -> String {
    match text.chars().count() {
        count if count <= letters => text.to_owned(),
        _ => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_safe_and_short() {
        assert_eq!(Escaped("a < \"b\" & c > d").to_string(), "a &lt; &quot;b&quot; &amp; c &gt; d");
        assert_eq!([shortened("über", 4), shortened("übers", 4)], ["über", "übe…"]);
    }
}
