//! The sentences of the calling convention that an application or a middleware can break.

macro_rules! rules {
    ($($rule:ident $name:literal $says:literal),* $(,)?) => {
        /// One of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $(
                #[doc = $says]
                $rule,
            )*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// Its name, in the log.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$rule => $name,)* }
            }

            /// What it says.
            pub fn says(self) -> &'static str {
                match self { $(Rule::$rule => $says,)* }
            }
        }
    };
}

rules! {
    // start_response
    BodyBeforeStart "body-before-start"
        "start_response is called before the first octets of the body",
    NoStart "no-start" "start_response is called before the body ends, also an empty one",
    StartNull "start-null" "start_response is given a head",
    StartTwice "start-twice" "a second head needs GW_RESPONSE_REPLACE",
    ErrorSwallowed "error-swallowed"
        "a head that replaces one which was sent is refused, and then the application gives up",
    CalledOutside "called-outside"
        "start_response and write() are called within the application call, next() and close()",
    CalledAfterEnd "called-after-end" "nothing is called for a request that is over",
    WrongThread "wrong-thread"
        "start_response and write() are called in the thread that the application was called in",
    // The head.
    StatusRange "status-range" "a status has three digits, 100 to 999",
    StatusSwitching "status-switching"
        "an application does not switch protocols: 101 is hop-by-hop",
    HintAfterBody "hint-after-body" "an interim response comes before the final one has begun",
    ReasonControl "reason-control"
        "a reason phrase has no control character, neither inside nor at its end",
    ResponseReserved "response-reserved"
        "members that are reserved are 0, and no flag is set but those of the header",
    HeadersNull "headers-null" "header_count is the number of fields at headers",
    TextNull "text-null" "a text that has a length has octets",
    HeaderNameEmpty "header-name-empty" "a field has a name",
    HeaderNameColon "header-name-colon" "a field's name is without the colon",
    HeaderNameControl "header-name-control" "a field's name has no control character and no space",
    HeaderNameToken "header-name-token" "a field's name is a token",
    HeaderNameUnderscore "header-name-underscore"
        "a field's name has no underscore: for CGI and many proxies it is the same as a hyphen",
    HeaderNamePunctuation "header-name-punctuation" "a field's name does not end in punctuation",
    HeaderValueControl "header-value-control"
        "a field's value has no control character, neither inside nor at its end",
    HopByHop "hop-by-hop" "hop-by-hop fields are the server's",
    HeaderStatus "header-status" "the status is said by start_response and not by a field",
    ContentTypeUnwanted "content-type-unwanted" "what has no body has no Content-Type: 204, 304",
    ContentLengthInvalid "content-length-invalid"
        "Content-Length is one decimal number, and not two different ones",
    ContentLengthUnwanted "content-length-unwanted" "a 204 has no Content-Length",
    HeadTooLarge "head-too-large" "the fields of a head fit into 256 KiB",
    // The body.
    ContentLengthShort "content-length-short" "the body has as many octets as Content-Length says",
    ContentLengthLong "content-length-long" "the body has no more octets than Content-Length says",
    BodyUnwanted "body-unwanted" "a 204 and a 304 have no body",
    ChunkNull "chunk-null" "a chunk that has a length has data",
    ChunkTooLong "chunk-too-long" "a chunk is not longer than memory can be",
    ChunkFile "chunk-file" "a file range has a descriptor, and begins and ends where a file can",
    ChunkFlags "chunk-flags" "a chunk has no flags but GW_CHUNK_*",
    WriteFile "write-file" "a file range that is written has a release function",
    WriteNull "write-null" "write() is given a chunk",
    WriteInNext "write-in-next" "write() is not called from within the iterable",
    // What is returned.
    ResultUnknown "result-unknown"
        "an application returns GW_OK, GW_DEFERRED, or one of the errors GW_ERR_*",
    BodyReserved "body-reserved" "size and flags of a body stay as they are",
    BodyBesideResult "body-beside-result" "who does not return GW_OK returns no body",
    DeferredWithoutHandle "deferred-without-handle" "GW_DEFERRED is returned behind gw_defer()",
    NextResult "next-result" "next() returns GW_OK, GW_EOF, GW_AGAIN, or one of the errors GW_ERR_*",
    NextWaitsForNothing "next-waits-for-nothing"
        "next() returns GW_AGAIN when a handle or more of the request's body will wake it",
    // Handles.
    DeferTwice "defer-twice" "a request has one handle",
    HandleAfterBody "handle-after-body"
        "a handle beside a body that was returned only resumes that body",
    HandleAfterEnd "handle-after-end" "a handle that was given up is not used",
    EndResult "end-result" "gw_deferred_end is told GW_OK, or one of the errors GW_ERR_*",
    // The request.
    EnvironChanged "environ-changed"
        "an environ is as it came: who changes one derives it by gw_environ_derive",
    ReadArguments "read-arguments" "gw_read has room for at least one octet, and knows GW_NOWAIT only",
    ReadAfterEnd "read-after-end" "who was told GW_EOF reads no more",
    ReadWouldBlock "read-would-block" "a thread that must not wait reads with GW_NOWAIT",
    // What a middleware does to the application in it.
    StartResponseNull "start-response-null" "a middleware passes a start_response",
    WriterMissing "writer-missing" "start_response gives a writer to whoever asks for one",
    BodyNotClosed "body-not-closed"
        "close() of a body is called when the request is over, however it ended",
    BodyClosedTwice "body-closed-twice" "close() of a body is called once",
    NextAfterClose "next-after-close" "next() is not called behind close()",
    NextAfterEnd "next-after-end" "next() is not called behind GW_EOF or an error",
    EnvironCopied "environ-copied" "size and impl of an environ are the library's",
    EnvironMissing "environ-missing"
        "REQUEST_METHOD, SERVER_NAME, SERVER_PORT and SERVER_PROTOCOL are never empty",
    EnvironScriptName "environ-script-name" "SCRIPT_NAME is empty, or begins with a slash and is more",
    EnvironPathInfo "environ-path-info" "PATH_INFO is empty, or begins with a slash",
    EnvironScheme "environ-scheme" "wsgi.url_scheme is http or https",
    EnvironContent "environ-content"
        "CONTENT_TYPE and CONTENT_LENGTH have no HTTP_ before their names",
    EnvironInput "environ-input" "an environ has an input",
}
