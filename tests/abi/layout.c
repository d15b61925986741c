/*
 * Sizes and offsets of every struct of the header, on x86-64.  A line that
 * fails is a break of the ABI: members are added at the end of a struct that
 * has a size, and nowhere else.
 */
#include <gateway.h>

#ifdef __cplusplus
# define CHECK(what) static_assert(what, #what)
#else
# define CHECK(what) _Static_assert(what, #what)
#endif
#define SIZE(T, n) CHECK(sizeof(T) == n)
#define AT(T, member, n) CHECK(offsetof(T, member) == n)

#if defined(__x86_64__) && defined(__LP64__)

SIZE(gw_error, 256);
AT(gw_error, size, 0);
AT(gw_error, code, 4);
AT(gw_error, os_errno, 8);
AT(gw_error, exit_status, 12);
AT(gw_error, message, 16);

SIZE(gw_str, 16);
AT(gw_str, data, 0);
AT(gw_str, len, 8);

SIZE(gw_pair, 32);
AT(gw_pair, name, 0);
AT(gw_pair, value, 16);

SIZE(gw_chunk, 48);
AT(gw_chunk, data, 0);
AT(gw_chunk, len, 8);
AT(gw_chunk, offset, 16);
AT(gw_chunk, fd, 24);
AT(gw_chunk, flags, 28);
AT(gw_chunk, release, 32);
AT(gw_chunk, arg, 40);

#endif

/* -Wpedantic: a translation unit has a declaration. */
typedef int layout_of_gateway;
