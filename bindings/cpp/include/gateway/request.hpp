// What an application is asked: the environ, the body, what is kept with a request.
#ifndef GATEWAY_REQUEST_HPP
#define GATEWAY_REQUEST_HPP

#include <gateway/detail.hpp>
#include <gateway/error.hpp>
#include <gateway/headers.hpp>

#include <gateway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <istream>
#include <optional>
#include <streambuf>
#include <string_view>
#include <utility>

namespace gateway {

// For log lines.
enum class level : std::int32_t { error = GW_LOG_ERROR, warn = GW_LOG_WARN, info = GW_LOG_INFO, debug = GW_LOG_DEBUG };

class deferred;
struct events;

// WSGI's environ.  [req], or [one] with a deferred.
class request {
public:
    explicit request(gw_environ* env) noexcept : env_(env) {}
    request(const request&) = delete;
    request& operator=(const request&) = delete;
    gw_environ* native() const noexcept { return env_; }

    std::string_view method() const noexcept { return detail::view(env_->request_method); }
    // The part of the path that led here; never "/".
    std::string_view script_name() const noexcept { return detail::view(env_->script_name); }
    // PATH_INFO, percent-decoded.
    std::string_view path() const noexcept { return detail::view(env_->path_info); }
    // As it came, without "?".
    std::string_view query_string() const noexcept { return detail::view(env_->query_string); }
    // The target, as it came.
    std::string_view uri() const noexcept { return detail::view(env_->request_uri); }
    std::string_view content_type() const noexcept { return detail::view(env_->content_type); }
    // Nothing: absent, or a chunked body.
    std::optional<std::uint64_t> content_length() const noexcept {
        return env_->content_length < 0 ? std::nullopt : std::optional<std::uint64_t>(env_->content_length);
    }
    std::string_view protocol() const noexcept { return detail::view(env_->server_protocol); }
    std::string_view remote_addr() const noexcept { return detail::view(env_->remote_addr); }
    std::string_view scheme() const noexcept { return detail::view(env_->url_scheme); }
    // Whether this thread may wait (GW_ENV_MAY_BLOCK).
    bool may_block() const noexcept { return (env_->flags & GW_ENV_MAY_BLOCK) != 0; }

    // A variable by its CGI or WSGI name: "HTTP_HOST", "REMOTE_PORT".
    std::optional<std::string_view> get(std::string_view name) const noexcept {
        gw_str value;
        return found(gw_environ_get(env_, name.data(), name.size(), &value), value);
    }
    // A header by its name in any case, what came several times joined.
    std::optional<std::string_view> header(std::string_view name) const noexcept {
        char variable[5 + 256];
        if (name.size() > 256) {
            return std::nullopt;
        }
        std::memcpy(variable, "HTTP_", 5);
        for (std::size_t i = 0; i < name.size(); i++) {
            char c = name[i];
            variable[5 + i] = c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        }
        std::string_view cgi(variable, 5 + name.size());
        bool bare = cgi == "HTTP_CONTENT_TYPE" || cgi == "HTTP_CONTENT_LENGTH";
        return get(bare ? cgi.substr(5) : cgi);
    }
    // As received, in order.
    pairs headers() const noexcept { return {env_->headers, env_->header_count}; }
    // All of the CGI variables.
    pairs variables() const {
        const gw_pair* all;
        std::size_t count;
        detail::check(gw_environ_vars(env_, &all, &count));
        return {all, count};
    }
    // A parameter of the query string, decoded.
    std::optional<std::string_view> query(std::string_view name) const noexcept {
        gw_str value;
        return found(gw_environ_query(env_, name.data(), name.size(), &value), value);
    }

    // 1 to size octets of the body; 0 at its end, and only there.  Waits where it may.
    [[nodiscard]] std::size_t read(void* buffer, std::size_t size) {
        std::size_t n = 0;
        detail::check(gw_read(env_, buffer, size, 0, &n));
        return n;
    }
    // The rest of the body, in the request's memory; errc::limit if it is longer.
    [[nodiscard]] std::string_view read_all(std::size_t limit = SIZE_MAX) {
        gw_str all;
        detail::check(gw_read_all(env_, limit, &all));
        return detail::view(all);
    }

    // Whether the client has left, or will send no more.
    bool gone() const noexcept { return gw_environ_gone(env_) != 0; }
    // A line in the log about this request.
    void log(level l, std::string_view text) const noexcept {
        gw_log(env_, static_cast<std::int32_t>(l), text.data(), text.size());
    }

    // Memory that goes away with the request, aligned for anything.
    [[nodiscard]] void* allocate(std::size_t size) { return detail::room(env_, size); }
    // A value of the request, one for each T; destroyed with it.
    template <typename T> T& put(T value) {
        T* mine = detail::place(env_, std::move(value));
        detail::check(gw_environ_put(env_, key<T>(), mine, detail::destroy<T>));
        return *mine;
    }
    // That, or nullptr.
    template <typename T> T* at() const noexcept { return static_cast<T*>(gw_environ_at(env_, key<T>())); }

    // For middleware: change a variable of a request that derive() returned; no value takes it away.
    void set(std::string_view name, std::optional<std::string_view> value) {
        detail::check(gw_environ_set(env_, name.data(), name.size(), value ? detail::str(*value).data : nullptr,
                                     value ? value->size() : 0));
    }
    // A copy that may be changed, in the same request.
    [[nodiscard]] request derive() const {
        gw_environ* copy;
        detail::check(gw_environ_derive(env_, &copy));
        return request(copy);
    }

    // A handle with which any thread answers, or resumes a stream; one for each request.  The application
    // returns gateway::later, or a stream.
    [[nodiscard]] deferred defer();
    [[nodiscard]] deferred defer(events mine);

private:
    // Another for each T.  Not const: constants that are equal may be merged.
    template <typename T> static void* key() noexcept {
        static char it;
        return &it;
    }
    static std::optional<std::string_view> found(gw_result rc, gw_str value) noexcept {
        return rc == GW_OK ? std::optional<std::string_view>(detail::view(value)) : std::nullopt;
    }

    gw_environ* env_;
};

// The body of a request as a std::istream, read as it is asked for.  What read() throws, of a body that is cut
// short, say, sets bad(), as of all streams, or is thrown again: in.exceptions(std::ios::badbit).
class istream : public std::istream {
public:
    explicit istream(request& req) : std::istream(nullptr), source_(req) { rdbuf(&source_); }

private:
    struct source : std::streambuf {
        explicit source(request& of) : req(of) {}
        int_type underflow() override {
            std::size_t n = req.read(octets, sizeof octets);
            setg(octets, octets, octets + n);
            return n == 0 ? traits_type::eof() : traits_type::to_int_type(octets[0]);
        }
        request& req;
        char octets[4096];
    };
    source source_;
};

}  // namespace gateway

#endif  // GATEWAY_REQUEST_HPP
