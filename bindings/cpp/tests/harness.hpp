// A server in a thread of its own, and a client that reads to the end.
#ifndef HARNESS_HPP
#define HARNESS_HPP

#include <gateway.hpp>

#include <atomic>
#include <mutex>
#include <thread>

#include <arpa/inet.h>
#define DOCTEST_CONFIG_SUPER_FAST_ASSERTS
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using gateway::body, gateway::config, gateway::request, gateway::responder;
using namespace std::chrono_literals;

inline constexpr auto patience = 30s;

// Waits for what another thread does.
template <typename F> void until(const char* what, F is) {
    auto deadline = std::chrono::steady_clock::now() + patience;
    while (!is()) {
        if (std::chrono::steady_clock::now() > deadline) {
            FAIL("never: " << std::string(what));
        }
        std::this_thread::sleep_for(1ms);
    }
}

// What is written to the error log, from any thread.
class lines {
public:
    void operator()(const gw_log_record& record) {
        std::lock_guard lock(shared->mutex);
        shared->text.append(record.message.data, record.message.len).append("\n");
    }
    bool have(std::string_view what) const {
        std::lock_guard lock(shared->mutex);
        return shared->text.find(what) != std::string::npos;
    }

private:
    struct state {
        std::mutex mutex;
        std::string text;
    };
    std::shared_ptr<state> shared = std::make_shared<state>();
};

class client {
public:
    explicit client(unsigned port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(static_cast<std::uint16_t>(port));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        timeval longest{std::chrono::seconds(patience).count(), 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
        REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    }
    explicit client(std::in_place_t, int fd) : fd_(fd) {}
    client(const client&) = delete;
    client& operator=(const client&) = delete;
    ~client() { leave(); }

    client& send(std::string_view octets) {
        REQUIRE(::send(fd_, octets.data(), octets.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(octets.size()));
        return *this;
    }
    // Until that has come; all of it so far.
    const std::string& receive(std::string_view what) {
        while (came_.find(what) == std::string::npos) {
            if (!more()) {
                FAIL("closed without " << what << ": " << came_);
            }
        }
        return came_;
    }
    const std::string& rest() {
        while (more()) {
        }
        return came_;
    }
    // So that the server cannot take it for a client that will send no more, and still reads.
    void reset() {
        linger none{1, 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        leave();
    }
    void leave() {
        if (fd_ >= 0) {
            close(std::exchange(fd_, -1));
        }
    }

private:
    bool more() {
        char octets[4096];
        ssize_t n = recv(fd_, octets, sizeof octets, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            FAIL("no answer; so far " << came_);
        }
        if (n > 0) {
            came_.append(octets, static_cast<std::size_t>(n));
        }
        return n > 0;
    }
    int fd_;
    std::string came_;
};

// A server of a configuration, on a port that the system chooses.
class served {
public:
    explicit served(config cfg) : server(on_any_port(std::move(cfg))), port(server.listeners().at(0).port) {
        thread_ = std::thread([this] { server.run(); });
    }
    ~served() {
        server.stop(gateway::how::quick);
        thread_.join();
    }
    // The whole answer.
    std::string ask(const std::string& line, const std::string& headers = "", const std::string& content = "") {
        client c(port);
        c.send(line + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" + headers + "\r\n" + content);
        return c.rest();
    }
    // Its body.
    std::string get(const std::string& target) {
        std::string answer = ask("GET " + target);
        return answer.substr(answer.find("\r\n\r\n") + 4);
    }

    gateway::server server;
    unsigned port;

private:
    static config on_any_port(config cfg) {
        cfg.set("bind", "127.0.0.1:0");
        return cfg;
    }
    std::thread thread_;
};

// How many there are, and how many there were.
struct counted {
    static inline std::atomic<int> alive{0}, copies{0};
    counted() { alive++; }
    counted(const counted&) { alive++, copies++; }
    counted(counted&&) noexcept { alive++; }
    ~counted() { alive--; }
};

#endif
