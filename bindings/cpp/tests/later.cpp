// Answers that come later, from other threads.
#include "harness.hpp"

static const std::uint32_t on_loop = gateway::nonblocking | gateway::threadsafe;

TEST_CASE("answers that come later") {
    std::vector<std::thread> threads;
    lines log;
    std::atomic<bool> aborted{false};
    std::atomic<int> called{0};
    auto app = [&](request& req, responder& respond) -> body {
        std::string path(req.path());
        if (path == "/resumed" || path == "/resumed at once") {
            auto wait = path == "/resumed" ? 5ms : -5ms;
            auto handle = std::make_shared<gateway::deferred>(req.defer());
            return respond.stream(200, {}, [handle, wait, i = 0, c = counted()]() mutable -> gateway::piece {
                if (i == 12) {
                    handle->end();
                    return gateway::piece::end;
                }
                if (i++ > 0 && i < 12) {  // more often than the library asks unasked
                    handle->resume_after(wait);
                    return gateway::piece::again;
                }
                return std::to_string(i);
            });
        }
        threads.emplace_back([path, later = req.defer({nullptr, nullptr, [&] {
                aborted = true;
                throw std::runtime_error("nobody is told");
            }}), &aborted]() mutable {
            if (path == "/whole") {
                CHECK(later.reply(200, {{"X-Later", "1"}}, "read: " + std::string(later.environ().read_all())));
                CHECK_FALSE(later);
            } else if (path == "/steps") {
                later.start(200, {{"X-Later", "1"}});
                CHECK(later.write("one ", true) == gateway::progress::done);
                CHECK(later.write("two") == gateway::progress::done);
                later.end();
            } else if (path == "/gone") {
                until("the client has left", [&] { return aborted.load(); });
                CHECK_FALSE(later.reply(200, {}, std::string("nobody reads this")));
            } else if (path == "/slow") {
                later.start(200);
                std::string much(100'000, 'm');
                // Until it is full.  Then the client leaves: we are told, and hear it when we write.
                gateway::progress so_far;
                do {
                    so_far = later.write(much);
                } while (so_far == gateway::progress::done);
                until("the client has left", [&] { return aborted.load(); });
                until("it is closed", [&] { return later.write(much) == gateway::progress::closed; });
                later.end();
            }
            // "/dropped" is what every other one becomes: without an answer.
        });
        called++;
        return gateway::later;
    };
    {
        served s(config().log(gateway::level::error, log).app(app, on_loop));
        std::string answer = s.ask("POST /whole", "Content-Length: 4\r\n", "some");
        CHECK(answer.find("X-Later: 1\r\n") != std::string::npos);
        CHECK(answer.substr(answer.find("\r\n\r\n")) == "\r\n\r\nread: some");
        client steps(s.port);
        answer = steps.send("GET /steps HTTP/1.0\r\n\r\n").rest();
        CHECK(answer.substr(answer.find("\r\n\r\n")) == "\r\n\r\none two");
        CHECK(s.ask("GET /dropped").find("HTTP/1.1 500 ") == 0);
        for (const char* path : {"/resumed", "/resumed%20at%20once"}) {
            client resumed(s.port);
            answer = resumed.send(std::string("GET ") + path + " HTTP/1.0\r\n\r\n").rest();
            CHECK(answer.substr(answer.find("\r\n\r\n")) == "\r\n\r\n112");
        }
        client gone(s.port);
        gone.send("GET /gone HTTP/1.1\r\nHost: test\r\n\r\n");
        until("it was called", [&] { return called == 4; });
        gone.reset();
        threads.back().join();
        threads.pop_back();
        aborted = false;
        client slow(s.port);
        slow.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").receive("mmm");
        slow.leave();
        until("it is aborted", [&] { return aborted.load(); });
        for (auto& thread : threads) {
            thread.join();
        }
        until("the stream is destroyed", [] { return counted::alive == 0; });
    }
    CHECK_THROWS_AS((void) gateway::deferred().write("x"), gateway::error);
}

namespace {
// A flag that events set and a thread waits for, once each time.
struct bell {
    std::shared_ptr<std::atomic<bool>> rung = std::make_shared<std::atomic<bool>>(false);
    std::function<void()> ring() const {
        return [rung = rung] { *rung = true; };
    }
    void wait(const char* what) const {
        until(what, [this] { return rung->exchange(false); });
    }
};
}  // namespace

TEST_CASE("bodies come and go piece by piece, as the client sends and reads") {
    bell readable, writable;
    std::vector<std::thread> threads;
    std::atomic<int> waited{0}, full{0};
    auto app = [&](request& req, responder&) -> body {
        threads.emplace_back([&, later = req.defer({readable.ring(), writable.ring(), nullptr})]() mutable {
            char piece[16];
            std::size_t n;
            std::string came;
            for (gateway::progress p; (p = later.read(piece, sizeof piece, n)) != gateway::progress::eof;) {
                if (p == gateway::progress::again) {
                    waited++;
                    readable.wait("the body goes on");
                }
                came.append(piece, n);
            }
            later.start(200, {{"X-Came", came}});
            std::string much(200'000, 'm');
            for (int i = 0; i < 50; i++) {
                while (later.write(much) == gateway::progress::again) {
                    full++;
                    writable.wait("there is room");
                }
            }
            later.end();
        });
        return gateway::later;
    };
    {
        served s(config().set("request_buffering", 0).app(app, on_loop));
        client c(s.port);
        c.send("POST / HTTP/1.0\r\nContent-Length: 12\r\n\r\nfirst,");
        until("it waits for the rest", [&] { return waited > 0; });
        c.send("second");
        c.receive("X-Came: first,second\r\n");
        until("it waits for us to read", [&] { return full > 0; });
        const std::string& all = c.rest();
        CHECK(all.size() - all.find("\r\n\r\n") == 4 + 50 * 200'000);
        threads.at(0).join();
    }
}

TEST_CASE("requests that are taken") {
    gateway::server server(config().set("bind", "127.0.0.1:0"));
    unsigned port = server.listeners().at(0).port;
    std::thread loop([&] { server.run(); });
    std::atomic<int> taken{0};
    std::thread taker([&] {
        gateway::deferred some[8];
        std::size_t n;
        while (server.take(some, 8, n, -1ms) != gateway::progress::eof) {
            for (std::size_t i = 0; i < n; i++) {
                taken++;
                if (some[i].environ().path() == "/gone") {
                    some[i].watch({nullptr, nullptr, [&] { taken += 100; }});
                    until("it is told that the client has left", [&] { return taken > 100; });
                } else if (some[i].environ().path() == "/asked") {
                    gw_event what;
                    std::size_t events = 0;
                    until("it hears of it", [&] {
                        return server.events(&what, 1, events, 10ms) == gateway::progress::done;
                    });
                    CHECK(events == 1);
                    CHECK(what.what == GW_EVENT_ABORTED);
                    CHECK(what.d == some[i].native());
                    taken += 1000;
                }
                some[i].reply(200, {{"Content-Type", "text/plain"}}, std::string("taken\n"));
            }
        }
    });
    for (int i = 0; i < 5; i++) {
        client c(port);
        CHECK(c.send("GET / HTTP/1.0\r\n\r\n").rest().find("taken\n") != std::string::npos);
    }
    client leaves(port);
    leaves.send("GET /gone HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it was taken", [&] { return taken == 6; });
    leaves.leave();
    until("it was told", [&] { return taken == 106; });
    client asked(port);
    asked.send("GET /asked HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it was taken", [&] { return taken == 107; });
    asked.leave();
    until("it was heard", [&] { return taken == 1107; });
    server.stop();
    taker.join();
    loop.join();
}
