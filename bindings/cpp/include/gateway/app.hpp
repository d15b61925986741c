// Applications and middleware, as C calls them.
#ifndef GATEWAY_APP_HPP
#define GATEWAY_APP_HPP

#include <gateway/body.hpp>
#include <gateway/detail.hpp>
#include <gateway/request.hpp>
#include <gateway/response.hpp>

#include <gateway.h>

#include <cstdint>
#include <memory>
#include <new>

namespace gateway {

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
        return detail::guarded(env, [&] {
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
        return detail::guarded(env, [&] {
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

}  // namespace detail

}  // namespace gateway

#endif  // GATEWAY_APP_HPP
