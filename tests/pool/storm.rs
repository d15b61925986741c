//! Many clients that do everything at once: nothing is lost, nothing happens twice.

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{EOF, OK, Response as Head};

use super::harness::*;
use super::tools::*;

#[test]
fn many_clients_of_every_kind() {
    let seen = Seen::default();
    let noted = seen.clone();
    let app = blocking(move |env, start, body| {
        noted.note("call");
        let text = match read_to_end(env, 1000) {
            Ok(text) => text,
            Err(error) => {
                noted.note("close");
                return error.kind() as i32;
            }
        };
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let size: usize = std::str::from_utf8(env.query_string()).unwrap().parse().unwrap();
        body.first = Some(owned(&noted, noise(size)));
        let (note_next, note_close) = (noted.clone(), noted.clone());
        let mut left = 2;
        body.next = Some(Box::new(move |out: &mut Chunk| {
            if left == 0 {
                return EOF;
            }
            left -= 1;
            note_next.note("chunk");
            *out = owned(&note_next, text.clone());
            OK
        }));
        body.close = Some(Box::new(move || note_close.note("close")));
        OK
    });
    let config = options("threads=4 queue_limit=14 request_buffering=0 queue_timeout=1s");
    let mut server = Server::with(config, app);
    let (mut whole, mut shed) = (0, 0);
    let mut state = 12345_u32;
    let mut dice = move |n: u32| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        (state >> 16) % n
    };
    let mut clients: Vec<Option<Client>> = (0..24).map(|_| None).collect();
    for _ in 0..3000 {
        let place = &mut clients[dice(24) as usize];
        let Some(client) = place else {
            let mut client = server.connect();
            let size = [0, 10, 5000, 300_000][dice(4) as usize];
            let body = noise(dice(3000) as usize);
            let head = format!(
                "POST /?{size} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            client.send(
                [head.as_bytes(), &body[..body.len() - body.len().min(usize::from(dice(8) == 0))]]
                    .concat(),
            );
            *place = Some(client);
            continue;
        };
        client.pull_up_to(100_000);
        if let Some(response) = client.take_response(false) {
            match response.status {
                200 => whole += 1,
                503 => shed += 1,
                status => panic!("{status}: {}", response.text()),
            }
            *place = None;
        } else if dice(20) == 0 {
            *place = None;
        }
        server.turn(1);
    }
    clients.clear();
    server.until("all is over", |server| server.counters.connections.get() == 0);
    server.until("all is counted", |server| server.counters.in_flight.get() == 0);
    assert!(whole > 20, "{whole} whole answers, {shed} shed");
    assert_eq!(seen.count("call"), seen.count("close"));
    assert!(seen.count("release") >= seen.count("chunk"));
    seen.elsewhere();
    assert!(!server.engine.is_running());
}
