//! The variables that describe a request where it is a process's environment (RFC 3875 section 4.1):
//! which of an environment's are the request's, and which may get into one.

/// By name; those of header fields and of modules have a prefix instead.
const NAMED: [&[u8]; 29] = [
    b"AUTH_TYPE",
    b"CONTENT_LENGTH",
    b"CONTENT_TYPE",
    b"DOCUMENT_ROOT",
    b"DOCUMENT_URI",
    b"GATEWAY_INTERFACE",
    b"HTTPS",
    b"PATH_INFO",
    b"PATH_TRANSLATED",
    b"QUERY_STRING",
    b"REMOTE_ADDR",
    b"REMOTE_HOST",
    b"REMOTE_IDENT",
    b"REMOTE_PORT",
    b"REMOTE_USER",
    b"REQUEST_METHOD",
    b"REQUEST_SCHEME",
    b"REQUEST_URI",
    b"SCRIPT_FILENAME",
    b"SCRIPT_NAME",
    b"SCRIPT_URI",
    b"SCRIPT_URL",
    b"SERVER_ADDR",
    b"SERVER_ADMIN",
    b"SERVER_NAME",
    b"SERVER_PORT",
    b"SERVER_PROTOCOL",
    b"SERVER_SOFTWARE",
    b"UNIQUE_ID",
];

/// Of header fields, of TLS, of a redirect.
const PREFIXES: [&[u8]; 3] = [b"HTTP_", b"SSL_", b"REDIRECT_"];

/// Whether a variable of this name describes a request.
///
/// `HTTP_PROXY` does not: it may be the header `Proxy`, which no client has a use for, or the address
/// through which this machine's programs reach others, which no client must choose (CVE-2016-5385).
/// What changes how programs are found and loaded (`PATH`, `LD_PRELOAD`) is no request's, whoever says
/// so.
pub fn is_of_request(name: &[u8]) -> bool {
    let is_known = NAMED.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_known && name != b"HTTP_PROXY" && !name.contains(&b'=') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_more_than_a_request() {
        for name in ["REQUEST_METHOD", "HTTP_X", "SSL_PROTOCOL", "REDIRECT_STATUS", "HTTPS"] {
            assert!(is_of_request(name.as_bytes()), "{name}");
        }
        for name in ["", "PATH", "LD_PRELOAD", "HTTP_PROXY", "HTTP", "http_x", "HTTP_A=B", "wsgi.x"]
        {
            assert!(!is_of_request(name.as_bytes()), "{name}");
        }
    }
}
