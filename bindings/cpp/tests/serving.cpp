// Errors, configuration, servers, arbiters, hooks.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "harness.hpp"

#include <csignal>
#include <cstdlib>
#include <new>

// What this thread has allocated by C++'s means; and how much of that it may before there is no memory once.
static thread_local long allocations, left = -1;

[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    allocations++;
    return left >= 0 && left-- == 0 ? nullptr : std::malloc(size);
}
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (void* memory = operator new(size, std::nothrow)) {
        return memory;
    }
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

static const std::uint32_t on_loop = gateway::nonblocking | gateway::threadsafe;
static const auto hello = [](request&, responder& respond) { return respond(200, {}, "hello\n"); };

TEST_CASE("errors compare with errc, and say what the library says") {
    static_assert(!std::is_copy_constructible_v<config> && std::is_nothrow_move_constructible_v<config>);
    static_assert(!std::is_copy_constructible_v<body> && std::is_nothrow_move_constructible_v<body>);
    static_assert(!std::is_copy_constructible_v<gateway::deferred>);
    static_assert(!std::is_copy_constructible_v<gateway::server> && !std::is_copy_constructible_v<gateway::arbiter>);
    static_assert(std::is_nothrow_copy_constructible_v<gateway::error>);
    try {
        config().set("no_such_option", 1);
        FAIL("it was taken");
    } catch (const std::system_error& e) {
        CHECK(e.code() == gateway::errc::unknown);
        CHECK(e.code() != gateway::errc::limit);
        CHECK(e.code().category().name() == std::string_view("gateway"));
        CHECK(std::string_view(e.what()).find("no_such_option") != std::string_view::npos);
    }
    CHECK(std::error_code(gateway::errc::memory) == std::errc::not_enough_memory);
    CHECK(std::error_code(gateway::errc::timeout) == std::errc::timed_out);
    CHECK(std::error_code(gateway::errc::io).message() == gw_result_text(GW_ERR_IO));
    for (const char* bad : {"workers", "keepalive"}) {
        CHECK_THROWS_AS(config().set(bad, "many"), gateway::error);
    }

    served s(config().app(hello, on_loop));
    try {
        gateway::server second(config().set("bind", "127.0.0.1:" + std::to_string(s.port)).app(hello));
        FAIL("it was bound twice");
    } catch (const gateway::error& e) {
        CHECK(e.code() == gateway::errc::io);
        CHECK(e.os_errno() == EADDRINUSE);
        CHECK(e.exit_status() == 1);
        CHECK(std::string_view(e.what()).find("127.0.0.1") != std::string_view::npos);
    }
    CHECK_FALSE(gateway::is_worker());
    CHECK(gateway::version() == gw_version());
}

TEST_CASE("configurations: options are read back, all problems told, what is not served is dropped") {
    {
        config cfg;
        cfg.set("keepalive", "3s").set(GW_OPT_WORKERS, 3).app([c = counted()](request&, responder& respond) {
            return respond(200);
        });
        cfg.use([c = counted()](request& req, responder& respond, const gateway::inner& inner) {
            return inner(req, respond);
        });
        CHECK(cfg.get("workers") == "3");
        CHECK(cfg.get("keepalive").find('3') == 0);
        CHECK(counted::alive == 2);
        config moved = std::move(cfg);
        CHECK(moved.get("workers") == "3");
        CHECK_THROWS_AS((void) cfg.check(), gateway::error);  // it is gone
        moved.listen({"127.0.0.1:0", "backlog=7"});
        CHECK(moved.check().empty());
        moved.set("pidfile", "/nonexistent/directory/pid");
        moved.module("/module", "/nonexistent/module.so");
        auto problems = moved.check();
        CHECK(problems.size() >= 1);
        bool named = false;
        for (const auto& problem : problems) {
            named = named || std::string_view(problem.what()).find("/nonexistent/") != std::string_view::npos;
        }
        CHECK(named);
        CHECK_THROWS_AS(moved.mount("no slash", hello), gateway::error);
        CHECK_THROWS_AS(moved.use_at("/nothing", [](request& req, responder& respond, const gateway::inner& inner) {
            return inner(req, respond);
        }), gateway::error);
    }
    CHECK(counted::alive == 0);
}

