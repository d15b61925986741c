use super::*;

/// A record with padding.
fn record(kind: Kind, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() % 8;
    let mut octets = Head::octets(kind, id, content.len()).to_vec();
    octets[6] = padding as u8;
    octets.extend_from_slice(content);
    octets.extend(vec![0xff; padding]);
    octets
}

fn begin(id: u16, role: u8, flags: u8) -> Vec<u8> {
    record(Kind::BeginRequest, id, &[0, role, flags, 0, 0, 0, 0, 0])
}

fn vars(vars: &[(&str, &str)]) -> Vec<u8> {
    let mut octets = Vec::new();
    let length = |text: &str| match text.len() {
        len @ ..128 => vec![len as u8],
        len => (len as u32 | 1 << 31).to_be_bytes().to_vec(),
    };
    for (name, value) in vars {
        octets.extend(length(name));
        octets.extend(length(value));
        octets.extend(name.as_bytes());
        octets.extend(value.as_bytes());
    }
    octets
}

fn request(id: u16, params: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut octets = [begin(id, 1, 1), record(Kind::Params, id, &vars(params))].concat();
    octets.extend(record(Kind::Params, id, b""));
    if !body.is_empty() {
        octets.extend(record(Kind::Stdin, id, body));
    }
    octets.extend(record(Kind::Stdin, id, b""));
    octets
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    events: Vec<String>,
    replies: Vec<u8>,
}

/// What is told when the octets come in pieces of `size`; requests are finished at their end.
fn told_in(octets: &[u8], size: usize, most: usize) -> Told {
    let mut decoder = Decoder::new(most);
    let (mut start, mut end, mut told) = (0, 0, Told::default());
    let mut streams = std::collections::BTreeMap::<_, Vec<u8>>::new();
    loop {
        let unread = &octets[start..end];
        let step = decoder.decode(unread, &mut told.replies);
        start += step.consumed;
        match step.event {
            Event::More if end == octets.len() => return told,
            Event::More => end = octets.len().min(end + size),
            Event::Begin { id, keep_alive } => told.events.push(format!("{id} keep {keep_alive}")),
            Event::Data(id, stream, span) => {
                streams.entry((id, stream)).or_default().extend_from_slice(span.of(unread));
            }
            Event::End(id, stream) => {
                let content = streams.remove(&(id, stream)).unwrap_or_default();
                if stream == Stream::Params {
                    let mut params = Params::default();
                    variables(&content, &mut params).unwrap();
                    let names: Vec<_> =
                        params.others.iter().map(|it| it.name.of(&content)).collect();
                    let names = String::from_utf8(names.join(&b' ')).unwrap();
                    told.events.push(format!("{id} has {names}"));
                } else {
                    told.events.push(format!("{id} end {:?}", String::from_utf8_lossy(&content)));
                    decoder.finish(id);
                }
            }
            Event::Abort(id) => {
                told.events.push(format!("{id} abort"));
                decoder.finish(id);
            }
            Event::Broken(reject) => {
                told.events.push(reject.reason.to_owned());
                return told;
            }
        }
    }
}

fn told(octets: &[u8]) -> Told {
    let whole = told_in(octets, usize::MAX / 2, 3);
    for size in [1, 2, 3, 7, 8, 9, 64] {
        assert_eq!(told_in(octets, size, 3), whole, "in pieces of {size}");
    }
    whole
}

const GET: [(&str, &str); 1] = [("REQUEST_METHOD", "GET")];

#[test]
fn one_request_after_another() {
    let long = "x".repeat(300);
    let post = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("X", &long)];
    let octets = [request(1, &GET, b""), request(1, &post, b"hello")].concat();
    let expected = [
        "1 keep true",
        "1 has REQUEST_METHOD",
        "1 end \"\"",
        "1 keep true",
        "1 has REQUEST_METHOD CONTENT_LENGTH X",
        "1 end \"hello\"",
    ];
    assert_eq!(told(&octets).events, expected);
}

