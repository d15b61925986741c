// What a server or an arbiter is made of: options, applications, middleware, listeners, hooks, logs.
#ifndef GATEWAY_CONFIG_HPP
#define GATEWAY_CONFIG_HPP

#include <gateway/app.hpp>
#include <gateway/detail.hpp>
#include <gateway/error.hpp>
#include <gateway/handles.hpp>
#include <gateway/hooks.hpp>
#include <gateway/request.hpp>
#include <gateway/response.hpp>

#include <gateway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace gateway {

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
    config() : log_(std::make_shared<detail::record_fn>()), cfg_(gw_config_new()) {
        if (cfg_ == nullptr) {
            throw std::bad_alloc();
        }
    }
    config(config&& other) noexcept : log_(std::move(other.log_)), cfg_(std::exchange(other.cfg_, nullptr)) {}
    config& operator=(config&& other) noexcept {
        config taken(std::move(other));
        std::swap(cfg_, taken.cfg_);
        std::swap(log_, taken.log_);
        return *this;
    }
    ~config() { gw_config_free(cfg_); }
    gw_config* native() const noexcept { return cfg_; }
    // For calls of C that take it.
    [[nodiscard]] gw_config* release() noexcept { return std::exchange(cfg_, nullptr); }

    // An option by its name (docs/options.md): set("workers", 4), set("keepalive", "2s").
    config&& set(const std::string& key, const std::string& value) {
        const char* name = detail::c_str(key);
        const char* text = detail::c_str(value);
        detail::told([&](gw_error* err) { return gw_config_set(cfg_, name, text, err); });
        return std::move(*this);
    }
    template <typename Integer, typename = std::enable_if_t<std::is_integral_v<Integer>>>
    config&& set(const std::string& key, Integer value) {
        return set(key, std::to_string(value));
    }
    // By its number: GW_OPT_WORKERS; durations in milliseconds, sizes in octets.
    config&& set(std::uint32_t option, std::int64_t value) {
        detail::told([&](gw_error* err) { return gw_config_set_int(cfg_, option, value, err); });
        return std::move(*this);
    }
    [[nodiscard]] std::string get(const std::string& key) const {
        const char* name = detail::c_str(key);
        std::size_t length = 0;
        detail::check(gw_config_get(cfg_, name, nullptr, 0, &length));
        std::string value(length + 1, '\0');
        detail::check(gw_config_get(cfg_, name, value.data(), value.size(), &length));
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
        std::memcpy(text.get(), detail::c_str(what), what.size() + 1);
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
        detail::record_fn mine(std::move(f));
        auto call = [](void* ctx, const gw_log_record* record) noexcept {
            try {
                (**static_cast<box*>(ctx))(*record);
            } catch (...) {
                // It cannot be said.
            }
        };
        gw_log_fn fn = call;
        detail::check(gw_config_log(cfg_, static_cast<std::int32_t>(l), fn, new box(log_), detail::remove<box>));
        *log_ = std::move(mine);
        return std::move(*this);
    }

    // Every problem that serve would find; nothing is started.  Throws where none can be looked for.
    [[nodiscard]] std::vector<error> check() const {
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

    std::shared_ptr<detail::record_fn> log_;
    gw_config* cfg_;  // last: nothing throws behind it
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

inline void arbiter_ref::reload(config cfg) {
    if (cfg.native() == nullptr) {
        throw error(GW_ERR_INVALID);  // it was moved from; to C that is: the same once more
    }
    detail::check(gw_arbiter_reload(a_, cfg.release()));
}

}  // namespace gateway

#endif  // GATEWAY_CONFIG_HPP
