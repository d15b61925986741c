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
//               cut, a hook that may refuse a worker refuses it; what() goes to the log.  What events and a log
//               function throw is lost.  No exception reaches C.  Destructors must not throw.
//   Text        std::string_view: octets.  What a request returns lives as long as the request.  Arguments are
//               borrowed for the call, but for what is said to be kept.
//   Memory      What an answer owns is moved into the request's own memory (request::allocate), which costs no
//               malloc, and destroyed when it was sent.  defer(events), and what a std::string or a std::function
//               of yours needs for itself, do cost one.
//   Threads     An application runs where its flags say; with `threadsafe` one callable is entered by many.
//               An object is for one thread at a time, but for what is [any] or [sig].  Callables are destroyed
//               in any thread.
//   The call    that an application is, ends before a stream of it does: there the request& and the responder& are
//               no more, and what they returned is.
//
// Whatever is not here is done with gateway.h: native() gives the pointers.  Exceptions are needed, RTTI is not.
// Each header in gateway/ may be included alone.
#ifndef GATEWAY_HPP
#define GATEWAY_HPP

#include <gateway/app.hpp>
#include <gateway/arbiter.hpp>
#include <gateway/body.hpp>
#include <gateway/config.hpp>
#include <gateway/deferred.hpp>
#include <gateway/error.hpp>
#include <gateway/handles.hpp>
#include <gateway/headers.hpp>
#include <gateway/hooks.hpp>
#include <gateway/request.hpp>
#include <gateway/response.hpp>
#include <gateway/serve.hpp>
#include <gateway/server.hpp>

#include <gateway.h>

#include <string_view>

namespace gateway {

// The version of the library that is loaded.
inline std::string_view version() noexcept { return gw_version(); }

}  // namespace gateway

#endif  // GATEWAY_HPP
