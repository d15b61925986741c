// What an answer is made from: octets that are kept or borrowed, streams, or nothing yet.
#ifndef GATEWAY_BODY_HPP
#define GATEWAY_BODY_HPP

#include <gateway/detail.hpp>
#include <gateway/error.hpp>

#include <gateway.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gateway {

// Octets that outlive the answer, a literal's say: sent from where they are.  What is not borrowed is moved or
// copied.
struct borrowed {
    std::string_view octets;
};
[[nodiscard]] inline borrowed borrow(std::string_view octets) noexcept { return {octets}; }

// What an application returns that has left a deferred with somebody: `return gateway::later;`.
struct later_t {};
inline constexpr later_t later{};

// What a stream gives when it is asked: octets, `end`, or `again`.
class piece {
public:
    enum signal { end, again };
    // Borrowed until the next call.
    piece(std::string_view octets) noexcept : octets_(octets) {}
    piece(std::nullptr_t) = delete;  // 0 and NULL, too: there is piece::end
    piece(const char* text) noexcept : octets_(text) {}
    // Copied or moved, and kept until the next call; to borrow one, give a view of it.
    piece(const std::string& octets) : owned_(octets), is_owned_(true) {}
    piece(std::string&& octets) noexcept : owned_(std::move(octets)), is_owned_(true) {}
    // There is no more; or not now: to be asked again after deferred::resume.
    piece(signal s) noexcept : result_(s == end ? GW_EOF : GW_AGAIN) {}
    // std::nullopt is the end.
    template <typename T> piece(std::optional<T>&& octets) : piece(octets ? piece(*std::move(octets)) : piece(end)) {}

    // Into `out`, whose data are valid as long as `kept`.
    gw_result fill(gw_chunk* out, std::string& kept) && noexcept {
        if (is_owned_) {
            kept = std::move(owned_);
            octets_ = kept;
        }
        out->data = octets_.data();
        out->len = octets_.size();
        return result_;
    }

private:
    std::string_view octets_;
    std::string owned_;
    bool is_owned_ = false;
    gw_result result_ = GW_OK;
};

// What an application returns: by responder, inner(), or `later`.  Released and closed once, also unsent.
class [[nodiscard]] body {
public:
    body(later_t) noexcept : result_(GW_DEFERRED) {}
    body(body&& other) noexcept : raw_(other.raw_), result_(other.result_) { other.raw_ = GW_INIT(gw_body); }
    body& operator=(body&& other) noexcept {
        body taken(std::move(other));  // what this had goes, here and in all that own: at once, not with `other`
        std::swap(raw_, taken.raw_);
        std::swap(result_, taken.result_);
        return *this;
    }
    ~body() {
        if (raw_.first.release != nullptr) {
            raw_.first.release(raw_.first.arg);
        }
        if (raw_.close != nullptr) {
            raw_.close(raw_.ctx);
        }
    }
    // GW_OK, GW_DEFERRED, or the error of the application that a middleware has called.
    gw_result result() const noexcept { return result_; }

    // For what is not here: fill it as gateway.h says.
    explicit body(gw_result result = GW_OK) noexcept : result_(result) {}
    gw_body* native() noexcept { return &raw_; }
    // To C, which takes it unless the result is an error.
    gw_result give(gw_body* out) noexcept {
        if (result_ == GW_OK) {
            out->first = raw_.first;
            out->next = raw_.next;
            out->close = raw_.close;
            out->ctx = raw_.ctx;
            raw_ = GW_INIT(gw_body);
        }
        return result_;
    }

private:
    gw_body raw_ = GW_INIT(gw_body);
    gw_result result_ = GW_OK;
};

namespace detail {

// `first` of what an answer is made from: borrowed, moved into the request's memory, or copied there.
template <typename T> void first_of(gw_environ* env, gw_body* out, T&& content) {
    using C = std::remove_cv_t<std::remove_reference_t<T>>;
    if constexpr (std::is_same_v<C, borrowed>) {
        check(gw_body_bytes(out, content.octets.data(), content.octets.size(), nullptr, nullptr));
    } else if constexpr (std::is_array_v<C> && std::is_const_v<std::remove_extent_t<std::remove_reference_t<T>>>) {
        static_assert(std::is_same_v<std::remove_cv_t<std::remove_extent_t<C>>, char>, "a literal, or a container");
        // A literal, or a local array: they cannot be told apart.
        std::size_t size = std::extent_v<C> - (content[std::extent_v<C> - 1] == '\0' ? 1 : 0);
        check(gw_body_copy(env, out, content, size));
    } else if constexpr (points_to_octets<C>::value) {
        if (content == nullptr) {
            return;
        }
        C* kept = detail::place(env, C(std::forward<T>(content)));
        std::string_view all = detail::octets(**kept);
        check(gw_body_bytes(out, all.data(), all.size(), destroy<C>, kept));
    } else if constexpr (has_octets<C>::value && std::is_rvalue_reference_v<T&&> && !std::is_const_v<T> &&
                         !std::is_trivially_destructible_v<C>) {
        C* kept = detail::place(env, C(std::forward<T>(content)));  // a container, and no view of one
        std::string_view all = detail::octets(*kept);
        check(gw_body_bytes(out, all.data(), all.size(), destroy<C>, kept));
    } else if constexpr (has_octets<C>::value) {
        std::string_view all = detail::octets(content);
        check(gw_body_copy(env, out, all.data(), all.size()));
    } else {
        std::string_view all(content);
        check(gw_body_copy(env, out, all.data(), all.size()));
    }
}

// A callable as the iterator of a body.
template <typename F> struct stream {
    gw_environ* env;
    F f;
    std::string kept;

    static gw_result next(void* ctx, gw_chunk* out) noexcept {
        auto* self = static_cast<stream*>(ctx);
        return detail::guarded(self->env, [&] { return piece(self->f()).fill(out, self->kept); });
    }
};

}  // namespace detail

}  // namespace gateway

#endif  // GATEWAY_BODY_HPP
