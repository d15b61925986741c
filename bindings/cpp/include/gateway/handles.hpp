// Servers and arbiters that somebody else owns: what hooks are given.  Owners: server.hpp, arbiter.hpp.
#ifndef GATEWAY_HANDLES_HPP
#define GATEWAY_HANDLES_HPP

#include <gateway/deferred.hpp>
#include <gateway/error.hpp>
#include <gateway/detail.hpp>

#include <gateway.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <poll.h>

namespace gateway {

enum class how : std::uint32_t { graceful = GW_STOP_GRACEFUL, quick = GW_STOP_QUICK, kill = GW_STOP_KILL };

namespace detail {

template <typename Next, typename T> std::vector<gw_listener_info> listeners(Next next, const T* of) {
    std::vector<gw_listener_info> all;
    std::uint32_t cursor = 0;
    gw_listener_info one = GW_INIT(gw_listener_info);
    while (check(next(of, &cursor, &one)) == progress::done) {
        all.push_back(one);
    }
    return all;
}

}  // namespace detail

// One worker's loop that somebody else owns: gw_worker.server.
class server_ref {
public:
    explicit server_ref(gw_server* s) noexcept : s_(s) {}
    gw_server* native() const noexcept { return s_; }

    // [any] Readable when turn() has something to do.
    int fd() const noexcept { return gw_server_fd(s_); }
    // [one] Do what can be done without blocking; wait_ms is how long the host may sleep on fd(): 0 not at
    // all, -1 for ever.  false: it has stopped.
    [[nodiscard]] bool turn(std::int64_t& wait_ms) {
        return detail::check(gw_server_turn(s_, &wait_ms)) != progress::eof;
    }
    // [one] That until it has stopped, where there is no other loop.
    void run() {
        for (std::int64_t wait_ms = 0; turn(wait_ms);) {
            pollfd watched = {fd(), POLLIN, 0};
            ::poll(&watched, 1, wait_ms > 60'000 ? 60'000 : static_cast<int>(wait_ms));
        }
    }
    // [one] Serve a connected socket; taken unless this throws.
    void adopt(int fd, std::uint32_t protocol = GW_PROTO_HTTP) { detail::check(gw_server_adopt(s_, fd, protocol)); }
    void wake() { detail::check(gw_server_wake(s_)); }                                               // [sig]
    void stop(how h = how::graceful) { detail::check(gw_server_stop(s_, static_cast<std::uint32_t>(h))); }  // [sig]

    // [any] Requests for whoever asks, where there is no application: up to `room` into `out`, n of them.
    // again: none came in time (negative: for ever).  eof: the server has stopped.
    [[nodiscard]] progress take(deferred* out, std::size_t room, std::size_t& n, std::chrono::milliseconds timeout) {
        gw_deferred* raw[64];
        n = 0;
        gw_result rc = gw_server_take(s_, raw, room < 64 ? room : 64, timeout.count(), &n);
        for (std::size_t i = 0; rc == GW_OK && i < n; i++) {
            out[i] = deferred(raw[i]);
        }
        return detail::check(rc);
    }
    // [any] What happened to requests that were taken, and are not watched.
    [[nodiscard]] progress events(gw_event* out, std::size_t room, std::size_t& n, std::chrono::milliseconds timeout) {
        n = 0;
        return detail::check(gw_server_events(s_, out, room, timeout.count(), &n));
    }
    // [any]
    gw_stats stats() const {
        gw_stats out = GW_INIT(gw_stats);
        detail::check(gw_server_stats(s_, &out));
        return out;
    }
    // [any] Its sockets, with the ports that the system chose.
    std::vector<gw_listener_info> listeners() const { return detail::listeners(gw_server_listeners, s_); }

protected:
    gw_server* s_;
};

class config;

// An arbiter that somebody else owns: what hooks are given.
class arbiter_ref {
public:
    explicit arbiter_ref(gw_arbiter* a) noexcept : a_(a) {}
    gw_arbiter* native() const noexcept { return a_; }

    // [any] Begin a reload: the same configuration in new workers ([sig]), or another one.
    void reload() { detail::check(gw_arbiter_reload(a_, nullptr)); }
    void reload(config cfg);
    void scale(std::uint32_t workers) { detail::check(gw_arbiter_scale(a_, workers)); }  // [sig]
    // [any] Of one pool.
    void scale(const char* pool, std::uint32_t workers) { detail::check(gw_arbiter_scale_pool(a_, pool, workers)); }
    void signal(int signo) { detail::check(gw_arbiter_signal(a_, signo)); }                            // [sig]
    void upgrade() { detail::check(gw_arbiter_upgrade(a_)); }                                          // [sig]
    void stop(how h = how::graceful) { detail::check(gw_arbiter_stop(a_, static_cast<std::uint32_t>(h))); }  // [sig]
    // [any] The host has waited for this process; status is waitpid's.
    void reaped(int pid, int status) { detail::check(gw_arbiter_reaped(a_, pid, status)); }
    // [any] Here and below.
    gw_stats stats() const {
        gw_stats out = GW_INIT(gw_stats);
        detail::check(gw_arbiter_stats(a_, &out));
        return out;
    }
    std::vector<gw_listener_info> listeners() const { return detail::listeners(gw_arbiter_listeners, a_); }
    // The requests of all workers: those in flight; or also the last of each that have ended.
    std::vector<gw_request_info> requests(bool ended = false, std::size_t most = 256) const {
        std::vector<gw_request_info> all(most > 0 ? most : 1, GW_INIT(gw_request_info));
        std::size_t n = 0;
        detail::check(gw_arbiter_requests(a_, ended, all.data(), all.size(), &n));
        all.resize(n);
        return all;
    }

protected:
    gw_arbiter* a_;
};

}  // namespace gateway

#endif  // GATEWAY_HANDLES_HPP
