// Answers that come later, from any thread.
#ifndef GATEWAY_DEFERRED_HPP
#define GATEWAY_DEFERRED_HPP

#include <gateway/body.hpp>
#include <gateway/detail.hpp>
#include <gateway/error.hpp>
#include <gateway/headers.hpp>
#include <gateway/request.hpp>

#include <gateway.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

namespace gateway {

// Called on the loop's thread; they must not wait.  What they throw is lost.
struct events {
    std::function<void()> readable;  // after read() said again
    std::function<void()> writable;  // after write() said again: there is room, or the client is gone
    std::function<void()> aborted;   // the client has left, or will send no more; still answer, or drop
};

namespace detail {

template <std::function<void()> events::*Which> void happened(void* ctx, gw_deferred*) noexcept {
    auto* mine = static_cast<events*>(ctx);
    if (mine->*Which) {
        try {
            (mine->*Which)();
        } catch (...) {
            // There is nobody to tell, and the handle is still to be answered.
        }
    }
}

inline gw_deferred_events native_events(std::unique_ptr<events> mine) noexcept {
    gw_deferred_events raw = GW_INIT(gw_deferred_events);
    raw.readable = happened<&events::readable>;
    raw.writable = happened<&events::writable>;
    raw.aborted = happened<&events::aborted>;
    raw.drop = remove<events>;
    raw.ctx = mine.release();
    return raw;
}

}  // namespace detail

// A request that any thread answers, one at a time.  One that is dropped unanswered has failed: a 500.
class deferred {
public:
    explicit deferred(gw_deferred* d = nullptr) noexcept : d_(d) {}
    deferred(deferred&& other) noexcept : d_(std::exchange(other.d_, nullptr)) {}
    deferred& operator=(deferred&& other) noexcept {
        gw_deferred* taken = std::exchange(other.d_, nullptr);
        fail();
        d_ = taken;
        return *this;
    }
    ~deferred() { fail(); }
    explicit operator bool() const noexcept { return d_ != nullptr; }
    gw_deferred* native() const noexcept { return d_; }

    // The request, until it is answered.  errc::state beside a body that was returned.
    [[nodiscard]] request environ() const {
        gw_environ* env = gw_deferred_environ(d_);
        if (env == nullptr) {
            throw error(GW_ERR_STATE);
        }
        return request(env);
    }
    // Of its body, never waiting; again: wait for events::readable.
    [[nodiscard]] progress read(void* buffer, std::size_t size, std::size_t& n) {
        n = 0;
        return still(gw_deferred_read(d_, buffer, size, &n));
    }
    // A whole answer, content as responder's; then this is empty.  false: the client is gone.
    bool reply(status code, headers list = {}) { return reply(code, list, borrow("")); }
    template <typename T> bool reply(status code, headers list, T&& content) {
        body answer;
        detail::first_of(environ().native(), answer.native(), std::forward<T>(content));
        gw_response raw = detail::response(code, list);
        gw_chunk chunk = std::exchange(answer.native()->first, gw_chunk{});
        return still(gw_deferred_reply(std::exchange(d_, nullptr), &raw, &chunk, 1)) != progress::closed;
    }
    // Or step by step.
    void start(status code, headers list = {}) {
        gw_response raw = detail::response(code, list);
        detail::check(gw_deferred_start(d_, &raw));
    }
    // A piece, copied.  again: not taken; wait for events::writable.
    [[nodiscard]] progress write(std::string_view octets, bool flush = false) {
        gw_chunk chunk{};
        chunk.data = octets.data();
        chunk.len = octets.size();
        chunk.flags = flush ? GW_CHUNK_FLUSH : 0;
        return still(gw_deferred_write(d_, &chunk));
    }
    // The answer is complete; beside a body that was returned: this is not needed any more.
    void end() { detail::check(gw_deferred_end(std::exchange(d_, nullptr), GW_OK)); }
    // It has failed.
    void fail() noexcept {
        if (d_ != nullptr) {
            gw_deferred_end(std::exchange(d_, nullptr), GW_ERR_APP);
        }
    }
    // [any] Ask the stream again that said `again`.
    void resume() { detail::check(gw_deferred_resume(d_)); }
    // The same in that time, 49 days at most; at once when it is negative.
    void resume_after(std::chrono::milliseconds time) {
        auto ms = std::clamp<std::chrono::milliseconds::rep>(time.count(), 0, UINT32_MAX);
        detail::check(gw_deferred_resume_after(d_, static_cast<std::uint32_t>(ms)));
    }
    // Be told of one that was taken (server::take).
    void watch(events mine) {
        gw_deferred_events raw = detail::native_events(std::make_unique<events>(std::move(mine)));
        detail::check(gw_deferred_watch(d_, &raw));
    }

private:
    // Clients leave: whoever answers in a thread of his own must not have to catch that.
    static progress still(gw_result rc) { return rc == GW_ERR_CLOSED ? progress::closed : detail::check(rc); }

    gw_deferred* d_;
};

inline deferred request::defer() {
    gw_deferred* d;
    detail::check(gw_defer(env_, nullptr, &d));
    return deferred(d);
}

inline deferred request::defer(events mine) {
    gw_deferred_events raw = detail::native_events(std::make_unique<events>(std::move(mine)));
    gw_deferred* d;
    detail::check(gw_defer(env_, &raw, &d));
    return deferred(d);
}

}  // namespace gateway

#endif  // GATEWAY_DEFERRED_HPP
