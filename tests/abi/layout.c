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

SIZE(gw_input, 16);
AT(gw_input, read, 0);
AT(gw_input, ctx, 8);

SIZE(gw_environ, 264);
AT(gw_environ, size, 0);
AT(gw_environ, flags, 4);
AT(gw_environ, request_method, 8);
AT(gw_environ, script_name, 24);
AT(gw_environ, path_info, 40);
AT(gw_environ, query_string, 56);
AT(gw_environ, request_uri, 72);
AT(gw_environ, content_type, 88);
AT(gw_environ, server_name, 104);
AT(gw_environ, server_port, 120);
AT(gw_environ, server_protocol, 136);
AT(gw_environ, remote_addr, 152);
AT(gw_environ, remote_port, 168);
AT(gw_environ, url_scheme, 184);
AT(gw_environ, content_length, 200);
AT(gw_environ, headers, 208);
AT(gw_environ, header_count, 216);
AT(gw_environ, vars, 224);
AT(gw_environ, var_count, 232);
AT(gw_environ, input, 240);
AT(gw_environ, impl, 256);

SIZE(gw_response, 48);
AT(gw_response, status, 0);
AT(gw_response, flags, 2);
AT(gw_response, reserved, 4);
AT(gw_response, reason, 8);
AT(gw_response, headers, 24);
AT(gw_response, header_count, 32);
AT(gw_response, more, 40);

SIZE(gw_writer, 16);
AT(gw_writer, write, 0);
AT(gw_writer, ctx, 8);

SIZE(gw_body, 80);
AT(gw_body, size, 0);
AT(gw_body, flags, 4);
AT(gw_body, first, 8);
AT(gw_body, next, 56);
AT(gw_body, close, 64);
AT(gw_body, ctx, 72);

SIZE(gw_app, 40);
AT(gw_app, size, 0);
AT(gw_app, flags, 4);
AT(gw_app, call, 8);
AT(gw_app, ctx, 16);
AT(gw_app, drop, 24);
AT(gw_app, name, 32);

#endif

/* -Wpedantic: a translation unit has a declaration. */
typedef int layout_of_gateway;
