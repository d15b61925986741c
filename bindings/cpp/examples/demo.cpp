// demo.cpp - a little of everything: examples/demo.c in C++, whose answers are the same octet by octet.
//
//     c++ -std=c++17 -o demo demo.cpp -lgateway -pthread && ./demo 127.0.0.1:8000 demo.cpp
//
//     curl -i http://127.0.0.1:8000/            (environ, echo, count, later, headers, file, fail)
#include <gateway.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>

#include <sys/stat.h>

using gateway::body, gateway::request, gateway::responder;

static const std::vector<gateway::header> plain = {{"Content-Type", "text/plain"}};

static body variables(request& req, responder& respond) {
    std::string text;
    for (auto name : {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH",
                      "SERVER_PROTOCOL", "REMOTE_ADDR", "HTTP_HOST", "HTTP_X_DEMO"}) {
        text.append(name).append("=").append(req.get(name).value_or("")).append("\n");
    }
    return respond(200, plain, std::move(text));
}

static body echo(request& req, responder& respond) {
    auto type = req.content_type().empty() ? "application/octet-stream" : req.content_type();
    return respond(200, {{"Content-Type", type}}, gateway::borrow(req.read_all()));  // it lives as the request does
}

static body count(responder& respond) {
    return respond.stream(200, plain, [left = 10]() mutable -> gateway::piece {
        if (left == 0) {
            return gateway::piece::end;
        }
        return std::to_string(left--) + "\n";
    });
}

static body later(request& req) {
    std::thread([answer = req.defer()]() mutable {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        answer.reply(200, plain, "at last\n");
    }).detach();
    return gateway::later;
}

static body file(responder& respond, const char* path) {
    struct stat st;
    if (stat(path, &st) < 0) {
        throw std::runtime_error(path);
    }
    auto length = std::to_string(st.st_size);
    return respond.file(200, {{"Content-Length", length}, {"Content-Type", "application/octet-stream"}}, path);
}

int main(int argc, char** argv) try {
    if (argc != 3) {
        std::fprintf(stderr, "usage: demo address file\n");
        return 2;
    }

    auto demo = [served = argv[2]](request& req, responder& respond) -> body {
        auto path = req.path();
        if (path == "/") {
            return respond(200, plain, "hello, world\n");
        }
        if (path == "/environ") {
            return variables(req, respond);
        }
        if (path == "/echo") {
            return echo(req, respond);
        }
        if (path == "/count") {
            return count(respond);
        }
        if (path == "/later") {
            return later(req);
        }
        if (path == "/headers") {
            return respond(204, {{"Set-Cookie", "a=1; Path=/"}, {"Set-Cookie", "b=2; Path=/"}, {"X-Demo", "yes"}});
        }
        if (path == "/file") {
            return file(respond, served);
        }
        if (path == "/fail") {
            throw std::runtime_error("as it was asked to");
        }
        return respond(404, plain, "not found\n");
    };

    gateway::config cfg;
    cfg.set("bind", argv[1]).set("workers", 2);
    cfg.app(demo, gateway::threadsafe | gateway::nonblocking, "demo");
    gateway::serve(std::move(cfg));
} catch (const gateway::error& e) {
    std::fprintf(stderr, "demo: %s\n", e.what());
    return e.exit_status();
}