TEST_CASE("mounts, and what comes with the library") {
    config cfg;
    cfg.mount("/a", hello, on_loop).mount_builtin("/health", "health", nullptr);
    cfg.use_at("/a", [](request& req, responder& respond, const gateway::inner& inner) -> body {
        return req.path() == "/stop" ? respond(403) : inner(req, respond);
    });
    cfg.use_builtin("request_id");
    served s(std::move(cfg));
    CHECK(s.get("/a") == "hello\n");
    CHECK(s.ask("GET /a/stop").find("HTTP/1.1 403 ") == 0);
    CHECK(s.ask("GET /a").find("X-Request-I") != std::string::npos);
    CHECK(s.ask("GET /health").find("HTTP/1.1 200 ") == 0);
    CHECK(s.ask("GET /b").find("HTTP/1.1 404 ") == 0);
}

TEST_CASE("exceptions become a 500, or a cut, and are in the log") {
    lines log;
    auto app = [](request& req, responder& respond) -> body {
        if (req.path() == "/exception") {
            throw std::runtime_error("what it says");
        }
        if (req.path() == "/int") {
            throw 7;
        }
        if (req.path() == "/memory") {
            throw std::bad_alloc();
        }
        if (req.path() == "/after the head") {
            (void) respond(200, {{"X-Lost", "1"}}, "never sent");
            throw std::runtime_error("after the head");
        }
        if (req.path() == "/deferred") {
            gateway::deferred later = req.defer();
            throw std::runtime_error("after it was deferred");
        }
        return respond.stream(200, {}, [i = 0, c = counted()]() mutable -> gateway::piece {
            if (i++ == 1) {
                throw std::runtime_error("in the stream");
            }
            return "first";
        });
    };
    for (std::uint32_t flags : {on_loop, 0u, gateway::serial}) {
        served s(config().log(gateway::level::error, log).app(app, flags));
        CHECK(s.ask("GET /exception").find("HTTP/1.1 500 ") == 0);
        CHECK(s.ask("GET /int").find("HTTP/1.1 500 ") == 0);
        CHECK(s.ask("GET /memory").find("HTTP/1.1 500 ") == 0);
        CHECK(s.ask("GET /after%20the%20head").find("HTTP/1.1 500 ") == 0);
        CHECK(s.ask("GET /deferred").find("HTTP/1.1 500 ") == 0);
        std::string cut = s.ask("GET /stream");
        CHECK(cut.find("first") != std::string::npos);
        CHECK(cut.find("0\r\n\r\n") == std::string::npos);
        until("the stream is destroyed", [] { return counted::alive == 0; });
        until("they are counted", [&] { return s.server.stats().app_errors == 6; });
    }
    for (const char* what : {"what it says", "no std::exception", "after the head", "after it was deferred", "in the stream"}) {
        CHECK_MESSAGE(log.have(what), what);
    }
}

TEST_CASE("a server in a loop of the host's, with a socket that it is given") {
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    fcntl(pair[0], F_SETFL, 0);
    gateway::server server(config().app(hello, on_loop));
    server.adopt(pair[1]);
    client c(std::in_place, pair[0]);
    c.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    std::int64_t wait_ms = 0;
    while (server.turn(wait_ms) && server.stats().requests == 0) {
        pollfd watched = {server.fd(), POLLIN, 0};
        poll(&watched, 1, static_cast<int>(wait_ms));
    }
    while (server.turn(wait_ms) && server.stats().connections > 0) {
        pollfd watched = {server.fd(), POLLIN, 0};
        poll(&watched, 1, wait_ms < 0 ? 100 : static_cast<int>(wait_ms));
    }
    CHECK(c.rest().find("hello\n") != std::string::npos);
    server.wake();
    gateway::server moved = std::move(server);
    moved.stop(gateway::how::quick);
    moved.run();
}

