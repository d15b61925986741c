//! Applications that are ready to be mounted, by name.

pub mod cgi;

use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::conf::{Quoted, value};
use crate::gateway::app::Application;

/// Names that are taken, and whose applications this version has not.
const ABSENT: [&str; 4] = ["static", "forward", "redirect", "health"];

/// How long a script may be silent unless something else is said.
const CGI_TIMEOUT: Duration = Duration::from_secs(60);

/// The application of this name, made as `args` say ("key=value ..."), and its name.
///
/// # Errors
/// `Kind::Unknown`: there is none; `Kind::Unsupported`: not in this version; and what is wrong with
/// the arguments.
pub fn builtin(name: &str, args: &str) -> Result<(Application, &'static CStr)> {
    match name {
        "cgi" => Ok((cgi(args).map_err(|error| error.within("cgi"))?, c"cgi")),
        _ if ABSENT.contains(&name) => {
            let text = format!("the application {} is not in this version", Quoted(name));
            Err(Error::new(Kind::Unsupported, text))
        }
        _ => {
            let text = format!("no application {}: there is cgi", Quoted(name));
            Err(Error::new(Kind::Unknown, text))
        }
    }
}

fn cgi(args: &str) -> Result<Application> {
    let (mut root, mut timeout) = (None, CGI_TIMEOUT);
    for pair in args.split_whitespace() {
        match pair.split_once('=') {
            Some(("root", path)) if !path.is_empty() => root = Some(path),
            Some(("timeout", text)) => {
                timeout = value::duration(text).ok_or_else(|| {
                    let text = format!("timeout = {}: expected a duration (30s)", Quoted(text));
                    Error::new(Kind::Invalid, text)
                })?;
            }
            _ => {
                let text = format!("{}: write root=/directory timeout=30s", Quoted(pair));
                return Err(Error::new(Kind::Invalid, text));
            }
        }
    }
    let root = root.ok_or_else(|| {
        Error::new(Kind::Invalid, "root is missing: the directory that has the scripts")
    })?;
    Ok(Application::new(cgi::Scripts::new(Path::new(root), timeout)?).named("cgi"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::abi::APP_THREADSAFE;

    #[test]
    fn a_name_and_arguments_make_an_application() {
        let (app, name) = builtin("cgi", " root=/  timeout=1.5s ").unwrap();
        assert_eq!((app.name(), name, app.flags()), ("cgi", c"cgi", APP_THREADSAFE));
        for (name, args, kind, says) in [
            ("cgi", "", Kind::Invalid, "cgi: root is missing"),
            ("cgi", "root=", Kind::Invalid, "'root=': write root=/directory"),
            ("cgi", "root=/ x", Kind::Invalid, "'x': write"),
            ("cgi", "root=/ timeout=soon", Kind::Invalid, "timeout = 'soon'"),
            ("cgi", "root=/nowhere/at/all", Kind::Io, "/nowhere/at/all: No such file"),
            ("cgi", "root=/etc/passwd", Kind::Invalid, "/etc/passwd: not a directory"),
            ("static", "", Kind::Unsupported, "'static' is not in this version"),
            ("sttic", "", Kind::Unknown, "no application 'sttic'"),
        ] {
            let error = builtin(name, args).unwrap_err();
            assert!(error.message().contains(says), "{error}");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
