//! Status codes and their phrases: the IANA registry (RFC 9110 section 15 and others).

macro_rules! statuses {
    ($($code:literal $phrase:literal)*) => {
        /// The status lines from 100 on; empty where there is no standard phrase.
        static LINES: [&str; 412] = {
            let mut lines = [""; 412];
            $(lines[$code - 100] = concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n");)*
            lines
        };

        #[cfg(test)]
        const ALL: &[u16] = &[$($code),*];
    };
}

/// The standard phrase for a status; empty when there is none.
pub fn reason_phrase(status: u16) -> &'static str {
    let line = status_line(status);
    line.get(b"HTTP/1.1 200 ".len()..line.len().saturating_sub(2)).unwrap_or("")
}

/// The whole status line, CRLF included, for a status that has a standard phrase; empty for others.
#[inline]
pub(super) fn status_line(status: u16) -> &'static str {
    LINES.get(usize::from(status).wrapping_sub(100)).unwrap_or(&"")
}

statuses! {
    100 "Continue"
    101 "Switching Protocols"
    102 "Processing"
    103 "Early Hints"
    104 "Upload Resumption Supported"
    200 "OK"
    201 "Created"
    202 "Accepted"
    203 "Non-Authoritative Information"
    204 "No Content"
    205 "Reset Content"
    206 "Partial Content"
    207 "Multi-Status"
    208 "Already Reported"
    226 "IM Used"
    300 "Multiple Choices"
    301 "Moved Permanently"
    302 "Found"
    303 "See Other"
    304 "Not Modified"
    305 "Use Proxy"
    307 "Temporary Redirect"
    308 "Permanent Redirect"
    400 "Bad Request"
    401 "Unauthorized"
    402 "Payment Required"
    403 "Forbidden"
    404 "Not Found"
    405 "Method Not Allowed"
    406 "Not Acceptable"
    407 "Proxy Authentication Required"
    408 "Request Timeout"
    409 "Conflict"
    410 "Gone"
    411 "Length Required"
    412 "Precondition Failed"
    413 "Content Too Large"
    414 "URI Too Long"
    415 "Unsupported Media Type"
    416 "Range Not Satisfiable"
    417 "Expectation Failed"
    421 "Misdirected Request"
    422 "Unprocessable Content"
    423 "Locked"
    424 "Failed Dependency"
    425 "Too Early"
    426 "Upgrade Required"
    428 "Precondition Required"
    429 "Too Many Requests"
    431 "Request Header Fields Too Large"
    451 "Unavailable For Legal Reasons"
    500 "Internal Server Error"
    501 "Not Implemented"
    502 "Bad Gateway"
    503 "Service Unavailable"
    504 "Gateway Timeout"
    505 "HTTP Version Not Supported"
    506 "Variant Also Negotiates"
    507 "Insufficient Storage"
    508 "Loop Detected"
    510 "Not Extended"
    511 "Network Authentication Required"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_phrases_agree() {
        for status in 0..=u16::MAX {
            let phrase = reason_phrase(status);
            let line = format!("HTTP/1.1 {status} {phrase}\r\n");
            assert_eq!(status_line(status), if phrase.is_empty() { "" } else { &line });
        }
        assert!(ALL.is_sorted());
        assert_eq!(ALL.len(), 62);
    }
}
