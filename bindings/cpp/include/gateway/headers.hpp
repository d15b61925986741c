// Headers of requests and answers, as pairs of octets that are borrowed.
#ifndef GATEWAY_HEADERS_HPP
#define GATEWAY_HEADERS_HPP

#include <gateway/detail.hpp>

#include <gateway.h>

#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gateway {

// A header: {"Content-Type", "text/plain"}.  Both are borrowed for the call that it is given to.
struct header : gw_pair {
    header(std::string_view its_name, std::string_view its_value) noexcept
        : gw_pair{detail::str(its_name), detail::str(its_value)} {}
};
static_assert(sizeof(header) == sizeof(gw_pair) && std::is_standard_layout_v<header>, "an array of one is one of both");

// Headers for an answer, borrowed: {{"Name", "value"}, ...}, or a container of headers.  For arguments: a list is
// gone after the call that it is written in, so that what is kept in a variable is a std::vector<header>.
class headers {
public:
    headers() noexcept = default;
    headers(std::initializer_list<header> list) noexcept : data_(list.begin()), count_(list.size()) {}
    template <typename C, typename = std::enable_if_t<std::is_convertible_v<decltype(std::declval<const C&>().data()),
                                                                            const header*>>>
    headers(const C& list) noexcept : data_(list.data()), count_(list.size()) {}
    headers(const gw_pair* data, std::size_t count) noexcept : data_(data), count_(count) {}

    const gw_pair* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return count_; }

private:
    const gw_pair* data_ = nullptr;
    std::size_t count_ = 0;
};

// Pairs to be read: `for (auto [name, value] : req.headers())`.
class pairs {
public:
    struct pair {
        std::string_view name, value;
    };
    struct iterator {
        const gw_pair* at;
        pair operator*() const noexcept { return {detail::view(at->name), detail::view(at->value)}; }
        iterator& operator++() noexcept { return ++at, *this; }
        bool operator!=(const iterator& other) const noexcept { return at != other.at; }
    };
    pairs(const gw_pair* data, std::size_t count) noexcept : data_(data), count_(count) {}
    iterator begin() const noexcept { return {data_}; }
    iterator end() const noexcept { return {data_ + count_}; }
    std::size_t size() const noexcept { return count_; }

private:
    const gw_pair* data_;
    std::size_t count_;
};

}  // namespace gateway

#endif  // GATEWAY_HEADERS_HPP
