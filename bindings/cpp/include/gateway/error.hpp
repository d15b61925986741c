// Results: what the library's errors are thrown as, and what is no error.
#ifndef GATEWAY_ERROR_HPP
#define GATEWAY_ERROR_HPP

#if __cplusplus < 201703L
#error "gateway.hpp is for C++17 and later: -std=c++17; gateway.h is for C++11 and C, too"
#elif !defined(__cpp_exceptions)
#error "gateway.hpp throws: not with -fno-exceptions; gateway.h does without"
#endif

#include <gateway.h>

#include <cstdio>
#include <string>
#include <system_error>

namespace gateway {

// GW_*, for comparison with error::code() and any other std::error_code.
enum class errc : gw_result {
    invalid = GW_ERR_INVALID,
    state = GW_ERR_STATE,
    memory = GW_ERR_MEMORY,
    io = GW_ERR_IO,
    panic = GW_ERR_PANIC,
    unsupported = GW_ERR_UNSUPPORTED,
    unknown = GW_ERR_UNKNOWN,
    not_found = GW_ERR_NOT_FOUND,
    limit = GW_ERR_LIMIT,
    protocol = GW_ERR_PROTOCOL,
    closed = GW_ERR_CLOSED,
    timeout = GW_ERR_TIMEOUT,
    busy = GW_ERR_BUSY,
    abi = GW_ERR_ABI,
    app = GW_ERR_APP,
};

// "gateway", whose messages are gw_result_text's.
// Seen from everywhere, since shared objects compare its address, and catch an error by its type.
GW_EXPORT inline const std::error_category& category() noexcept {
    struct gateway_category final : std::error_category {
        const char* name() const noexcept override { return "gateway"; }
        std::string message(int value) const override { return gw_result_text(value); }
        std::error_condition default_error_condition(int value) const noexcept override {
            switch (value) {
            case GW_ERR_INVALID: return std::errc::invalid_argument;
            case GW_ERR_MEMORY: return std::errc::not_enough_memory;
            case GW_ERR_TIMEOUT: return std::errc::timed_out;
            case GW_ERR_UNSUPPORTED: return std::errc::not_supported;
            default: return {value, *this};
            }
        }
    };
    static const gateway_category it;
    return it;
}

inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

// What the library's errors are thrown as: `e.code() == gateway::errc::limit`.
class GW_EXPORT error : public std::system_error {
public:
    explicit error(gw_result rc, const std::string& what) : error(rc, 0, 1, what) {}
    explicit error(gw_result rc) : error(rc, gw_result_text(rc)) {}
    explicit error(const gw_error& e) : error(e.code, e.os_errno, e.exit_status, e.message) {}

    // All of the library's message, and nothing else.
    const char* what() const noexcept override { return text_; }
    // 0 when none was involved.
    int os_errno() const noexcept { return os_errno_; }
    // What main should return.
    int exit_status() const noexcept { return exit_status_; }

private:
    error(gw_result rc, int os_errno, int exit_status, const std::string& what)
        : std::system_error(rc, category()), os_errno_(os_errno), exit_status_(exit_status) {
        std::snprintf(text_, sizeof text_, "%s", what.c_str());
    }

    int os_errno_, exit_status_;
    char text_[sizeof(gw_error::message)];  // here: copies of an exception must not throw
};

// Of calls that do not wait.
enum class progress {
    done,
    again,  // not now; you will be told when
    eof,    // there is no more
    closed, // of a deferred: the client is gone
};

}  // namespace gateway

template <> struct std::is_error_code_enum<gateway::errc> : std::true_type {};

#endif  // GATEWAY_ERROR_HPP
