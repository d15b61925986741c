// hello.cpp - the program of the README: an application, a middleware, two pre-forked workers.
//
//     c++ -std=c++17 -o hello hello.cpp $(pkg-config --cflags --libs gateway) && ./hello [address]
//
//     curl -i 'http://127.0.0.1:8000/?name=you'
#include <gateway.hpp>

using gateway::body, gateway::request, gateway::responder;

static body hello(request& req, responder& respond) {
    std::string text = "hello, " + std::string(req.query("name").value_or("world")) + "\n";
    return respond(200, {{"Content-Type", "text/plain"}}, std::move(text));
}

static body only_get(request& req, responder& respond, const gateway::inner& inner) {
    if (req.method() != "GET" && req.method() != "HEAD") {
        return respond(405, {{"Allow", "GET, HEAD"}});
    }
    return inner(req, respond);
}

int main(int argc, char** argv) try {
    gateway::config cfg;
    cfg.set("bind", argc > 1 ? argv[1] : "127.0.0.1:8000").set("workers", 2);
    cfg.app(hello, gateway::threadsafe | gateway::nonblocking).use(only_get);
    gateway::serve(std::move(cfg));
} catch (const gateway::error& e) {
    std::fprintf(stderr, "hello: %s\n", e.what());
    return e.exit_status();
}
