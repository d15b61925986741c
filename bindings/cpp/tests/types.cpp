// What the types promise by themselves: moves, ranges, overloads, and that they call nothing of anybody else's.
#include <gateway.h>

#include <cstddef>

// A program may have functions of these names, for its own types or for C's.
void* room(gw_environ*, std::size_t) = delete;
void guarded(const gw_environ*, ...) = delete;

#include "harness.hpp"

#include <algorithm>
#include <iterator>
#if __cplusplus >= 202002L
#include <ranges>
static_assert(std::ranges::input_range<gateway::pairs> && std::ranges::sized_range<gateway::pairs>);
#endif

template <typename T>
inline constexpr bool moves = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                              !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(moves<body> && moves<config> && moves<gateway::deferred> && moves<gateway::server> &&
              moves<gateway::arbiter>);

static const std::uint32_t on_loop = gateway::nonblocking | gateway::threadsafe;

// So that the compiler does not see that it is the same.
template <typename T> static void assign(T& to, T& from) { to = std::move(from); }

static config holding() {
    config cfg;
    cfg.set("bind", "127.0.0.1:0").set("worker_model", "threads").set("workers", 1);
    cfg.app([c = counted()](request&, responder& respond) { return respond(200); });
    return cfg;
}

template <typename Owner> static void lets_go() {
    {
        Owner to(holding()), from(holding());
        CHECK(counted::alive == 2);
        assign(to, from);
        CHECK(counted::alive == 1);
        CHECK(from.native() == nullptr);
        assign(to, to);
        CHECK(to.native() != nullptr);
        assign(to, from);
        CHECK(counted::alive == 0);
    }
    CHECK(counted::alive == 0);
}

TEST_CASE("who is assigned to lets go of what it had, and who was moved from is empty") {
    lets_go<config>();
    lets_go<gateway::server>();
    lets_go<gateway::arbiter>();

    static int closed;
    closed = 0;
    auto open = [] {
        body it;
        it.native()->close = [](void*) { closed++; };
        return it;
    };
    body to = open(), from = open();
    assign(to, from);
    CHECK(closed == 1);
    assign(to, to);
    assign(to, from);
    CHECK(closed == 2);
}

TEST_CASE("a configuration that was moved from takes nothing, and what it was given is dropped") {
    config empty;
    { config moved = std::move(empty); }
    auto around = [c = counted()](request& req, responder& respond, const gateway::inner& inner) {
        return inner(req, respond);
    };
    gateway::hooks hooks;
    hooks.access = [c = counted()](const gw_access&) {};
    const int mine = counted::alive;
    CHECK_THROWS_AS(empty.set("workers", 1), gateway::error);
    CHECK_THROWS_AS(empty.set(GW_OPT_WORKERS, 1), gateway::error);
    CHECK_THROWS_AS((void) empty.get("workers"), gateway::error);
    CHECK_THROWS_AS((void) empty.check(), gateway::error);
    CHECK_THROWS_AS(empty.app([c = counted()](request&, responder& respond) { return respond(200); }), gateway::error);
    CHECK_THROWS_AS(empty.mount_builtin("/health", "health", nullptr), gateway::error);
    CHECK_THROWS_AS(empty.module("/module", "module.so"), gateway::error);
    CHECK_THROWS_AS(empty.use(around), gateway::error);
    CHECK_THROWS_AS(empty.use_at("/", around), gateway::error);
    CHECK_THROWS_AS(empty.use_builtin("request_id"), gateway::error);
    CHECK_THROWS_AS(empty.listen({"127.0.0.1:0"}), gateway::error);
    CHECK_THROWS_AS(empty.pool("other", holding()), gateway::error);
    CHECK_THROWS_AS(empty.hook(hooks), gateway::error);
    CHECK_THROWS_AS(empty.log(gateway::level::error, [c = counted()](const gw_log_record&) {}), gateway::error);
    CHECK_THROWS_AS(gateway::serve(std::move(empty)), gateway::error);
    CHECK_THROWS_AS(gateway::server(std::move(empty)), gateway::error);
    CHECK_THROWS_AS(gateway::arbiter(std::move(empty)), gateway::error);
    config cfg = holding();
    CHECK_THROWS_AS(cfg.pool("other", std::move(empty)), gateway::error);
    gateway::arbiter arbiter(std::move(cfg));
    CHECK_THROWS_AS(arbiter.reload(std::move(empty)), gateway::error);  // and it is not the same once more
    CHECK(counted::alive == mine + 1);
}

