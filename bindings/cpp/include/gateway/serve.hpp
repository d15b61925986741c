// The call that is all of a server.
#ifndef GATEWAY_SERVE_HPP
#define GATEWAY_SERVE_HPP

#include <gateway/config.hpp>
#include <gateway/detail.hpp>

#include <gateway.h>

#include <utility>

namespace gateway {

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

}  // namespace gateway

#endif  // GATEWAY_SERVE_HPP
