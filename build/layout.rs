//! What stands where in `gateway.h`: the sections, the files that each is made of, and the names that
//! structs of the lower layers have in C.
//!
//! Within a file the header keeps the order of the source, and the source's blank lines between
//! constants; a declaration that C needs earlier is named in `first`.

/// A titled part of the header.
pub(crate) struct Section {
    /// After its number.
    pub(crate) title: &'static str,
    /// A comment below the title; may be empty.
    pub(crate) intro: &'static str,
    /// Types and functions of other files that stand here, by their names in C.
    pub(crate) first: &'static [&'static str],
    /// Where the rest comes from.
    pub(crate) sources: &'static [&'static str],
}

/// The sections after the versions' macros, which begin the first one.
pub(crate) const SECTIONS: &[Section] = &[
    Section { title: "versions", intro: "", first: &[], sources: &["src/ffi/version.rs"] },
    Section { title: "results", intro: "", first: &[], sources: &["src/ffi/result.rs"] },
    Section {
        title: "octets, pairs, chunks (frozen)",
        intro: "",
        first: &[],
        sources: &["src/base/octets.rs"],
    },
    Section {
        title: "the calling convention",
        intro: "",
        first: &[],
        sources: &["src/gateway/abi.rs", "src/ffi/app.rs"],
    },
    Section {
        title: "environ",
        intro: "All [req], or [one] on a gw_deferred_environ(); what they return lives as long as the \
                request.",
        first: &[],
        sources: &["src/ffi/environ.rs"],
    },
    Section { title: "request body", intro: "", first: &[], sources: &["src/ffi/input.rs"] },
    Section {
        title: "response bodies",
        intro: "These set `first` only; next, close and ctx stay the application's.",
        first: &[],
        sources: &["src/ffi/body.rs"],
    },
    Section {
        title: "answering later, from any thread",
        intro: "",
        first: &[],
        sources: &["src/ffi/deferred.rs"],
    },
    Section {
        title: "configuration",
        intro: "",
        first: &[],
        sources: &["src/ffi/config.rs", "src/ffi/options.rs"],
    },
    Section {
        title: "hooks, log",
        intro: "",
        first: &["gw_server", "gw_arbiter"],
        sources: &["src/ffi/requests.rs", "src/ffi/hooks.rs"],
    },
    Section {
        title: "the arbiter",
        intro: "",
        first: &[],
        sources: &["src/ffi/stats.rs", "src/ffi/listener.rs", "src/ffi/arbiter.rs"],
    },
    Section {
        title: "one worker, inside a foreign event loop",
        intro: "",
        first: &[],
        sources: &["src/ffi/server.rs"],
    },
    Section {
        title: "hosted: the front is somebody else's",
        intro: "",
        first: &[],
        sources: &["src/ffi/host.rs"],
    },
    Section {
        title: "application modules",
        intro: "",
        first: &[],
        sources: &["src/ffi/module.rs"],
    },
];

/// Types of the lower layers that are in the header, and their names there.  Constants of those
/// layers need no line here: they get the prefix `GW_`.
pub(crate) const TYPES: &[(&str, &str)] = &[
    ("Octets", "gw_str"),
    ("Pair", "gw_pair"),
    ("Chunk", "gw_chunk"),
    ("Code", "gw_result"),
    ("Input", "gw_input"),
    ("Environ", "gw_environ"),
    ("Response", "gw_response"),
    ("Writer", "gw_writer"),
    ("StartResponseFn", "gw_start_response_fn"),
    ("BodyFrame", "gw_body"),
    ("AppFn", "gw_app_fn"),
    ("AppFrame", "gw_app"),
];

/// Every file that declares something.
pub(crate) fn sources() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().flat_map(|section| section.sources).copied()
}
