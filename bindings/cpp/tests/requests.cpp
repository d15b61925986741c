// What applications are told.
#include "harness.hpp"

static const std::uint32_t on_loop = gateway::nonblocking | gateway::threadsafe;

TEST_CASE("a request is told by name") {
    struct seen {
        std::string text;
    };
    served s(config().mount(
        "/at",
        [](request& req, responder& respond) -> body {
            std::string out;
            auto line = [&](std::string_view name, std::string_view value) {
                out.append(name).append("=").append(value).append("\n");
            };
            line("method", req.method());
            line("script", req.script_name());
            line("path", req.path());
            line("query", req.query_string());
            line("uri", req.uri());
            line("type", req.content_type());
            line("length", req.content_length() ? std::to_string(*req.content_length()) : "none");
            line("protocol", req.protocol());
            line("from", req.remote_addr());
            line("scheme", req.scheme());
            line("x-twice", req.header("x-TWICE").value_or("none"));
            line("missing", req.header("Missing").value_or("none"));
            line("content-type", req.header("Content-Type").value_or("none"));
            line("long", req.header(std::string(300, 'n')).value_or("none"));
            line("q", req.query("q").value_or("none"));
            line("r", req.query("r").value_or("none"));
            line("HTTP_HOST", req.get("HTTP_HOST").value_or("none"));
            line("blocks", req.may_block() ? "1" : "0");
            std::size_t count = 0;
            for (auto [name, value] : req.headers()) {
                count += name == "X-Twice" && !value.empty();
            }
            line("twice", std::to_string(count));
            bool found = false;
            for (auto [name, value] : req.variables()) {
                found = found || (name == "SERVER_PROTOCOL" && value == "HTTP/1.1");
            }
            line("variable", found ? "1" : "0");
            return respond(200, {}, std::move(out));
        },
        on_loop));
    std::string answer = s.ask("GET /at/a%20path?q=1+2&x", "X-Twice: a\r\nX-Twice: b\r\nContent-Type: t/x\r\n");
    CHECK(answer.substr(answer.find("\r\n\r\n") + 4) ==
          "method=GET\nscript=/at\npath=/a path\nquery=q=1+2&x\nuri=/at/a%20path?q=1+2&x\ntype=t/x\nlength=none\n"
          "protocol=HTTP/1.1\nfrom=127.0.0.1\nscheme=http\nx-twice=a,b\nmissing=none\ncontent-type=t/x\nlong=none\n"
          "q=1 2\nr=none\nHTTP_HOST=test\nblocks=0\ntwice=2\nvariable=1\n");
}

TEST_CASE("bodies of requests: read, read_all and its limit, istream") {
    served s(config().app(
        [](request& req, responder& respond) -> body {
            std::string out;
            if (req.path() == "/read") {
                char piece[7];
                while (std::size_t n = req.read(piece, sizeof piece)) {
                    out.append(piece, n);
                }
                CHECK(req.read(piece, sizeof piece) == 0);
            } else if (req.path() == "/lines") {
                gateway::istream in(req);
                for (std::string line; std::getline(in, line);) {
                    out += "<" + line + ">";
                }
                CHECK(in.eof());
            } else {
                try {
                    out = req.read_all(20);
                } catch (const gateway::error& e) {
                    out = e.code() == gateway::errc::limit ? "too long" : e.what();
                }
            }
            return respond(200, {}, std::move(out));
        },
        gateway::serial));
    auto post = [&](const std::string& path, const std::string& content) {
        std::string answer =
            s.ask("POST " + path, "Content-Length: " + std::to_string(content.size()) + "\r\n", content);
        return answer.substr(answer.find("\r\n\r\n") + 4);
    };
    CHECK(post("/read", "some octets, more than seven") == "some octets, more than seven");
    CHECK(post("/lines", "one\n\n" + std::string(9000, 'x') + "\nend") ==
          "<one><><" + std::string(9000, 'x') + "><end>");
    CHECK(post("/all", "twenty octets, these") == "twenty octets, these");
    CHECK(post("/all", "twenty-one octets, so") == "too long");
}

TEST_CASE("a body that is cut short is no end of it, to an istream either") {
    std::atomic<int> found{0};
    auto app = [&](request& req, responder& respond) -> body {
        gateway::istream in(req);
        std::string line;
        if (req.path() == "/thrown") {
            in.exceptions(std::ios::badbit);
            try {
                std::getline(in, line);
            } catch (const gateway::error& e) {
                found += e.code() == gateway::errc::closed;
            }
        } else {
            std::getline(in, line);
            found += in.bad() && line == "some";
        }
        return respond(200);
    };
    served s(config().set("request_buffering", 0).app(app));
    for (const char* path : {"/thrown", "/bad"}) {
        client c(s.port);
        c.send(std::string("POST ") + path + " HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nsome");
        c.leave();
    }
    until("both have seen it", [&] { return found == 2; });
}
