//! The directory and the environment that a plan asks for.

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
    /// Variables that a plan has set.
    set: Vec<String>,
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
        Surroundings { called_in: std::env::current_dir().ok(), set: Vec::new() }
    }

    /// Goes where the plan wants to be.  Before the process has threads.
    pub(crate) fn enter(&mut self, plan: &Plan) -> Result<(), Problem> {
        let unset = std::mem::take(&mut self.set);
        for name in unset.iter().filter(|it| !plan.env.iter().any(|(name, _)| name == *it)) {
            library::set_env(name, None);
        }
        for (name, value) in &plan.env {
            library::set_env(name, Some(value));
            self.set.push(name.clone());
        }
        let wrong =
            |place: &Place, error: std::io::Error| Err(Problem::new(place, error.to_string()));
        match (&plan.directory, &self.called_in) {
            (Some((place, path)), called_in) => {
                if let Err(error) = std::env::set_current_dir(path) {
                    return wrong(place, error);
                }
                if let Some(from) = called_in {
                    let said = format!("{}:{}", std::process::id(), from.display());
                    library::set_env(CALLED_IN, Some(&said));
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
