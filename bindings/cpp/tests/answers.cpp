// What applications answer with.
#include "harness.hpp"

#include <array>
#include <fstream>

static const std::uint32_t on_loop = gateway::nonblocking | gateway::threadsafe;

TEST_CASE("an answer has its status, its headers in order, its length") {
    served s(config().app(
        [](request&, responder& respond) {
            return respond(201, {{"X-B", "1"}, {"X-A", std::string(40, 'x')}}, "made\n");
        },
        on_loop));
    std::string answer = s.ask("GET /");
    CHECK(answer.find("HTTP/1.1 201 Created\r\nX-B: 1\r\nX-A: " + std::string(40, 'x') + "\r\n") == 0);
    CHECK(answer.find("\r\nContent-Length: 5\r\n") != std::string::npos);
    CHECK(answer.substr(answer.size() - 9) == "\r\n\r\nmade\n");
}

namespace {
// A container of octets, which tells where they were when it was sent.
struct tracked : counted {
    std::vector<char> octets;
    explicit tracked(std::string_view text) : octets(text.begin(), text.end()) {}
    const char* data() const { return octets.data(); }
    std::size_t size() const { return octets.size(); }
};
}  // namespace

TEST_CASE("content of every kind arrives, what is moved is not copied, and is destroyed once") {
    static const std::string lasting(100'000, 'l');
    auto app = [](request& req, responder& respond) -> body {
        auto path = req.path();
        std::string named = "a string that is not short enough to be inside of itself";
        char buffer[64];
        std::snprintf(buffer, sizeof buffer, "of a buffer");
        if (path == "/literal") return respond(200, {}, "of a literal");
        if (path == "/local") {
            const char page[] = "in a local array\0, all of it";
            body answer = respond(200, {}, page);
            CHECK(answer.native()->first.data != page);
            return answer;
        }
        if (path == "/no end") {
            const char three[3] = {'a', 'b', 'c'};
            return respond(200, {}, three);
        }
        if (path == "/borrowed literal") {
            static const char text[] = "of a literal";
            body answer = respond(200, {}, gateway::borrow(text));
            CHECK(answer.native()->first.data == text);
            return answer;
        }
        if (path == "/buffer") return respond(200, {}, buffer);
        if (path == "/lvalue") return respond(200, {}, named);
        if (path == "/view") return respond(200, {}, std::string_view(named).substr(2, 6));
        if (path == "/pointer") return respond(200, {}, named.c_str());
        if (path == "/moved") return respond(200, {}, std::move(named));
        if (path == "/short") return respond(200, {}, std::string("sso"));
        if (path == "/vector") return respond(200, {}, std::vector<std::uint16_t>{0x6261, 0x6463});
        if (path == "/array") return respond(200, {}, std::array<char, 2>{'o', 'k'});
        if (path == "/shared") return respond(200, {}, std::make_shared<const std::string>(named));
        if (path == "/null") return respond(200, {}, std::shared_ptr<std::string>());
        if (path == "/unique") return respond(200, {}, std::make_unique<std::string>(named));
        if (path == "/borrowed") return respond(200, {}, gateway::borrow(lasting));
        if (path == "/tracked") return respond(200, {}, tracked("tracked"));
        return respond(404);
    };
    {
        served s(config().app(app, on_loop));
        std::string named = "a string that is not short enough to be inside of itself";
        CHECK(s.get("/literal") == "of a literal");
        CHECK(s.get("/local") == std::string("in a local array\0, all of it", 28));
        CHECK(s.get("/no%20end") == "abc");
        CHECK(s.get("/borrowed%20literal") == "of a literal");
        CHECK(s.get("/buffer") == "of a buffer");
        CHECK(s.get("/lvalue") == named);
        CHECK(s.get("/view") == "string");
        CHECK(s.get("/pointer") == named);
        CHECK(s.get("/moved") == named);
        CHECK(s.get("/short") == "sso");
        CHECK(s.get("/vector") == "abcd");
        CHECK(s.get("/array") == "ok");
        CHECK(s.get("/shared") == named);
        CHECK(s.get("/unique") == named);
        CHECK(s.get("/null").empty());
        CHECK(s.get("/borrowed") == lasting);
        CHECK(s.get("/tracked") == "tracked");
        CHECK(s.get("/none").empty());
        until("what was sent is destroyed", [] { return counted::alive == 0; });
        // Unless the head is refused: then the content is destroyed at once.
    }
    CHECK(counted::copies == 0);
}

TEST_CASE("a head that is refused is thrown, and its content destroyed") {
    lines log;
    std::atomic<int> code{0};
    served s(config().log(gateway::level::error, log).app(
        [&code](request&, responder& respond) -> body {
            try {
                return respond(200, {{"Bad\r\nName", "x"}}, tracked("lost"));
            } catch (const gateway::error& e) {
                code = e.code().value();
                CHECK(counted::alive == 0);
                throw;
            }
        },
        on_loop));
    CHECK(s.ask("GET /").find("HTTP/1.1 500 ") == 0);
    CHECK(code == GW_ERR_PROTOCOL);
}

TEST_CASE("a status that is none is refused, and not cut to one") {
    lines log;
    std::atomic<int> refused{0};
    auto app = [&refused](request& req, responder& respond) -> body {
        auto tried = [&](auto&& answer) {
            try {
                answer();
            } catch (const gateway::error& e) {
                refused += e.code() == gateway::errc::invalid;
                throw;
            }
            return body();
        };
        if (req.path() == "/deferred") {
            gateway::deferred later = req.defer();
            return tried([&] { later.reply(65'736, {}, "cut"); });
        }
        if (req.path() == "/head") {
            return respond(200);
        }
        return tried([&] { (void) respond(req.path() == "/low" ? 99 : 65'736, {}, "cut"); });
    };
    auto change = [](request& req, responder& respond, const gateway::inner& inner) -> body {
        responder with = respond.change([&](gateway::head& h) {
            if (req.path() == "/head") {
                h.status = -64'836;
            }
        });
        return inner(req, with);
    };
    served s(config().log(gateway::level::error, log).app(app, on_loop).use(change));
    for (const char* path : {"/", "/low", "/deferred", "/head"}) {
        CHECK_MESSAGE(s.ask(std::string("GET ") + path).find("HTTP/1.1 500 ") == 0, path);
    }
    CHECK(refused == 3);
    CHECK(log.have("65736 is not a status"));
    CHECK(log.have("-64836 is not a status"));
}

TEST_CASE("streams are asked until their end, and destroyed once, also when the client leaves") {
    auto app = [](request& req, responder& respond) -> body {
        if (req.path() == "/views") {
            static const char text[] = "abc";
            return respond.stream(200, {}, [i = 0, c = counted()]() mutable -> gateway::piece {
                return i == 3 ? gateway::piece(gateway::piece::end) : std::string_view(text + i++, 1);
            });
        }
        if (req.path() == "/strings") {
            return respond.stream(200, {}, [i = 0, c = counted()]() mutable -> std::optional<std::string> {
                return i == 3 ? std::nullopt : std::optional(std::string(10'000, static_cast<char>('a' + i++)));
            });
        }
        return respond.stream(200, {}, [c = counted()] { return std::string(10'000, 'x'); });
    };
    served s(config().app(app, on_loop));
    CHECK(s.get("/views") == "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
    client old(s.port);
    const std::string& all = old.send("GET /strings HTTP/1.0\r\n\r\n").rest();
    CHECK(all.substr(all.find("\r\n\r\n") + 4) ==
          std::string(10'000, 'a') + std::string(10'000, 'b') + std::string(10'000, 'c'));

    client leaves(s.port);
    leaves.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n").receive("xxx");
    CHECK(counted::alive > 0);
    leaves.leave();
    until("the stream is destroyed", [] { return counted::alive == 0; });
}

TEST_CASE("a piece keeps what a stream returns, and borrows what it has a view of") {
    const std::string line = "a string that is not short enough to be inside of itself";
    std::string kept;
    gw_chunk chunk{};
    gateway::piece copied(line);
    CHECK(std::move(copied).fill(&chunk, kept) == GW_OK);
    CHECK(chunk.data == kept.data());
    CHECK(kept == line);
    gateway::piece viewed{std::string_view(line)};
    CHECK(std::move(viewed).fill(&chunk, kept) == GW_OK);
    CHECK(chunk.data == line.data());

    served s(config().app(
        [](request&, responder& respond) {
            return respond.stream(200, {}, [i = 0]() mutable -> gateway::piece {
                if (i == 2) {
                    return gateway::piece::end;
                }
                const std::string local(40, static_cast<char>('a' + i++));
                return local;
            });
        },
        on_loop));
    CHECK(s.get("/") == "28\r\n" + std::string(40, 'a') + "\r\n28\r\n" + std::string(40, 'b') + "\r\n0\r\n\r\n");
}

TEST_CASE("a writer's octets leave before the body") {
    served s(config().app([](request&, responder& respond) {
        auto out = respond.write(200, {{"Content-Type", "text/plain"}});
        for (int i = 0; i < 3; i++) {
            CHECK(out.write(std::to_string(i), true) == gateway::progress::done);
        }
        return body();
    }));
    CHECK(s.get("/") == "1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n");
}

TEST_CASE("files, and those that cannot be opened") {
    char path[] = "/tmp/gateway-cpp-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(write(fd, "0123456789", 10) == 10);
    lines log;
    std::atomic<int> seen{0};
    served s(config().log(gateway::level::error, log).app(
        [&, path](request& req, responder& respond) -> body {
            if (req.path() == "/part") {
                return respond.file(206, {}, dup(fd), 2, 3);
            }
            try {
                return respond.file(200, {}, req.path() == "/all" ? path : "/nonexistent/file");
            } catch (const gateway::error& e) {
                seen = e.os_errno();
                throw;
            }
        },
        on_loop));
    CHECK(s.get("/all") == "0123456789");
    CHECK(s.ask("GET /all").find("Content-Length: 10\r\n") != std::string::npos);
    CHECK(s.get("/part") == "234");
    CHECK(s.ask("GET /missing").find("HTTP/1.1 500 ") == 0);
    CHECK(seen == ENOENT);
    CHECK(log.have("open /nonexistent/file: No such file or directory"));
    close(fd);
    unlink(path);
}

TEST_CASE("an answer closes its connection where it says so, and no other does") {
    auto app = [](request& req, responder& respond) -> body {
        auto path = req.path();
        if (path == "/whole") return respond(gateway::closing(200), {{"X-A", "1"}}, "bye");
        if (path == "/empty") return respond(gateway::closing(204));
        if (path == "/stream") {
            return respond.stream(gateway::closing(200), {}, [i = 0]() mutable -> gateway::piece {
                return i++ ? gateway::piece(gateway::piece::end) : gateway::piece("bye");
            });
        }
        if (path == "/file") return respond.file(gateway::closing(200), {}, "/proc/self/cmdline");
        if (path == "/written") {
            auto out = respond.write(gateway::closing(200), {});
            CHECK(out.write("bye") == gateway::progress::done);
            return body();
        }
        if (path == "/replaced") {
            (void) respond(200, {}, "never sent");
            respond.replace(gateway::closing(409), {});
            return body();
        }
        if (path == "/kept") {
            (void) respond(gateway::closing(200), {}, "never sent");
            respond.replace(200, {});
            return body();
        }
        if (path == "/later") {
            req.defer().reply(gateway::closing(200), {}, "bye");
            return gateway::later;
        }
        if (path == "/steps") {
            gateway::deferred answer = req.defer();
            answer.start(gateway::closing(200));
            CHECK(answer.write("bye") == gateway::progress::done);
            answer.end();
            return gateway::later;
        }
        respond.inform(103, {{"Link", "</style.css>"}});
        return respond(200, {}, "stay");
    };
    auto change = [](request& req, responder& respond, const gateway::inner& inner) -> body {
        responder with = respond.change([&](gateway::head& h) {
            CHECK(h.closing == (req.path() == "/whole"));
            h.closing = req.path() == "/changed";
        });
        return req.path() == "/changed" || req.query("undo") ? inner(req, with) : inner(req, respond);
    };
    served s(config().set("keepalive", "1h").app(app, gateway::serial).use(change));
    const std::string close = "\r\nConnection: close\r\n";
    for (const char* path : {"/whole", "/empty", "/stream", "/file", "/written", "/replaced", "/later", "/steps",
                             "/changed"}) {
        client c(s.port);
        for (const char* kept : {"/", "/kept", "/whole?undo"}) {
            c.send(std::string("GET ") + kept + " HTTP/1.1\r\nHost: test\r\n\r\n");
        }
        std::string all = c.send(std::string("GET ") + path + " HTTP/1.1\r\nHost: test\r\n\r\n").rest();
        CHECK_MESSAGE(all.find(close) != std::string::npos, path);
        CHECK_MESSAGE(all.find(close, all.rfind("HTTP/1.1 ")) == all.find(close), path);
    }
}

TEST_CASE("an early hint comes before the answer") {
    served s(config().app(
        [](request&, responder& respond) {
            respond.inform(103, {{"Link", "</style.css>; rel=preload"}});
            return respond(200, {}, "then");
        },
        on_loop));
    std::string answer = s.ask("GET /");
    CHECK(answer.find("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n") == 0);
}

TEST_CASE("middleware changes the request, the head, the answer; values live with the request") {
    struct session : counted {
        std::string name = "Ada";
    };
    auto outer = [](request& req, responder& respond, const gateway::inner& inner) -> body {
        req.put(session{});
        request changed = req.derive();
        changed.set("HTTP_X_ADDED", "by the outer");
        changed.set("HTTP_X_GONE", std::nullopt);
        responder with = respond.change([kept = std::string("a string that is not short, outer")](gateway::head& h) {
            h.set("x-order", "outer");
            for (int i = 0; i < 20; i++) {
                h.add("X-Many", std::to_string(i));
            }
            h.add("X-Kept", kept);
            h.remove("Content-LENGTH");
            h.status = h.status == 200 ? 203 : h.status;
        });
        return inner(changed, with);
    };
    auto nearer = [](request& req, responder& respond, const gateway::inner& inner) -> body {
        if (req.path() == "/closed") {
            return respond(403, {}, "closed\n");
        }
        if (req.path() == "/throws") {
            throw std::runtime_error("a middleware threw");
        }
        responder with = respond.change([](gateway::head& h) { h.add("X-Order", "nearer"); });
        return inner(req, with);
    };
    auto app = [](request& req, responder& respond) -> body {
        if (req.path() == "/fails") {
            throw std::runtime_error("the application threw");
        }
        return respond(200, {{"Content-Length", "27"}},
                       req.at<session>()->name + ", " + std::string(req.header("X-Added").value_or("")) + ", " +
                           std::string(req.header("X-Gone").value_or("it is gone")).substr(0, 8));
    };
    lines log;
    {
        served s(config().log(gateway::level::error, log).app(app, on_loop).use(outer).use(nearer));
        std::string answer = s.ask("GET /", "X-Gone: not yet\r\n");
        CHECK(answer.find("HTTP/1.1 203 ") == 0);
        CHECK(answer.find("x-order: outer\r\nX-Many: 0\r\n") != std::string::npos);
        CHECK(answer.find("nearer") == std::string::npos);
        CHECK(answer.find("X-Many: 19\r\nX-Kept: a string that is not short, outer\r\n") != std::string::npos);
        CHECK(answer.find("\r\n\r\nAda, by the outer, it is go") != std::string::npos);
        CHECK(s.ask("GET /closed").find("HTTP/1.1 403 ") == 0);
        CHECK(s.ask("GET /throws").find("HTTP/1.1 500 ") == 0);
        CHECK(log.have("a middleware threw"));
        CHECK(s.ask("GET /fails").find("HTTP/1.1 500 ") == 0);
        CHECK(log.have("the application threw"));
        until("values are destroyed with their request", [] { return counted::alive == 0; });
    }
}

TEST_CASE("a body beside an error of the application inside is left alone") {
    static std::atomic<int> released;
    released = 0;
    gw_app failing = GW_INIT(gw_app);
    failing.flags = on_loop;
    failing.call = [](void*, gw_environ*, gw_start_response_fn, void*, gw_body* out) -> gw_result {
        auto drop = [](void*) { released++; };
        out->first.data = "never sent";
        out->first.len = 10;
        out->first.release = drop;
        out->close = drop;
        return GW_ERR_APP;
    };
    served s(config().mount_native("", failing).use(
        [](request& req, responder& respond, const gateway::inner& inner) { return inner(req, respond); }));
    CHECK(s.ask("GET /").find("HTTP/1.1 500 ") == 0);
    CHECK(released == 0);
}
