// A server in an event loop of the host's.
#ifndef GATEWAY_SERVER_HPP
#define GATEWAY_SERVER_HPP

#include <gateway/config.hpp>
#include <gateway/detail.hpp>
#include <gateway/handles.hpp>

#include <gateway.h>

#include <utility>

namespace gateway {

// One worker in a loop of the host's (docs/embedding.md): watch fd(), call turn().
class server : public server_ref {
public:
    explicit server(config cfg) : server_ref(nullptr) {
        detail::told([&](gw_error* err) { return gw_server_new(cfg.release(), &s_, err); });
    }
    server(server&& other) noexcept : server_ref(std::exchange(other.s_, nullptr)) {}
    server& operator=(server&& other) noexcept {
        server taken(std::move(other));
        std::swap(s_, taken.s_);
        return *this;
    }
    ~server() { gw_server_free(s_); }
};

}  // namespace gateway

#endif  // GATEWAY_SERVER_HPP
