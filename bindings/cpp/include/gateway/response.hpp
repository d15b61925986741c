// How an application answers: the responder, and what middleware does to a head.
#ifndef GATEWAY_RESPONSE_HPP
#define GATEWAY_RESPONSE_HPP

#include <gateway/body.hpp>
#include <gateway/detail.hpp>
#include <gateway/error.hpp>
#include <gateway/headers.hpp>

#include <gateway.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <fcntl.h>

namespace gateway {

// The head of an answer that a middleware changes (responder::change).
class head {
public:
    int status;
    bool closing;  // the connection is closed behind the answer
    explicit head(gw_environ* env, const gw_response& from)
        : status(from.status), closing((from.flags & GW_RESPONSE_CLOSE) != 0), env_(env), from_(from),
          count_(from.header_count), room_(count_ + 8),
          pairs_(static_cast<gw_pair*>(detail::room(env, room_ * sizeof(gw_pair)))) {
        if (count_ > 0) {
            std::memcpy(pairs_, from.headers, count_ * sizeof(gw_pair));
        }
    }
    head(const head&) = delete;  // a copy would be changed in its place
    head& operator=(const head&) = delete;
    pairs headers() const noexcept { return {pairs_, count_}; }
    // One more; it is copied.
    void add(std::string_view name, std::string_view value) {
        if (count_ == room_) {
            auto* more = static_cast<gw_pair*>(detail::room(env_, room_ * 2 * sizeof(gw_pair)));
            std::memcpy(more, pairs_, count_ * sizeof(gw_pair));
            pairs_ = more;
            room_ *= 2;
        }
        pairs_[count_] = {copy(name), copy(value)};
        count_++;
    }
    // Takes away what is called so, in any case.
    void remove(std::string_view name) noexcept {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count_; i++) {
            if (!is_called(pairs_[i], name)) {
                pairs_[kept++] = pairs_[i];
            }
        }
        count_ = kept;
    }
    void set(std::string_view name, std::string_view value) {
        remove(name);
        add(name, value);
    }
    // errc::invalid unless the status is 100 to 999.
    gw_response native() const {
        auto code = closing ? gateway::closing(status) : gateway::status(status);
        gw_response out = detail::response(code, {pairs_, count_}, from_.flags & ~GW_RESPONSE_CLOSE);
        out.reason = from_.reason;
        out.more = from_.more;
        return out;
    }

private:
    static bool is_called(const gw_pair& pair, std::string_view name) noexcept {
        auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
        bool same = pair.name.len == name.size();
        for (std::size_t i = 0; same && i < name.size(); i++) {
            same = lower(pair.name.data[i]) == lower(name[i]);
        }
        return same;
    }
    gw_str copy(std::string_view text) {
        char* to = static_cast<char*>(detail::room(env_, text.size() + 1));
        return {static_cast<char*>(std::memcpy(to, detail::str(text).data, text.size())), text.size()};
    }

    gw_environ* env_;
    gw_response from_;
    std::size_t count_, room_;
    gw_pair* pairs_;
};

// WSGI's write(): pieces that leave before the body's.
class writer {
public:
    explicit writer(gw_writer raw) noexcept : raw_(raw) {}
    // Copied.  Waits while the client is slow, where it may; else takes all or nothing (again).
    [[nodiscard]] progress write(std::string_view octets, bool flush = false) {
        gw_chunk chunk{};
        chunk.data = octets.data();
        chunk.len = octets.size();
        chunk.flags = flush ? GW_CHUNK_FLUSH : 0;
        return detail::check(raw_.write(raw_.ctx, &chunk));
    }

private:
    gw_writer raw_;
};

// start_response: how an application answers.  Lives as long as the call; [req].
class responder {
public:
    responder(gw_environ* env, gw_start_response_fn start_response, void* sr) noexcept
        : env_(env), start_response_(start_response), sr_(sr) {}
    responder(const responder&) = delete;
    responder& operator=(const responder&) = delete;

