// gateway.hpp - libgateway for C++17: gateway.h with owners, exceptions and callables.
//
//     gateway::config cfg;
//     cfg.set("bind", "127.0.0.1:8000").app([](gateway::request&, gateway::responder& respond) {
//         return respond(200, {{"Content-Type", "text/plain"}}, "hello, world\n");
//     });
//     gateway::serve(std::move(cfg));
//
// Rules that hold for everything below; those of gateway.h hold, too, and its tags [any] [one] [req] [sig].
//
//   Owners      Move-only classes own what they hold.  A config that was moved into something is empty.
//   Errors      are thrown as gateway::error.  What is no error is returned: progress, optional, bool.
//   Callables   may throw.  An application that does is answered for with a 500, an answer that has begun is
//               cut, a hook that may refuse a worker refuses it; what() goes to the log.  No exception reaches C.
//   Text        std::string_view: octets.  What a request returns lives as long as the request.
//   Memory      What an answer owns is moved into the request's own memory (request::allocate), which costs no
//               malloc, and destroyed when it was sent.  defer(events), and what a std::string or a std::function
//               of yours needs for itself, do cost one.
//   Threads     An application runs where its flags say; with `threadsafe` one callable is entered by many.
//
// Whatever is not here is done with gateway.h: native() gives the pointers.
#ifndef GATEWAY_HPP
#define GATEWAY_HPP

#include <gateway.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <istream>
#include <memory>
#include <new>
#include <optional>
#include <streambuf>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace gateway {