TEST_CASE("whichever allocation fails, it is thrown, or a 500, and nothing is lost") {
    auto app = [](request& req, responder& respond) -> body {
        left = std::stol(std::string(req.query("left").value()));
        struct restored {
            ~restored() { left = -1; }
        } at_the_end;
        std::string text(1000, 'x');
        req.put(std::pair(counted(), text));
        auto later = std::make_shared<gateway::deferred>(req.defer({nullptr, nullptr, [c = counted(), text] {}}));
        responder with = respond.change([c = counted(), text](gateway::head& h) { h.set("X-Text", text); });
        return with.stream(200, {}, [later, c = counted(), i = 0]() mutable -> std::optional<std::string> {
            later->end();
            return i++ == 0 ? std::optional(std::string("done")) : std::nullopt;
        });
    };
    lines log;
    bool enough = false;
    for (long n = 0; !enough; n++) {
        REQUIRE(n < 100);
        std::optional<config> cfg;
        left = n;
        try {
            gateway::hooks hooks;
            hooks.access = [c = counted(), text = std::string(100, 'x')](const gw_access&) {};
            cfg.emplace().set("bind", "127.0.0.1:0").use_builtin("request_id").hook(hooks);
            cfg->use([c = counted()](request& req, responder& respond, const gateway::inner& inner) {
                return inner(req, respond);
            });
            cfg->log(gateway::level::error, log).app(app, on_loop).pool("other", config());
            enough = cfg->get("bind") != "" && left >= 0;
        } catch (const std::bad_alloc&) {
        }
        left = -1;
    }
    CHECK(counted::alive == 0);

    served s(config().log(gateway::level::error, log).app(app, on_loop));
    int failed = 0;
    while (s.ask("GET /?left=" + std::to_string(failed)).find("HTTP/1.1 500 ") == 0) {
        REQUIRE(failed++ < 100);
    }
    CHECK(failed > 3);
    CHECK(s.get("/?left=1000").find("done") != std::string::npos);
    until("all of it is gone", [] { return counted::alive == 0; });
}

TEST_CASE("a small request allocates nothing") {
    std::atomic<long> before{-1}, after{-1};
    int asked = 0;
    served s(config().app(
        [&](request& req, responder& respond) {
            if (++asked == 100) {
                before = allocations;
            } else if (asked == 200) {
                after = allocations;
            }
            static const std::string text(1000, 't');
            (void) req.header("Host");
            return asked % 2 ? respond(200, {{"Content-Type", "text/plain"}}, "hello\n")
                             : respond.stream(200, {}, [i = 0]() mutable -> gateway::piece {
                                   return i++ ? gateway::piece(gateway::piece::end) : std::string_view(text);
                               });
        },
        on_loop));
    client c(s.port);
    for (int i = 1; i <= 200; i++) {
        c.send("GET / HTTP/1.1\r\nHost: test\r\n" + std::string(i == 200 ? "Connection: close\r\n" : "") + "\r\n");
    }
    c.rest();
    CHECK(asked == 200);
    CHECK(after - before == 0);
}

