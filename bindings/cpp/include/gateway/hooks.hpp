// gunicorn's hooks.
#ifndef GATEWAY_HOOKS_HPP
#define GATEWAY_HOOKS_HPP

#include <gateway/detail.hpp>
#include <gateway/handles.hpp>
#include <gateway/request.hpp>

#include <gateway.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>

namespace gateway {

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
            return detail::caught(nullptr, [&](const char* what) { detail::say(self->log.get(), name, what); });
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

}  // namespace gateway

#endif  // GATEWAY_HOOKS_HPP