// ---- results ----------------------------------------------------------------------------------------

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
inline const std::error_category& category() noexcept {
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
class error : public std::system_error {
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

// The version of the library that is loaded.
inline std::string_view version() noexcept { return gw_version(); }

// ---- what the rest is made of ------------------------------------------------------------------------

namespace detail {

inline std::string_view view(gw_str s) noexcept { return {s.data != nullptr ? s.data : "", s.len}; }

// A status, before it is cut to the 16 bits that it has in C.
inline std::uint16_t status(int value) {
    if (value < 100 || value > 999) {
        throw error(GW_ERR_INVALID, std::to_string(value) + " is not a status: 100 to 999");
    }
    return static_cast<std::uint16_t>(value);
}

// The data are never NULL: that would be a value that is missing.
inline gw_str str(std::string_view s) noexcept { return {s.data() != nullptr ? s.data() : "", s.size()}; }

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

// The rest of a call from C: the exception that is on its way, said by `tell`, as a result.
template <typename Tell> gw_result caught(Tell&& tell) noexcept {
    try {
        throw;
    } catch (const error& e) {
        gw_result rc = e.code().value() < 0 ? e.code().value() : GW_ERR_APP;
        if (rc != GW_ERR_CLOSED) {  // that the client has left is no fault of the application
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
        return caught([env](const char* what) { gw_fail(env, what, std::strlen(what)); });
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
    static_assert(alignof(T) <= alignof(std::max_align_t), "the memory of a request is aligned as malloc's");
    return new (room(env, sizeof(T))) T(std::move(value));
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

// ---- pairs --------------------------------------------------------------------------------------------

// A header: {"Content-Type", "text/plain"}.  Both are borrowed for the call that it is given to.
struct header : gw_pair {
    header(std::string_view its_name, std::string_view its_value) noexcept
        : gw_pair{detail::str(its_name), detail::str(its_value)} {}
};
static_assert(sizeof(header) == sizeof(gw_pair) && std::is_standard_layout_v<header>, "an array of one is one of both");

// Headers for an answer, borrowed: {{"Name", "value"}, ...}, or a container of headers.  For arguments: a list is
// gone after the call that it is written in, so that what is kept in a variable is a std::vector<header>.
class headers {
public:
    headers() noexcept = default;
    headers(std::initializer_list<header> list) noexcept : data_(list.begin()), count_(list.size()) {}
    template <typename C, typename = std::enable_if_t<std::is_convertible_v<decltype(std::declval<const C&>().data()),
                                                                            const header*>>>
    headers(const C& list) noexcept : data_(list.data()), count_(list.size()) {}
    headers(const gw_pair* data, std::size_t count) noexcept : data_(data), count_(count) {}

    const gw_pair* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return count_; }

private:
    const gw_pair* data_ = nullptr;
    std::size_t count_ = 0;
};

// Pairs to be read: `for (auto [name, value] : req.headers())`.
class pairs {
public:
    struct pair {
        std::string_view name, value;
    };
    struct iterator {
        const gw_pair* at;
        pair operator*() const noexcept { return {detail::view(at->name), detail::view(at->value)}; }
        iterator& operator++() noexcept { return ++at, *this; }
        bool operator!=(const iterator& other) const noexcept { return at != other.at; }
    };
    pairs(const gw_pair* data, std::size_t count) noexcept : data_(data), count_(count) {}
    iterator begin() const noexcept { return {data_}; }
    iterator end() const noexcept { return {data_ + count_}; }
    std::size_t size() const noexcept { return count_; }

private:
    const gw_pair* data_;
    std::size_t count_;
};

// ---- requests ------------------------------------------------------------------------------------------

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
    std::size_t read(void* buffer, std::size_t size) {
        std::size_t n = 0;
        detail::check(gw_read(env_, buffer, size, 0, &n));
        return n;
    }
    // The rest of the body, in the request's memory; errc::limit if it is longer.
    std::string_view read_all(std::size_t limit = SIZE_MAX) {
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
    void* allocate(std::size_t size) { return detail::room(env_, size); }
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
    request derive() const {
        gw_environ* copy;
        detail::check(gw_environ_derive(env_, &copy));
        return request(copy);
    }

    // A handle with which any thread answers, or resumes a stream; one for each request.  The application
    // returns gateway::later, or a stream.
    deferred defer();
    deferred defer(events mine);

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

// The body of a request as a std::istream, read as it is asked for.
class istream : public std::istream {
public:
    explicit istream(request& req) : std::istream(nullptr), source_(req) { rdbuf(&source_); }

private:
    struct source : std::streambuf {
        explicit source(request& of) : req(of) {}
        int_type underflow() override {
            std::size_t n = req.read(octets, sizeof octets);  // what it throws sets badbit
            setg(octets, octets, octets + n);
            return n == 0 ? traits_type::eof() : traits_type::to_int_type(octets[0]);
        }
        request& req;
        char octets[4096];
    };
    source source_;
};

// ---- answers -------------------------------------------------------------------------------------------

// Octets that outlive the answer, a literal's say: sent from where they are.  What is not borrowed is moved or
// copied.
struct borrowed {
    std::string_view octets;
};
inline borrowed borrow(std::string_view octets) noexcept { return {octets}; }

// What an application returns that has left a deferred with somebody: `return gateway::later;`.
struct later_t {};
inline constexpr later_t later{};

// What a stream gives when it is asked: octets, `end`, or `again`.
class piece {
public:
    enum signal { end, again };
    // Borrowed until the next call.
    piece(std::string_view octets) noexcept : octets_(octets) {}
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
class body {
public:
    body(later_t) noexcept : result_(GW_DEFERRED) {}
    body(body&& other) noexcept : raw_(other.raw_), result_(other.result_) { other.raw_ = GW_INIT(gw_body); }
    body& operator=(body&& other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(result_, other.result_);
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
        C* kept = place(env, C(std::forward<T>(content)));
        std::string_view all = octets(**kept);
        check(gw_body_bytes(out, all.data(), all.size(), destroy<C>, kept));
    } else if constexpr (has_octets<C>::value && std::is_rvalue_reference_v<T&&> && !std::is_const_v<T> &&
                         !std::is_trivially_destructible_v<C>) {
        C* kept = place(env, C(std::move(content)));  // a container, and no view of one
        std::string_view all = octets(*kept);
        check(gw_body_bytes(out, all.data(), all.size(), destroy<C>, kept));
    } else if constexpr (has_octets<C>::value) {
        std::string_view all = octets(content);
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
        return guarded(self->env, [&] { return piece(self->f()).fill(out, self->kept); });
    }
};

}  // namespace detail

// The head of an answer that a middleware changes (responder::change).
class head {
public:
    int status;
    explicit head(gw_environ* env, const gw_response& from)
        : status(from.status), env_(env), from_(from), count_(from.header_count), room_(count_ + 8),
          pairs_(static_cast<gw_pair*>(detail::room(env, room_ * sizeof(gw_pair)))) {
        if (count_ > 0) {
            std::memcpy(pairs_, from.headers, count_ * sizeof(gw_pair));
        }
    }
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
        gw_response out = from_;
        out.status = detail::status(status);
        out.headers = pairs_;
        out.header_count = count_;
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
    progress write(std::string_view octets, bool flush = false) {
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
    body operator()(int status, headers list = {}) {
        start(status, list);
        return body();
    }
    template <typename T> body operator()(int status, headers list, T&& content) {
        body answer;
        detail::first_of(env_, answer.native(), std::forward<T>(content));
        start(status, list);
        return answer;
    }

    // A body that is made while it is sent: f() returns a piece each time that the client can take more.
    // f is destroyed when the answer has ended, however it does.
    template <typename F> body stream(int status, headers list, F f) {
        using box = detail::stream<F>;
        body answer;
        answer.native()->ctx = detail::place(env_, box{env_, std::move(f), {}});
        answer.native()->next = box::next;
        answer.native()->close = detail::destroy<box>;
        start(status, list);
        return answer;
    }

    // A file, sent by the kernel, with its length; errc::io and os_errno when it cannot be opened.
    body file(int status, headers list, const char* path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            gw_error err = GW_INIT(gw_error);
            err.code = GW_ERR_IO;
            err.os_errno = errno;
            err.exit_status = 1;
            std::snprintf(err.message, sizeof err.message, "open %s: %s", path,
                          std::error_code(err.os_errno, std::generic_category()).message().c_str());
            throw error(err);
        }
        return file(status, list, fd);
    }
    // Of a descriptor, which is taken; UINT64_MAX: to its end.
    body file(int status, headers list, int fd, std::int64_t offset = 0, std::uint64_t length = UINT64_MAX) {
        body answer;
        detail::check(gw_body_file(answer.native(), fd, offset, length, GW_FILE_CLOSE, nullptr, nullptr));
        start(status, list);
        return answer;
    }

    // The head alone, and what writes the body; return body() after it, or more to be sent.
    writer write(int status, headers list) {
        gw_writer raw;
        start(status, list, 0, &raw);
        return writer(raw);
    }
    // An informational answer, at once: 103 with Link, say.
    void inform(int status, headers list) { start(status, list); }
    // Instead of a head that was given and not sent (WSGI's exc_info).
    void replace(int status, headers list) { start(status, list, GW_RESPONSE_REPLACE); }

    // For middleware: a responder for the application inside that calls f(head&) on each head on its way here.
    template <typename F> responder change(F f) {
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
    void start(int status, headers list, std::uint16_t flags = 0, gw_writer* out = nullptr) {
        gw_response raw{};
        raw.status = detail::status(status);
        raw.flags = flags;
        raw.headers = list.data();
        raw.header_count = list.size();
        detail::check(start_response_(sr_, &raw, out));
    }

    gw_environ* env_;
    gw_start_response_fn start_response_;
    void* sr_;
};

// ---- answers that come later ---------------------------------------------------------------------------

// Called on the loop's thread; they must not wait.
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
    request environ() const {
        gw_environ* env = gw_deferred_environ(d_);
        if (env == nullptr) {
            throw error(GW_ERR_STATE);
        }
        return request(env);
    }
    // Of its body, never waiting; again: wait for events::readable.
    progress read(void* buffer, std::size_t size, std::size_t& n) {
        n = 0;
        return still(gw_deferred_read(d_, buffer, size, &n));
    }
    // A whole answer, content as responder's; then this is empty.  false: the client is gone.
    bool reply(int status, headers list = {}) { return reply(status, list, borrow("")); }
    template <typename T> bool reply(int status, headers list, T&& content) {
        body answer;
        detail::first_of(environ().native(), answer.native(), std::forward<T>(content));
        gw_response raw = response(status, list);
        gw_chunk chunk = std::exchange(answer.native()->first, gw_chunk{});
        return still(gw_deferred_reply(std::exchange(d_, nullptr), &raw, &chunk, 1)) != progress::closed;
    }
    // Or step by step.
    void start(int status, headers list = {}) {
        gw_response raw = response(status, list);
        detail::check(gw_deferred_start(d_, &raw));
    }
    // A piece, copied.  again: not taken; wait for events::writable.
    progress write(std::string_view octets, bool flush = false) {
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
    static gw_response response(int status, headers list) {
        gw_response raw{};
        raw.status = detail::status(status);
        raw.headers = list.data();
        raw.header_count = list.size();
        return raw;
    }

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

// ---- applications --------------------------------------------------------------------------------------

// Where an application runs (GW_APP_*).  Without any: on one thread of its worker, on which it may wait.
inline constexpr std::uint32_t threadsafe = GW_APP_THREADSAFE;    // entered by many threads
inline constexpr std::uint32_t nonblocking = GW_APP_NONBLOCKING;  // never waits: on the loop
inline constexpr std::uint32_t serial = GW_APP_SERIAL;            // waits, on the loop all the same

// The application inside of a middleware.
class inner {
public:
    explicit inner(const gw_app* app) noexcept : app_(app) {}
    // An error of it is in the body that comes back: return that.
    body operator()(request& req, responder& respond) const noexcept {
        body out;
        gw_result rc = gw_app_call(app_, req.native(), respond.native(), respond.native_context(), out.native());
        if (rc != GW_OK) {
            *out.native() = GW_INIT(gw_body);  // what is beside an error is nobody's to release
            return body(rc);
        }
        return out;
    }
    const gw_app* native() const noexcept { return app_; }

private:
    const gw_app* app_;
};

namespace detail {

template <typename F> struct application {
    F f;
    static gw_result call(void* ctx, gw_environ* env, gw_start_response_fn start_response, void* sr,
                          gw_body* out) noexcept {
        return guarded(env, [&] {
            request req(env);
            responder respond(env, start_response, sr);
            body answer = static_cast<application*>(ctx)->f(req, respond);
            return answer.give(out);
        });
    }
};

template <typename F> struct middleware {
    std::shared_ptr<F> f;
    const gw_app* app;
    static gw_result call(void* ctx, gw_environ* env, gw_start_response_fn start_response, void* sr,
                          gw_body* out) noexcept {
        auto* self = static_cast<middleware*>(ctx);
        return guarded(env, [&] {
            request req(env);
            responder respond(env, start_response, sr);
            body answer = (*self->f)(req, respond, inner(self->app));
            return answer.give(out);
        });
    }
    static gw_result wrap(void* ctx, const gw_app* within, gw_app* outer, gw_error*) noexcept {
        auto* made = new (std::nothrow) middleware{*static_cast<std::shared_ptr<F>*>(ctx), within};
        if (made == nullptr) {
            return GW_ERR_MEMORY;
        }
        outer->call = call;
        outer->ctx = made;
        outer->drop = remove<middleware>;
        return GW_OK;
    }
};

// Where hooks say what they threw: the function of config::log, or standard error.
using record_fn = std::function<void(const gw_log_record&)>;

inline void say(const record_fn* to, const char* hook, const char* what) noexcept {
    try {
        std::string line = std::string("hook ") + hook + ": " + what;
        if (to == nullptr || !*to) {
            std::fprintf(stderr, "gateway: %s\n", line.c_str());
            return;
        }
        gw_log_record record = GW_INIT(gw_log_record);
        auto now = std::chrono::system_clock::now().time_since_epoch();
        record.level = GW_LOG_ERROR;
        record.time_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(now).count());
        record.target = str("app");
        record.message = str(line);
        record.id = str("");
        (*to)(record);
    } catch (...) {
        // It cannot be said.
    }
}

}  // namespace detail

// ---- a server's handle, an arbiter's -------------------------------------------------------------------

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
    bool turn(std::int64_t& wait_ms) { return detail::check(gw_server_turn(s_, &wait_ms)) != progress::eof; }
    // [one] That until it has stopped, where there is no other loop.
    void run() {
        for (std::int64_t wait_ms = 0; turn(wait_ms);) {
            pollfd watched = {fd(), POLLIN, 0};
            poll(&watched, 1, wait_ms > 60'000 ? 60'000 : static_cast<int>(wait_ms));
        }
    }
    // [one] Serve a connected socket; taken unless this throws.
    void adopt(int fd, std::uint32_t protocol = GW_PROTO_HTTP) { detail::check(gw_server_adopt(s_, fd, protocol)); }
    void wake() { detail::check(gw_server_wake(s_)); }                                               // [sig]
    void stop(how h = how::graceful) { detail::check(gw_server_stop(s_, static_cast<std::uint32_t>(h))); }  // [sig]

    // [any] Requests for whoever asks, where there is no application: up to `room` into `out`, n of them.
    // again: none came in time (negative: for ever).  eof: the server has stopped.
    progress take(deferred* out, std::size_t room, std::size_t& n, std::chrono::milliseconds timeout) {
        gw_deferred* raw[64];
        n = 0;
        gw_result rc = gw_server_take(s_, raw, room < 64 ? room : 64, timeout.count(), &n);
        for (std::size_t i = 0; rc == GW_OK && i < n; i++) {
            out[i] = deferred(raw[i]);
        }
        return detail::check(rc);
    }
    // [any] What happened to requests that were taken, and are not watched.
    progress events(gw_event* out, std::size_t room, std::size_t& n, std::chrono::milliseconds timeout) {
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
    void scale(const char* pool, std::uint32_t workers) { detail::check(gw_arbiter_scale_pool(a_, pool, workers)); }
    void signal(int signo) { detail::check(gw_arbiter_signal(a_, signo)); }                            // [sig]
    void upgrade() { detail::check(gw_arbiter_upgrade(a_)); }                                          // [sig]
    void stop(how h = how::graceful) { detail::check(gw_arbiter_stop(a_, static_cast<std::uint32_t>(h))); }  // [sig]
    void reaped(int pid, int status) { detail::check(gw_arbiter_reaped(a_, pid, status)); }
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

// ---- configuration -------------------------------------------------------------------------------------

// gunicorn's names; gw_hooks says when, and in which thread, each is called.
struct hooks {
    std::function<void(request&)> pre_request;
    std::function<void(const gw_access&)> access;
    std::function<void(const gw_worker&)> worker_init;  // an exception of this, post_fork or worker_run
    std::function<void(const gw_worker&)> worker_exit;  // refuses, or ends, the worker
    std::function<void(arbiter_ref)> on_starting;
    std::function<void(arbiter_ref)> when_ready;
    std::function<void(const gw_worker&)> pre_fork;
    std::function<void(const gw_worker&)> spawned;
    std::function<void(const gw_worker&)> worker_ready;
    std::function<void(const gw_worker&)> child_exit;
    std::function<void(std::uint32_t now, std::uint32_t before)> nworkers_changed;
    std::function<void(arbiter_ref)> on_reload;
    std::function<void(arbiter_ref, const gw_error* failure)> reloaded;
    std::function<void(arbiter_ref)> on_exit;
    std::function<void(const gw_worker&)> post_fork;
    std::function<void(const gw_worker&)> worker_int;
    std::function<void(const gw_worker&, const gw_request_info* culprit)> worker_abort;  // [sig]
    std::function<void(arbiter_ref)> pre_exec;
    std::function<void(const gw_worker&)> worker_run;
};

namespace detail {

struct hooked {
    hooks of;
    std::shared_ptr<record_fn> log;
};

// What C calls: the member of hooked::of that Which says, with its arguments made C++'s.
template <auto Which> struct hook;
template <typename... Args, std::function<void(Args...)> hooks::*Which> struct hook<Which> {
    template <typename... Raw> static gw_result result(void* ctx, const char* name, Raw... raw) noexcept {
        auto* self = static_cast<hooked*>(ctx);
        try {
            (self->of.*Which)(convert<Args>(raw)...);
            return GW_OK;
        } catch (...) {
            return caught([&](const char* what) { say(self->log.get(), name, what); });
        }
    }
    template <typename To, typename From> static To convert(From from) noexcept {
        if constexpr (std::is_same_v<To, arbiter_ref>) {
            return arbiter_ref(from);
        } else if constexpr (std::is_pointer_v<From> && std::is_reference_v<To>) {
            return *from;
        } else {
            return from;
        }
    }
};

}  // namespace detail

// A place to listen on; gw_listener says what each member is.
struct listener {
    const char* address = nullptr;
    const char* options = nullptr;
    std::uint32_t protocol = GW_PROTO_HTTP;
    int fd = -1;
    int backlog = 0;
    std::uint32_t mode = 0;
};

// What a server or an arbiter is made of.  [one].  Its functions return it, to be moved from: a chain of them can
// be given to serve.
class config {
public:
    config() : cfg_(gw_config_new()), log_(std::make_shared<detail::record_fn>()) {
        if (cfg_ == nullptr) {
            throw std::bad_alloc();
        }
    }
    config(config&& other) noexcept : cfg_(std::exchange(other.cfg_, nullptr)), log_(std::move(other.log_)) {}
    config& operator=(config&& other) noexcept {
        std::swap(cfg_, other.cfg_);
        std::swap(log_, other.log_);
        return *this;
    }
    ~config() { gw_config_free(cfg_); }
    gw_config* native() const noexcept { return cfg_; }
    // For calls of C that take it.
    gw_config* release() noexcept { return std::exchange(cfg_, nullptr); }

    // An option by its name (docs/options.md): set("workers", 4), set("keepalive", "2s").
    config&& set(const std::string& key, const std::string& value) {
        detail::told([&](gw_error* err) { return gw_config_set(cfg_, key.c_str(), value.c_str(), err); });
        return std::move(*this);
    }
    config&& set(const std::string& key, long long value) { return set(key, std::to_string(value)); }
    // By its number: GW_OPT_WORKERS; durations in milliseconds, sizes in octets.
    config&& set(std::uint32_t option, std::int64_t value) {
        detail::told([&](gw_error* err) { return gw_config_set_int(cfg_, option, value, err); });
        return std::move(*this);
    }
    std::string get(const std::string& key) const {
        std::size_t length = 0;
        detail::check(gw_config_get(cfg_, key.c_str(), nullptr, 0, &length));
        std::string value(length + 1, '\0');
        detail::check(gw_config_get(cfg_, key.c_str(), value.data(), value.size(), &length));
        value.resize(length);
        return value;
    }

    // The application: body f(request&, responder&), called as `flags` say.
    template <typename F> config&& app(F f, std::uint32_t flags = 0, const char* name = nullptr) {
        return mount("", std::move(f), flags, name);
    }
    // One for "/prefix", "host/prefix" or "*.host/prefix"; the prefix becomes the end of script_name().
    template <typename F> config&& mount(const char* where, F f, std::uint32_t flags = 0, const char* name = nullptr) {
        static_assert(std::is_invocable_r_v<body, F&, request&, responder&>, "body f(request&, responder&)");
        using box = detail::application<F>;
        gw_app raw = GW_INIT(gw_app);
        raw.flags = flags;
        raw.name = name;
        raw.call = box::call;
        raw.drop = detail::remove<box>;
        raw.ctx = new box{std::move(f)};
        return mount_native(where, raw);
    }
    // One that comes with the library: "static" with "root=/srv/www", "redirect", "health" (gw_app_builtin).
    config&& mount_builtin(const char* where, const char* name, const char* args) {
        gw_app raw = GW_INIT(gw_app);
        detail::told([&](gw_error* err) { return gw_app_builtin(name, args, &raw, err); });
        return mount_native(where, raw);
    }
    // One of C, whose drop is called once.
    config&& mount_native(const char* where, const gw_app& raw) {
        detail::told([&](gw_error* err) { return gw_config_mount(cfg_, where, &raw, err); });
        return std::move(*this);
    }
    // One that is a module's.
    config&& module(const char* where, const char* path, const char* args = nullptr) {
        detail::told([&](gw_error* err) { return gw_config_module(cfg_, where, path, args, err); });
        return std::move(*this);
    }

    // Middleware around each application, the first one outermost: body f(request&, responder&, const inner&).
    template <typename F> config&& use(F f) { return use_at(nullptr, std::move(f)); }
    // Around the one that is mounted there.
    template <typename F> config&& use_at(const char* where, F f) {
        static_assert(std::is_invocable_r_v<body, F&, request&, responder&, const inner&>,
                      "body f(request&, responder&, const inner&)");
        using shared = std::shared_ptr<F>;
        return use_native(where, detail::middleware<F>::wrap, new shared(std::make_shared<F>(std::move(f))),
                          detail::remove<shared>);
    }
    // That comes with the library: "access allow=10.0.0.0/8", "request_id", "lint" (gw_middleware_builtin).
    config&& use_builtin(const std::string& what) {
        auto text = std::make_unique<char[]>(what.size() + 1);
        std::memcpy(text.get(), what.c_str(), what.size() + 1);
        return use_native(nullptr, gw_middleware_builtin, text.release(),
                          [](void* ctx) { delete[] static_cast<char*>(ctx); });
    }

    config&& listen(const listener& on) {
        gw_listener raw = GW_INIT(gw_listener);
        raw.address = on.address;
        raw.options = on.options;
        raw.protocol = on.protocol;
        raw.fd = on.fd;
        raw.backlog = on.backlog;
        raw.mode = on.mode;
        detail::told([&](gw_error* err) { return gw_config_listen(cfg_, &raw, err); });
        return std::move(*this);
    }
    // Workers of their own, under the same arbiter.
    config&& pool(const char* name, config of) {
        detail::told([&](gw_error* err) { return gw_config_pool(cfg_, name, of.release(), err); });
        return std::move(*this);
    }

    // Those that are set; each takes the place of the one before.
    config&& hook(hooks of);

    // Records up to l go to f(const gw_log_record&), on any thread, and not to the option errorlog.
    template <typename F> config&& log(level l, F f) {
        using box = std::shared_ptr<detail::record_fn>;
        if (log_ == nullptr) {
            throw error(GW_ERR_INVALID);  // it was moved from
        }
        *log_ = std::move(f);
        auto call = [](void* ctx, const gw_log_record* record) noexcept {
            try {
                (**static_cast<box*>(ctx))(*record);
            } catch (...) {
                // It cannot be said.
            }
        };
        gw_log_fn fn = call;
        detail::check(gw_config_log(cfg_, static_cast<std::int32_t>(l), fn, new box(log_), detail::remove<box>));
        return std::move(*this);
    }

    // Every problem that serve would find; nothing is started.  Throws where none can be looked for.
    std::vector<error> check() const {
        std::vector<error> problems;
        gw_result rc = gw_config_check(
            cfg_,
            [](void* ctx, const gw_error* problem) noexcept {
                try {
                    static_cast<std::vector<error>*>(ctx)->emplace_back(*problem);
                } catch (...) {
                    // Without memory those that are there must do.
                }
            },
            &problems);
        if (rc < 0 && problems.empty()) {
            throw error(rc);
        }
        return problems;
    }

private:
    config&& use_native(const char* where, gw_middleware_fn f, void* ctx, void (*drop)(void*)) {
        detail::told([&](gw_error* err) {
            return where == nullptr ? gw_config_use(cfg_, f, ctx, drop, err)
                                    : gw_config_use_at(cfg_, where, f, ctx, drop, err);
        });
        return std::move(*this);
    }

    gw_config* cfg_;
    std::shared_ptr<detail::record_fn> log_;
};

inline config&& config::hook(hooks of) {
    gw_hooks raw = GW_INIT(gw_hooks);
    auto mine = std::make_unique<detail::hooked>(detail::hooked{std::move(of), log_});
    const hooks& set = mine->of;
    if (set.pre_request) {
        raw.pre_request = [](void* ctx, gw_environ* env) {
            detail::guarded(env, [&] {
                request req(env);
                return static_cast<detail::hooked*>(ctx)->of.pre_request(req), GW_OK;
            });
        };
    }
    // The types of the three kinds that there are.
#define GATEWAY_HOOK(name, parameters, ...)                                            \
    if (set.name) {                                                                    \
        raw.name = [] parameters { detail::hook<&hooks::name>::result(ctx, #name, __VA_ARGS__); }; \
    }
#define GATEWAY_HOOK_THAT_REFUSES(name)                                                \
    if (set.name) {                                                                    \
        raw.name = [](void* ctx, const gw_worker* w) { return detail::hook<&hooks::name>::result(ctx, #name, w); }; \
    }
    GATEWAY_HOOK(access, (void* ctx, const gw_access* a), a)
    GATEWAY_HOOK_THAT_REFUSES(worker_init)
    GATEWAY_HOOK(worker_exit, (void* ctx, const gw_worker* w), w)
    GATEWAY_HOOK(on_starting, (void* ctx, gw_arbiter* a), a)
    GATEWAY_HOOK(when_ready, (void* ctx, gw_arbiter* a), a)
    GATEWAY_HOOK(pre_fork, (void* ctx, const gw_worker* w), w)
    GATEWAY_HOOK(spawned, (void* ctx, const gw_worker* w), w)
    GATEWAY_HOOK(worker_ready, (void* ctx, const gw_worker* w), w)
    GATEWAY_HOOK(child_exit, (void* ctx, const gw_worker* w), w)
    GATEWAY_HOOK(nworkers_changed, (void* ctx, std::uint32_t now, std::uint32_t before), now, before)
    GATEWAY_HOOK(on_reload, (void* ctx, gw_arbiter* a), a)
    GATEWAY_HOOK(reloaded, (void* ctx, gw_arbiter* a, const gw_error* failure), a, failure)
    GATEWAY_HOOK(on_exit, (void* ctx, gw_arbiter* a), a)
    GATEWAY_HOOK_THAT_REFUSES(post_fork)
    GATEWAY_HOOK(worker_int, (void* ctx, const gw_worker* w), w)
    GATEWAY_HOOK(worker_abort, (void* ctx, const gw_worker* w, const gw_request_info* culprit), w, culprit)
    GATEWAY_HOOK(pre_exec, (void* ctx, gw_arbiter* a), a)
    GATEWAY_HOOK_THAT_REFUSES(worker_run)
#undef GATEWAY_HOOK
#undef GATEWAY_HOOK_THAT_REFUSES
    raw.ctx = mine.release();
    raw.drop = detail::remove<detail::hooked>;
    detail::told([&](gw_error* err) { return gw_config_hooks(cfg_, &raw, err); });
    return std::move(*this);
}

inline void arbiter_ref::reload(config cfg) { detail::check(gw_arbiter_reload(a_, cfg.release())); }

// ---- servers -------------------------------------------------------------------------------------------

// Serve until told to stop, by forked workers unless worker_model says otherwise (gw_serve).  Only the
// caller's process returns.  For main:
//
//     int main() try { ... gateway::serve(std::move(cfg)); } catch (const gateway::error& e) {
//         std::fprintf(stderr, "%s\n", e.what());
//         return e.exit_status();
//     }
inline void serve(config cfg) {
    detail::told([&](gw_error* err) { return gw_serve(cfg.release(), err); });
}

// [any] Whether this process is a worker that an arbiter started.
inline bool is_worker() noexcept { return gw_is_worker() != 0; }

// One worker in a loop of the host's (docs/embedding.md): watch fd(), call turn().
class server : public server_ref {
public:
    explicit server(config cfg) : server_ref(nullptr) {
        detail::told([&](gw_error* err) { return gw_server_new(cfg.release(), &s_, err); });
    }
    server(server&& other) noexcept : server_ref(std::exchange(other.s_, nullptr)) {}
    server& operator=(server&& other) noexcept {
        std::swap(s_, other.s_);
        return *this;
    }
    ~server() { gw_server_free(s_); }
};

// Workers, and who watches them: what serve does, step by step.
class arbiter : public arbiter_ref {
public:
    explicit arbiter(config cfg) : arbiter_ref(nullptr) {
        detail::told([&](gw_error* err) { return gw_arbiter_new(cfg.release(), &a_, err); });
    }
    arbiter(arbiter&& other) noexcept : arbiter_ref(std::exchange(other.a_, nullptr)) {}
    arbiter& operator=(arbiter&& other) noexcept {
        std::swap(a_, other.a_);
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
    int fd() const noexcept { return gw_arbiter_fd(a_); }
    bool turn(std::int64_t& wait_ms) { return detail::check(gw_arbiter_turn(a_, &wait_ms)) != progress::eof; }
    // [any] Wait until run(), in another thread, has ended.  false: time is up.
    bool wait(std::chrono::milliseconds timeout) {
        return detail::check(gw_arbiter_wait(a_, timeout.count())) != progress::again;
    }
};

}  // namespace gateway

template <> struct std::is_error_code_enum<gateway::errc> : std::true_type {};

#endif  // GATEWAY_HPP
