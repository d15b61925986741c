// What a compiler is to refuse, one for each number: with -DWRONG=1 and so on this must not compile.
#include <gateway.hpp>

#ifndef WRONG
#define WRONG 0
#endif

using gateway::body, gateway::config, gateway::request, gateway::responder;

#if WRONG == 0
body taken(request& req, responder& respond, config& cfg) {
    cfg.set("keepalive", 2).set("preload", true).set("max_body", 5'000'000'000u);
    gateway::deferred later = req.defer();
    (void) later.write("some");
    respond.inform(103, {});
    responder with = respond.change([](gateway::head& h) { h.closing = true; });
    std::vector<gateway::header> list = {{"A", "1"}};
    return with.stream(gateway::closing(200), list, []() -> gateway::piece { return "text"; });
}
#elif WRONG == 1
void forgotten(responder& respond) { respond(200); }
#elif WRONG == 2
void unheard(gateway::deferred& later) { later.write("some"); }
#elif WRONG == 3
void unanswered(request& req) { req.defer(); }
#elif WRONG == 4
gateway::piece nothing() { return nullptr; }
#elif WRONG == 5
gateway::piece zero() { return 0; }
#elif WRONG == 6
void seconds(config& cfg) { cfg.set("keepalive", 2.5); }
#elif WRONG == 7
void hint(responder& respond) { respond.inform(gateway::closing(103), {}); }
#elif WRONG == 8
void copied(responder& respond) { (void) respond.change([](gateway::head h) { h.remove("Server"); }); }
#elif WRONG == 9
struct larger : gateway::header {
    int more = 0;
};
body strides(responder& respond, const std::vector<larger>& list) { return respond(200, list); }
#else
#error "there is no such number"
#endif