TEST_CASE("a NUL inside of a text is refused, and is not its end") {
    using namespace std::string_literals;
    config cfg;
    for (const auto& [key, value] : {std::pair("pidfile"s, "/tmp/a\0.pid"s), std::pair("pidfile\0s"s, "/tmp/a"s)}) {
        try {
            cfg.set(key, value);
            FAIL("it was cut");
        } catch (const gateway::error& e) {
            CHECK(e.code() == gateway::errc::invalid);
        }
    }
    CHECK_THROWS_AS((void) cfg.get("workers\0x"s), gateway::error);
    CHECK_THROWS_AS(cfg.use_builtin("access deny=10.0.0.0/8\0 allow=all"s), gateway::error);
    CHECK(cfg.get("pidfile").empty());
}

TEST_CASE("a log function stays where another one is refused") {
    lines kept, refused;
    config cfg;
    cfg.log(gateway::level::error, kept);
    CHECK_THROWS_AS(cfg.log(static_cast<gateway::level>(99), refused), gateway::error);
    served s(std::move(cfg.app([](request&, responder&) -> body { throw std::runtime_error("it is said"); })));
    CHECK(s.ask("GET /").find("HTTP/1.1 500 ") == 0);
    until("it is in the log", [&] { return kept.have("it is said"); });
    CHECK_FALSE(refused.have("it is said"));
}

namespace theirs {
// Content, a value and an application of somebody whose functions are called as ours.
struct content {
    std::string text;
    const char* data() const { return text.data(); }
    std::size_t size() const { return text.size(); }
};
struct pooled {
    int value = 7;
    static void* operator new(std::size_t) = delete;
};
template <typename T> void octets(const T&) = delete;
template <typename T> void place(gw_environ*, T&&) = delete;
template <typename T> void destroy(T*) = delete;
}  // namespace theirs

TEST_CASE("what others call as we do is not called, and memory is the request's") {
    served s(config().app(
        [](request& req, responder& respond) -> body {
            CHECK(req.put(theirs::pooled()).value == 7);
            CHECK(req.at<theirs::pooled>()->value == 7);
            CHECK(req.allocate(0) != nullptr);
            theirs::content is{"theirs"};
            if (req.path() == "/shared") return respond(200, {}, std::make_shared<theirs::content>(is));
            return req.path() == "/moved" ? respond(200, {}, std::move(is)) : respond(200, {}, is);
        },
        on_loop));
    CHECK(s.get("/moved") == "theirs");
    CHECK(s.get("/copied") == "theirs");
    CHECK(s.get("/shared") == "theirs");
}

TEST_CASE("pairs are a range, also for algorithms") {
    served s(config().app(
        [](request& req, responder& respond) -> body {
            gateway::pairs all = req.headers();
            auto found = std::find_if(all.begin(), all.end(), [](auto it) { return it.name == "X-A"; });
            CHECK(found != all.end());
            CHECK(std::distance(all.begin(), all.end()) == static_cast<std::ptrdiff_t>(all.size()));
            CHECK_FALSE(all.empty());
            CHECK(gateway::pairs(nullptr, 0).empty());
            auto before = found++;
            CHECK((*before).value == "1");
            CHECK(before != found);
            CHECK(++before == found);
            return respond(200, {}, (*found).value);
        },
        on_loop));
    CHECK(s.ask("GET /", "X-A: 1\r\nX-B: next\r\n").find("\r\n\r\nnext") != std::string::npos);
}

TEST_CASE("views of nothing are empty, and no fault") {
    served s(config().app([](request& req, responder& respond) -> body {
        std::string_view none;
        CHECK_FALSE(req.get(none));
        CHECK_FALSE(req.query(none));
        (void) req.header(none);
        req.log(gateway::level::debug, none);
        request changed = req.derive();
        changed.set("X_EMPTY", none);
        CHECK(changed.get("X_EMPTY") == "");
        responder with = respond.change([none](gateway::head& h) {
            h.remove(none);
            h.set("X-Empty", none);
        });
        auto out = with.write(200, {});
        CHECK(out.write(none) == gateway::progress::done);
        return body();
    }));
    CHECK(s.ask("GET /").find("\r\nX-Empty: \r\n") != std::string::npos);
}
