//! Options, listeners, log destinations: plain data, checked before anything starts.

pub mod listener;
pub mod options;
pub mod output;
pub mod pool;
pub mod settings;
pub mod trust;
pub(crate) mod value;

pub use settings::Settings;
pub(crate) use value::{show_duration, show_size};

use std::fmt;

/// What a caller wrote, for an error message: quoted, on one line, not longer than a line.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 80;
        f.write_str("'")?;
        for (n, c) in self.0.chars().enumerate() {
            if n == MAX {
                return f.write_str("...'");
            }
            match c {
                '"' => f.write_str("\"")?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        f.write_str("'")
    }
}

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn quotes_keep_an_error_on_one_short_line() {
        assert_eq!(Quoted("a\n\x1b\"é").to_string(), "'a\\n\\u{1b}\"é'");
        assert_eq!(Quoted("it's").to_string(), "'it\\'s'");
        assert_eq!(Quoted(&"x".repeat(80)).to_string().len(), 82);
        let long = Quoted(&"x".repeat(10_000)).to_string();
        assert!(long.len() < 100 && long.ends_with("...'"));
    }
}
