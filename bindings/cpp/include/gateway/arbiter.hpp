// Workers, and who watches them, step by step.
#ifndef GATEWAY_ARBITER_HPP
#define GATEWAY_ARBITER_HPP

#include <gateway/config.hpp>
#include <gateway/detail.hpp>
#include <gateway/handles.hpp>

#include <gateway.h>

#include <chrono>
#include <cstdint>
#include <utility>

namespace gateway {

// Workers, and who watches them: what serve does, step by step.  [one], but for what says [any].
class arbiter : public arbiter_ref {
public:
    explicit arbiter(config cfg) : arbiter_ref(nullptr) {
        detail::told([&](gw_error* err) { return gw_arbiter_new(cfg.release(), &a_, err); });
    }
    arbiter(arbiter&& other) noexcept : arbiter_ref(std::exchange(other.a_, nullptr)) {}
    arbiter& operator=(arbiter&& other) noexcept {
        arbiter taken(std::move(other));
        std::swap(a_, taken.a_);
        return *this;
    }
    ~arbiter() { gw_arbiter_free(a_); }

    // Start the workers; errc::state with forked ones in a process that has threads.
    void start() {
        detail::told([&](gw_error* err) { return gw_arbiter_start(a_, err); });
    }
    // Watch them until stopped; or that by fd() and turn(), as server's.
    void run() {
        detail::told([&](gw_error* err) { return gw_arbiter_run(a_, err); });
    }
    // [any] Readable when turn() has something to do.
    int fd() const noexcept { return gw_arbiter_fd(a_); }
    [[nodiscard]] bool turn(std::int64_t& wait_ms) {
        return detail::check(gw_arbiter_turn(a_, &wait_ms)) != progress::eof;
    }
    // [any] Wait until run(), in another thread, has ended.  false: time is up.
    [[nodiscard]] bool wait(std::chrono::milliseconds timeout) {
        return detail::check(gw_arbiter_wait(a_, timeout.count())) != progress::again;
    }
};

}  // namespace gateway

#endif  // GATEWAY_ARBITER_HPP