TEST_CASE("hooks are called, and what they throw is in the log") {
    lines log;
    std::atomic<int> inits{0}, exits{0}, accesses{0}, ready{0}, reloads{0};
    gateway::hooks hooks;
    hooks.worker_init = [&](const gw_worker& w) { inits += w.server != nullptr; };
    hooks.worker_exit = [&](const gw_worker&) {
        exits++;
        throw std::runtime_error("thrown at exit");
    };
    hooks.pre_request = [](request& req) {
        req.put(std::string("put by a hook\n"));
        throw std::runtime_error("thrown before a request");
    };
    hooks.access = [&](const gw_access& a) {
        accesses += a.status == 200;
        throw 1;
    };
    hooks.when_ready = [&](gateway::arbiter_ref a) { ready += static_cast<int>(a.stats().workers); };
    hooks.reloaded = [&](gateway::arbiter_ref, const gw_error* failure) {
        CHECK_MESSAGE(failure == nullptr, std::string(failure != nullptr ? failure->message : ""));
        reloads++;
    };
    auto configured = [&](const char* text) {
        config cfg;
        cfg.set("worker_model", "threads").set("workers", 2).set("bind", "127.0.0.1:0");
        cfg.log(gateway::level::error, log).hook(hooks);
        cfg.app([text](request& req, responder& respond) { return respond(200, {}, *req.at<std::string>() + text); },
                on_loop);
        return cfg;
    };
    gateway::arbiter arbiter(configured("first\n"));
    unsigned port = arbiter.listeners().at(0).port;
    arbiter.start();
    std::thread runs([&] { arbiter.run(); });
    auto get = [&] {
        client c(port);
        return std::string(c.send("GET / HTTP/1.0\r\n\r\n").rest());
    };
    CHECK(get().find("put by a hook\nfirst\n") != std::string::npos);
    until("the workers are ready", [&] { return ready == 2; });
    CHECK(inits == 2);
    until("it is in the access log", [&] { return accesses == 1; });
    CHECK(log.have("thrown before a request"));
    until("what the hook threw is said", [&] { return log.have("hook access: an exception that is no std"); });

    arbiter.reload(configured("second\n"));  // the same address: its socket stays
    until("it was reloaded", [&] { return reloads == 1; });
    CHECK(get().find("put by a hook\nsecond\n") != std::string::npos);
    arbiter.scale(3);
    until("there are three", [&] { return arbiter.stats().workers == 3; });
    CHECK(arbiter.requests().empty());
    CHECK(arbiter.requests(true).size() >= 1);
    CHECK_THROWS_AS(arbiter.scale("nothing", 2), gateway::error);
    CHECK_FALSE(arbiter.wait(0ms));
    arbiter.stop();
    CHECK(arbiter.wait(60s));
    runs.join();
    CHECK(exits == 5);
    CHECK(log.have("hook worker_exit: thrown at exit"));
}

TEST_CASE("pools have applications of their own, under one arbiter") {
    config cfg;
    cfg.set("worker_model", "threads").set("workers", 1).listen({"127.0.0.1:0"}).app(hello, on_loop);
    config other;
    other.set("workers", 2).listen({"127.0.0.2:0", "backlog=7"});
    other.app([](request&, responder& respond) { return respond(200, {}, "other\n"); }, on_loop);
    gateway::arbiter arbiter(std::move(cfg.pool("other", std::move(other))));
    arbiter.start();
    std::thread runs([&] { arbiter.run(); });
    until("all are there", [&] { return arbiter.stats().workers == 3; });
    arbiter.scale("other", 1);
    until("one has gone", [&] { return arbiter.stats().workers == 2; });
    int found = 0;
    for (const auto& listener : arbiter.listeners()) {
        if (std::string_view(listener.address).find("127.0.0.1:") == 0) {
            client c(listener.port);
            CHECK(c.send("GET / HTTP/1.0\r\n\r\n").rest().find("\r\n\r\nhello\n") != std::string::npos);
        } else {
            CHECK(listener.backlog == 7);
        }
        found++;
    }
    CHECK(found == 2);
    arbiter.signal(SIGTERM);
    runs.join();
}

TEST_CASE("a hook that throws refuses the worker, and serve says so") {
    std::function<void()> thrown[] = {
        [] { throw std::runtime_error("no database"); },
        [] { throw gateway::error(GW_ERR_CLOSED, "no database"); },  // no client of ours has left
    };
    for (const auto& boots : thrown) {
        lines log;
        gateway::hooks hooks;
        hooks.worker_init = [&](const gw_worker&) { boots(); };
        config cfg;
        cfg.set("worker_model", "threads").set("workers", 1).set("bind", "127.0.0.1:0").set("signals", 0);
        cfg.log(gateway::level::error, log).hook(hooks).app(hello, on_loop);
        try {
            gateway::serve(std::move(cfg));
            FAIL("it has served");
        } catch (const gateway::error& e) {
            CHECK(e.exit_status() == 3);
        }
        CHECK(log.have("hook worker_init: no database"));
    }
}

TEST_CASE("a log function that throws is left alone") {
    served s(config()
                 .log(gateway::level::debug, [](const gw_log_record&) { throw std::runtime_error("it cannot log"); })
                 .app([](request& req, responder& respond) -> body {
                     req.log(gateway::level::warn, "a line");
                     return respond(200, {}, "logged");
                 }));
    CHECK(s.get("/") == "logged");
}
