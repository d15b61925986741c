// What the other headers are made of; nothing here is for programs.
#ifndef GATEWAY_DETAIL_HPP
#define GATEWAY_DETAIL_HPP

#include <gateway/error.hpp>

#include <gateway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gateway {

namespace detail {

inline std::string_view view(gw_str s) noexcept { return {s.data != nullptr ? s.data : "", s.len}; }

// The data are never NULL: that would be a value that is missing.
inline gw_str str(std::string_view s) noexcept { return {s.data() != nullptr ? s.data() : "", s.size()}; }

// Text that ends at its first NUL, for C: one that has another inside would be cut.
inline const char* c_str(const std::string& s) {
    if (s.find('\0') != std::string::npos) {
        throw error(GW_ERR_INVALID, std::string(s.c_str()) + ": there is a NUL behind it");
    }
    return s.c_str();
}

inline progress check(gw_result rc) {
    if (rc < 0) {
        throw error(rc);
    }
    return rc == GW_AGAIN ? progress::again : rc == GW_EOF ? progress::eof : progress::done;
}

// Calls f with a gw_error in front of which it has bound the rest, and throws what it says.
template <typename F> void told(F&& f) {
    gw_error err = GW_INIT(gw_error);
    gw_result rc = f(&err);
    if (rc < 0) {
        err.code = err.code != 0 ? err.code : rc;
        throw error(err);
    }
}

// The rest of a call from C, about a request or none: the exception that is on its way, said by `tell`, as a result.
template <typename Tell> gw_result caught(const gw_environ* env, Tell&& tell) noexcept {
    try {
        throw;
    } catch (const error& e) {
        gw_result rc = e.code().value() < 0 ? e.code().value() : GW_ERR_APP;
        if (rc != GW_ERR_CLOSED || env == nullptr) {  // that its client has left is no fault of the application
            tell(e.what());
        }
        return rc;
    } catch (const std::bad_alloc&) {
        return GW_ERR_MEMORY;
    } catch (const std::exception& e) {
        tell(e.what());
    } catch (...) {
        tell("an exception that is no std::exception");
    }
    return GW_ERR_APP;
}

template <typename F> gw_result guarded(const gw_environ* env, F&& f) noexcept {
    try {
        return f();
    } catch (...) {
        return detail::caught(env, [env](const char* what) { gw_fail(env, what, std::strlen(what)); });
    }
}

// Memory of a request, aligned for anything.
inline void* room(gw_environ* env, std::size_t size) {
    void* memory = gw_environ_alloc(env, size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

// A T in it, which whoever places it has destroyed when the request does not need it any more.
template <typename T> T* place(gw_environ* env, T&& value) {
    static_assert(!std::is_reference_v<T>, "it is moved");
    static_assert(alignof(T) <= alignof(std::max_align_t), "the memory of a request is aligned as malloc's");
    return ::new (detail::room(env, sizeof(T))) T(std::forward<T>(value));
}

template <typename T> void destroy(void* value) noexcept { static_cast<T*>(value)->~T(); }
template <typename T> void remove(void* value) noexcept { delete static_cast<T*>(value); }

template <typename T, typename = void> struct has_octets : std::false_type {};
template <typename T>
struct has_octets<T, std::void_t<decltype(std::declval<const T&>().data()), decltype(std::declval<const T&>().size())>>
    : std::is_trivially_copyable<std::remove_pointer_t<decltype(std::declval<const T&>().data())>> {};

// A smart pointer to one of those.
template <typename T, typename = void> struct points_to_octets : std::false_type {};
template <typename T>
struct points_to_octets<T, std::void_t<decltype(*std::declval<const T&>().get())>>
    : has_octets<std::remove_reference_t<decltype(*std::declval<const T&>().get())>> {};

template <typename T> std::string_view octets(const T& c) noexcept {
    return {reinterpret_cast<const char*>(c.data()), c.size() * sizeof(*c.data())};
}

}  // namespace detail

}  // namespace gateway

#endif  // GATEWAY_DETAIL_HPP
