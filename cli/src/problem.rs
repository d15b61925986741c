//! What is wrong with a configuration, and where it was said.

use std::fmt;

/// Where something was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the file, from 1, under a key.
    Line(usize, String),
    /// On the command line, by this flag.
    Flag(String),
    /// Nobody knows.
    #[default]
    Unknown,
}

/// A sentence, and the place that it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(place: &Place, text: impl Into<String>) -> Self {
        Problem { place: place.clone(), text: text.into() }
    }

    /// `app.toml:3: max_body: ...`
    pub(crate) fn line(&self, file: &str) -> String {
        let Problem { place, text } = self;
        match place {
            Place::Line(line, key) if key.is_empty() => format!("{file}:{line}: {text}"),
            Place::Line(line, key) => format!("{file}:{line}: {key}: {text}"),
            Place::Flag(flag) => format!("{flag}: {text}"),
            Place::Unknown if file.is_empty() => text.clone(),
            Place::Unknown => format!("{file}: {text}"),
        }
    }
}

/// All of them in the order of the file, each once.
pub(crate) fn lines(mut problems: Vec<Problem>, file: &str) -> Vec<String> {
    problems.sort();
    problems.dedup();
    problems.iter().map(|problem| problem.line(file)).collect()
}

/// "; did you mean workers?", if one of these is near.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
) -> impl fmt::Display {
    let near = known.map(|it| (strsim::damerau_levenshtein(word, it), it)).min();
    match near {
        Some((distance, it)) if distance <= (word.len() / 3).max(1) => {
            format!("; did you mean {it}?")
        }
        _ => String::new(),
    }
}
