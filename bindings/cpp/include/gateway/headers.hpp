// What heads are made of: the status of an answer, and pairs of octets that are borrowed.
#ifndef GATEWAY_HEADERS_HPP
#define GATEWAY_HEADERS_HPP

#include <gateway/detail.hpp>
#include <gateway/error.hpp>

#include <gateway.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace gateway {

// The status of an answer: an int, 100 to 999, or what `closing` makes of one.
class status {
public:
    status(int code) noexcept : code_(code) {}
    int code() const noexcept { return code_; }
    // Whether the connection is closed behind the answer.
    bool closes() const noexcept { return closes_; }

private:
    friend status closing(int code) noexcept;
    int code_;
    bool closes_ = false;
};

// For an answer behind which the connection is closed (GW_RESPONSE_CLOSE): `respond(closing(413), {})`.
[[nodiscard]] inline status closing(int code) noexcept {
    status it(code);
    it.closes_ = true;
    return it;
}

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
    template <typename C,
              typename = std::enable_if_t<std::is_same_v<const header&, decltype(*std::declval<const C&>().data())>>>
    headers(const C& list) noexcept : data_(list.data()), count_(list.size()) {}
    headers(const gw_pair* data, std::size_t count) noexcept : data_(data), count_(count) {}

    const gw_pair* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return count_; }

private:
    const gw_pair* data_ = nullptr;
    std::size_t count_ = 0;
};

namespace detail {

// The head of an answer.  The status is still to be cut to the 16 bits that it has in C.
inline gw_response response(status of, headers list, unsigned flags = 0) {
    if (of.code() < 100 || of.code() > 999) {
        throw error(GW_ERR_INVALID, std::to_string(of.code()) + " is not a status: 100 to 999");
    }
    gw_response raw{};
    raw.status = static_cast<std::uint16_t>(of.code());
    raw.flags = static_cast<std::uint16_t>(flags | (of.closes() ? GW_RESPONSE_CLOSE : 0u));
    raw.headers = list.data();
    raw.header_count = list.size();
    return raw;
}

}  // namespace detail

// Pairs to be read: `for (auto [name, value] : req.headers())`.
class pairs {
public:
    struct pair {
        std::string_view name, value;
    };
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = pair;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = pair;

        explicit iterator(const gw_pair* at = nullptr) noexcept : at_(at) {}
        pair operator*() const noexcept { return {detail::view(at_->name), detail::view(at_->value)}; }
        iterator& operator++() noexcept { return ++at_, *this; }
        iterator operator++(int) noexcept { return iterator(at_++); }
        bool operator==(const iterator& other) const noexcept { return at_ == other.at_; }
        bool operator!=(const iterator& other) const noexcept { return at_ != other.at_; }

    private:
        const gw_pair* at_;
    };
    pairs(const gw_pair* data, std::size_t count) noexcept : data_(data), count_(count) {}
    iterator begin() const noexcept { return iterator(data_); }
    iterator end() const noexcept { return iterator(data_ + count_); }
    std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

private:
    const gw_pair* data_;
    std::size_t count_;
};

}  // namespace gateway

#endif  // GATEWAY_HEADERS_HPP