    // A whole answer, whose length is known: no content, or what is `borrow`ed (sent from where it is), a
    // std::string&&, std::vector&& or other container (moved), a smart pointer to one (kept), anything else that
    // has octets, literals too (copied).  The status is 100 to 999 here and below: errc::invalid.
    body operator()(status code, headers list = {}) {
        start(code, list);
        return body();
    }
    template <typename T> body operator()(status code, headers list, T&& content) {
        body answer;
        detail::first_of(env_, answer.native(), std::forward<T>(content));
        start(code, list);
        return answer;
    }

    // A body that is made while it is sent: f() returns a piece each time that the client can take more.
    // f is destroyed when the answer has ended, however it does.
    template <typename F> body stream(status code, headers list, F f) {
        using box = detail::stream<F>;
        body answer;
        answer.native()->ctx = detail::place(env_, box{env_, std::move(f), {}});
        answer.native()->next = box::next;
        answer.native()->close = detail::destroy<box>;
        start(code, list);
        return answer;
    }

    // A file, sent by the kernel, with its length; errc::io and os_errno when it cannot be opened.
    body file(status code, headers list, const char* path) {
        int fd = ::open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            gw_error err = GW_INIT(gw_error);
            err.code = GW_ERR_IO;
            err.os_errno = errno;
            err.exit_status = 1;
            std::snprintf(err.message, sizeof err.message, "open %s: %s", path,
                          std::error_code(err.os_errno, std::generic_category()).message().c_str());
            throw error(err);
        }
        return file(code, list, fd);
    }
    // Of a descriptor, which is taken; UINT64_MAX: to its end.
    body file(status code, headers list, int fd, std::int64_t offset = 0, std::uint64_t length = UINT64_MAX) {
        body answer;
        detail::check(gw_body_file(answer.native(), fd, offset, length, GW_FILE_CLOSE, nullptr, nullptr));
        start(code, list);
        return answer;
    }

    // The head alone, and what writes the body; return body() after it, or more to be sent.
    [[nodiscard]] writer write(status code, headers list) {
        gw_writer raw;
        start(code, list, 0, &raw);
        return writer(raw);
    }
    // An informational answer, at once: 103 with Link, say.
    void inform(int code, headers list) { start(code, list); }
    // Instead of a head that was given and not sent (WSGI's exc_info).
    void replace(status code, headers list) { start(code, list, GW_RESPONSE_REPLACE); }

    // For middleware: a responder for the application inside that calls f(head&) on each head on its way here.
    template <typename F> [[nodiscard]] responder change(F f) {
        struct changing {
            gw_environ* env;
            gw_start_response_fn start_response;
            void* sr;
            F f;
            static gw_result start(void* ctx, const gw_response* from, gw_writer* out) noexcept {
                auto* self = static_cast<changing*>(ctx);
                return detail::guarded(self->env, [&] {
                    head mine(self->env, *from);
                    self->f(mine);
                    gw_response raw = mine.native();
                    return self->start_response(self->sr, &raw, out);
                });
            }
        };
        auto* box = detail::place(env_, changing{env_, start_response_, sr_, std::move(f)});
        if constexpr (!std::is_trivially_destructible_v<F>) {  // a body may start the answer: with the request
            detail::check(gw_environ_put(env_, box, box, detail::destroy<changing>));
        }
        return responder(env_, changing::start, box);
    }

    gw_start_response_fn native() const noexcept { return start_response_; }
    void* native_context() const noexcept { return sr_; }

private:
    void start(status code, headers list, unsigned flags = 0, gw_writer* out = nullptr) {
        gw_response raw = detail::response(code, list, flags);
        detail::check(start_response_(sr_, &raw, out));
    }

    gw_environ* env_;
    gw_start_response_fn start_response_;
    void* sr_;
};

}  // namespace gateway

#endif  // GATEWAY_RESPONSE_HPP
