//! `gateway completions` and `gateway man`: what belongs to the command, made of what clap knows.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::{Failure, Outcome, print};
use crate::options::TABLES;

pub(crate) fn command() -> Command {
    Command::new("completions")
        .about("Print completions for a shell")
        .long_about(
            "Print completions for a shell. For bash, say: gateway completions bash \
             >/etc/bash_completion.d/gateway",
        )
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("Which"),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let shell: &Shell = matches.get_one("shell").expect("clap asks for it");
    let mut octets = Vec::new();
    clap_complete::generate(*shell, &mut crate::command(), "gateway", &mut octets);
    print(&String::from_utf8_lossy(&octets))
}

pub(crate) fn man() -> Command {
    Command::new("man").about("Print the manual page, gateway(1)")
}

/// One page: what the command is for, then each subcommand with its options.
pub(crate) fn run_man(_matches: &ArgMatches) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("manual page: {error}"));
    let mut command = crate::command();
    command.build();
    let subcommands: Vec<_> =
        command.get_subcommands().filter(|it| it.get_name() != "help").cloned().collect();
    let man = Man::new(command).date(DATE).manual("Gateway manual");
    let mut octets = Vec::new();
    man.render_title(&mut octets).map_err(failed)?;
    man.render_name_section(&mut octets).map_err(failed)?;
    man.render_synopsis_section(&mut octets).map_err(failed)?;
    man.render_description_section(&mut octets).map_err(failed)?;
    man.render_options_section(&mut octets).map_err(failed)?;
    for sub in subcommands {
        let heading = format!(".SH {}\n", sub.get_name().to_uppercase());
        octets.extend(heading.as_bytes());
        let mut of_it = Vec::new();
        let sub = Man::new(sub);
        sub.render_synopsis_section(&mut of_it).map_err(failed)?;
        sub.render_description_section(&mut of_it).map_err(failed)?;
        sub.render_options_section(&mut of_it).map_err(failed)?;
        // Sections of a section.
        let text = String::from_utf8_lossy(&of_it).replace(".SH SYNOPSIS\n", "");
        octets.extend(text.replace(".SH DESCRIPTION\n", ".PP\n").replace(".SH ", ".SS ").bytes());
    }
    octets.extend(FILE.as_bytes());
    octets.extend(literal(TABLES).bytes());
    octets.extend(SEE_ALSO.as_bytes());
    // Two breaks in a row are one.
    print(&String::from_utf8_lossy(&octets).replace(".br\n\n.br\n", ".br\n"))
}

/// Of the page; a day, so that whoever makes it gets the same.
const DATE: &str = "2026-11-21";

const FILE: &str = ".SH FILE\nThe file of run and check is TOML. Options stand at its top under their own \
    names, as \\fBgateway options\\fR has them: numbers, true or false, strings as on the command line, \
    and arrays for lists. Beside them there are:\n";

/// Lines as they stand.
fn literal(text: &str) -> String {
    let mut out = String::from(".PP\n.nf\n");
    for line in text.trim().lines() {
        // A comment of what is no comment there.
        let line = match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        };
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        out += &format!("{}{line}\n", if line.starts_with(['.', '\'']) { "\\&" } else { "" });
    }
    out + ".fi\n"
}

const SEE_ALSO: &str =
    ".SH SEE ALSO\n\\fBgateway\\fR(7), \\fBgw_module\\fR(3), \\fBgw_config\\fR(3)\n";
