//! `gateway shop:app`: a WSGI application is the module `gateway-python.so` with arguments.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::failure::Failure;

const MODULE: &str = "gateway-python.so";

/// Whether this is `package.module:application`, and not a file.
pub(crate) fn is_application(word: &str) -> bool {
    let is_name = |part: &str| {
        !part.starts_with(|c: char| c.is_ascii_digit())
            && !part.is_empty()
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let Some((module, application)) = word.split_once(':') else { return false };
    module.split('.').all(is_name) && !application.is_empty() && !Path::new(word).exists()
}

/// The module, and what it is told: of modules where the process is, unless its own words say more.
pub(crate) fn module(word: &str, args: &[String]) -> Result<(String, Vec<String>), Failure> {
    let places = [env::current_exe().ok(), library()];
    let beside = |it: PathBuf| it.with_file_name(MODULE);
    let found = places.iter().flatten().cloned().map(beside).find(|it| it.exists());
    let Some(found) = found else {
        let text = format!(
            "{word}: {MODULE}, which runs applications of Python, is not there: `make python-module`, and \
             `make install` put it beside the library"
        );
        return Err(Failure::new(&text).with_status(4));
    };
    let mut told = vec!["path=.".to_owned()];
    told.extend_from_slice(args);
    told.push(word.to_owned());
    Ok((found.display().to_string(), told))
}

/// The library that this process runs.
fn library() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let is_ours = |path: &&Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libgateway.so"))
    };
    paths.into_iter().find(is_ours).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::is_application;

    #[test]
    fn a_module_and_an_application() {
        for word in ["app:app", "my.project_2.wsgi:application", "app:make('x',y=1)", "\u{fc}:app"]
        {
            assert!(is_application(word), "{word}");
        }
        for word in
            ["app", "./app:app", "2.so:x", "app:", ":app", "a b:app", "127.0.0.1:8000", "a..b:c"]
        {
            assert!(!is_application(word), "{word}");
        }
    }

    #[test]
    fn the_library_that_runs_is_found() {
        assert!(super::library().is_some_and(|path| path.exists()));
    }
}
