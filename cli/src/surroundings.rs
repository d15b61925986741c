//! The directory and the environment that a plan asks for.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::library;
use crate::plan::Plan;
use crate::problem::{Place, Problem};

/// The directory that a process of ours was called in, for those that it starts again: `PID:/path`.
const CALLED_IN: &str = "GATEWAY_CALLED_IN";

/// What the process was called in.
#[derive(Debug)]
pub(crate) struct Surroundings {
    called_in: Option<PathBuf>,
    /// Variables that a plan has set, and what they were.
    set: Vec<(String, Option<OsString>)>,
    /// What the plan said that was entered last.
    entered: (Vec<(String, String)>, Option<PathBuf>),
    /// There are threads, which read the environment when they like.
    fixed: bool,
}

impl Surroundings {
    /// As they are.  A process that was started by one of ours which had gone elsewhere goes back to
    /// where that was called: paths of the command line are meant from there.
    pub(crate) fn now() -> Self {
        let said = std::env::var(CALLED_IN).ok();
        let parent = std::os::unix::process::parent_id().to_string();
        if let Some((pid, path)) = said.as_deref().and_then(|it| it.split_once(':'))
            && pid == parent
        {
            let _ = std::env::set_current_dir(path);
        }
        Surroundings {
            called_in: std::env::current_dir().ok(),
            set: Vec::new(),
            entered: Default::default(),
            fixed: false,
        }
    }

    /// From now on the process has threads: all stays as it is.
    pub(crate) fn fix(&mut self) {
        self.fixed = true;
    }

    /// Goes where the plan wants to be, unless the process has threads: then it must be there.
    pub(crate) fn enter(&mut self, plan: &Plan) -> Result<(), Problem> {
        let wanted = (plan.env.clone(), plan.directory.as_ref().map(|(_, path)| path.clone()));
        if self.fixed {
            let text = "chdir and [env] of a process with threads cannot change by a reload: upgrade (USR2)";
            let place = plan.directory.as_ref().map_or(&Place::Unknown, |(place, _)| place);
            return if wanted == self.entered { Ok(()) } else { Err(Problem::new(place, text)) };
        }
        for (name, before) in std::mem::take(&mut self.set).into_iter().rev() {
            library::set_env(&name, before.as_deref());
        }
        for (name, value) in &plan.env {
            self.set.push((name.clone(), std::env::var_os(name)));
            library::set_env(name, Some(value.as_ref()));
        }
        self.entered = wanted;
        let wrong =
            |place: &Place, error: std::io::Error| Err(Problem::new(place, error.to_string()));
        match (&plan.directory, &self.called_in) {
            (Some((place, path)), called_in) => {
                if let Err(error) = std::env::set_current_dir(path) {
                    return wrong(place, error);
                }
                if let Some(from) = called_in {
                    let said = format!("{}:{}", std::process::id(), from.display());
                    library::set_env(CALLED_IN, Some(said.as_ref()));
                }
            }
            (None, Some(path)) => {
                if let Err(error) = std::env::set_current_dir(path) {
                    return wrong(&Place::Unknown, error);
                }
            }
            (None, None) => {}
        }
        Ok(())
    }
}