#[test]
fn requests_are_told_apart() {
    let put = vars(&[("REQUEST_METHOD", "PUT")]);
    let octets = [
        begin(1, 1, 1),
        begin(2, 1, 0),
        record(Kind::Params, 2, &put[..5]),
        record(Kind::Params, 1, &put),
        record(Kind::Params, 2, &put[5..]),
        record(Kind::Params, 2, b""),
        record(Kind::Stdin, 2, b"two "),
        record(Kind::Params, 1, b""),
        record(Kind::Stdin, 1, b"one"),
        record(Kind::Stdin, 2, b"too"),
        record(Kind::Stdin, 2, b""),
        record(Kind::Stdin, 1, b""),
    ]
    .concat();
    let expected = [
        "1 keep true",
        "2 keep false",
        "2 has REQUEST_METHOD",
        "1 has REQUEST_METHOD",
        "2 end \"two too\"",
        "1 end \"one\"",
    ];
    assert_eq!(told(&octets).events, expected);
}

#[test]
fn the_protocol_answers_by_itself() {
    let mut names = vars(&[("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_REQS", ""), ("FCGI_ELSE", "")]);
    let values = [
        record(Kind::GetValues, 0, &names),
        record(Kind::Data, 0, b"abc"),
        begin(1, 2, 1),
        record(Kind::Params, 1, b"ignored"),
        begin(2, 1, 1),
        begin(3, 1, 1),
        begin(4, 1, 1),
        begin(5, 1, 1),
        record(Kind::AbortRequest, 4, b""),
        record(Kind::AbortRequest, 9, b""),
    ]
    .concat();
    let told = told(&values);
    assert_eq!(told.events, ["2 keep true", "3 keep true", "4 keep true", "4 abort"]);
    let known = vars(&[("FCGI_MAX_REQS", "3"), ("FCGI_MPXS_CONNS", "1")]);
    let mut expected = Head::octets(Kind::GetValuesResult, 0, known.len()).to_vec();
    expected.extend(known);
    expected.extend(Head::octets(Kind::UnknownType, 0, 8));
    expected.extend([8, 0, 0, 0, 0, 0, 0, 0]);
    end_request(&mut expected, 1, 0, End::UnknownRole);
    end_request(&mut expected, 5, 0, End::Overloaded);
    assert_eq!(told.replies, expected);

    names.truncate(3);
    let cut = told_in(&record(Kind::GetValues, 0, &names), 99, 1);
    assert_eq!(cut.replies, Head::octets(Kind::GetValuesResult, 0, 0));
    let second = told_in(&[begin(1, 1, 1), begin(2, 1, 1)].concat(), 99, 1);
    let mut expected = Vec::new();
    end_request(&mut expected, 2, 0, End::CannotMultiplex);
    assert_eq!(second.replies, expected);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for octets in [&[200][..], &[4, 0, b'a'], &[0], &[0x80, 0, 0], &[0xff, 255, 255, 255, 1, b'a']]
    {
        assert!(variables(octets, &mut Params::default()).is_err(), "{octets:?}");
    }
    let mut params = Params::default();
    variables(&[0, 0, 1, 0, b'a', 0x80, 0, 0, 1, 1, b'b', b'c'], &mut params).unwrap();
    assert_eq!(params.others.len(), 3);
}

#[test]
fn what_nobody_waits_for_is_skipped() {
    let octets = [
        record(Kind::Params, 9, b"abc"),
        record(Kind::Stdin, 9, b"abc"),
        begin(1, 1, 0),
        record(Kind::Stdin, 1, b"before its time"),
        record(Kind::Stdout, 1, b"abc"),
        record(Kind::Params, 1, b""),
        record(Kind::Params, 1, b"too late"),
        record(Kind::Stdin, 1, b"body"),
        record(Kind::Stdin, 1, b""),
        record(Kind::Stdin, 1, b"too late"),
    ]
    .concat();
    assert_eq!(told(&octets).events, ["1 keep false", "1 has ", "1 end \"body\""]);
}

#[test]
fn a_connection_that_makes_no_sense_is_broken() {
    for (octets, reason) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), "HTTP was spoken"),
        (vec![2, 1, 0, 1, 0, 8, 0, 0], "another version"),
        (begin(0, 1, 1), "in use"),
        ([begin(1, 1, 1), begin(1, 1, 1)].concat(), "in use"),
        (record(Kind::BeginRequest, 1, b"short"), "is none"),
        (record(Kind::GetValues, 0, &[0; 5000]), "too long"),
    ] {
        let events = told(&octets).events;
        assert!(events.last().unwrap().contains(reason), "{events:?}");
    }
}
