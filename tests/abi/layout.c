/*
 * Sizes and offsets of every struct of the header, on 64 bits.  A line that
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

#if defined(__LP64__)

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

SIZE(gw_deferred_events, 48);
AT(gw_deferred_events, size, 0);
AT(gw_deferred_events, reserved, 4);
AT(gw_deferred_events, readable, 8);
AT(gw_deferred_events, writable, 16);
AT(gw_deferred_events, aborted, 24);
AT(gw_deferred_events, drop, 32);
AT(gw_deferred_events, ctx, 40);

SIZE(gw_event, 16);
AT(gw_event, d, 0);
AT(gw_event, what, 8);
AT(gw_event, reserved, 12);

SIZE(gw_option, 40);
AT(gw_option, size, 0);
AT(gw_option, id, 4);
AT(gw_option, name, 8);
AT(gw_option, kind, 16);
AT(gw_option, preset, 24);
AT(gw_option, help, 32);

SIZE(gw_listener, 40);
AT(gw_listener, size, 0);
AT(gw_listener, protocol, 4);
AT(gw_listener, address, 8);
AT(gw_listener, fd, 16);
AT(gw_listener, backlog, 20);
AT(gw_listener, flags, 24);
AT(gw_listener, mode, 28);
AT(gw_listener, options, 32);

SIZE(gw_access, 96);
AT(gw_access, size, 0);
AT(gw_access, status, 4);
AT(gw_access, reserved, 6);
AT(gw_access, sent, 8);
AT(gw_access, received, 16);
AT(gw_access, start_ns, 24);
AT(gw_access, took_ns, 32);
AT(gw_access, read_ns, 40);
AT(gw_access, app_ns, 48);
AT(gw_access, id, 56);
AT(gw_access, env, 72);
AT(gw_access, headers, 80);
AT(gw_access, header_count, 88);

SIZE(gw_worker, 40);
AT(gw_worker, size, 0);
AT(gw_worker, pid, 4);
AT(gw_worker, slot, 8);
AT(gw_worker, generation, 12);
AT(gw_worker, server, 16);
AT(gw_worker, exit_status, 24);
AT(gw_worker, cause, 28);
AT(gw_worker, pool, 32);

SIZE(gw_request_info, 424);
AT(gw_request_info, size, 0);
AT(gw_request_info, worker, 4);
AT(gw_request_info, pid, 8);
AT(gw_request_info, generation, 12);
AT(gw_request_info, thread, 16);
AT(gw_request_info, phase, 20);
AT(gw_request_info, status, 24);
AT(gw_request_info, reserved, 28);
AT(gw_request_info, age_ns, 32);
AT(gw_request_info, took_ns, 40);
AT(gw_request_info, method, 48);
AT(gw_request_info, target, 64);
AT(gw_request_info, id, 320);
AT(gw_request_info, peer, 360);

SIZE(gw_hooks, 176);
AT(gw_hooks, size, 0);
AT(gw_hooks, reserved, 4);
AT(gw_hooks, ctx, 8);
AT(gw_hooks, drop, 16);
AT(gw_hooks, pre_request, 24);
AT(gw_hooks, access, 32);
AT(gw_hooks, worker_init, 40);
AT(gw_hooks, worker_exit, 48);
AT(gw_hooks, on_starting, 56);
AT(gw_hooks, when_ready, 64);
AT(gw_hooks, pre_fork, 72);
AT(gw_hooks, spawned, 80);
AT(gw_hooks, worker_ready, 88);
AT(gw_hooks, child_exit, 96);
AT(gw_hooks, nworkers_changed, 104);
AT(gw_hooks, on_reload, 112);
AT(gw_hooks, reloaded, 120);
AT(gw_hooks, on_exit, 128);
AT(gw_hooks, post_fork, 136);
AT(gw_hooks, worker_int, 144);
AT(gw_hooks, worker_abort, 152);
AT(gw_hooks, pre_exec, 160);
AT(gw_hooks, worker_run, 168);

SIZE(gw_log_record, 64);
AT(gw_log_record, size, 0);
AT(gw_log_record, level, 4);
AT(gw_log_record, time_ns, 8);
AT(gw_log_record, target, 16);
AT(gw_log_record, message, 32);
AT(gw_log_record, id, 48);

SIZE(gw_stats, 280);
AT(gw_stats, size, 0);
AT(gw_stats, workers, 4);
AT(gw_stats, uptime_ms, 8);
AT(gw_stats, accepted, 16);
AT(gw_stats, connections, 24);
AT(gw_stats, requests, 32);
AT(gw_stats, in_flight, 40);
AT(gw_stats, status, 48);
AT(gw_stats, sent, 96);
AT(gw_stats, received, 104);
AT(gw_stats, app_errors, 112);
AT(gw_stats, aborted, 120);
AT(gw_stats, timeouts, 128);
AT(gw_stats, rejected, 136);
AT(gw_stats, limited, 144);
AT(gw_stats, shed, 152);
AT(gw_stats, full, 160);
AT(gw_stats, accept_errors, 168);
AT(gw_stats, spool_errors, 176);
AT(gw_stats, spawned, 184);
AT(gw_stats, exited, 192);
AT(gw_stats, killed, 200);
AT(gw_stats, reloads, 208);
AT(gw_stats, reloads_failed, 216);
AT(gw_stats, failing, 224);
AT(gw_stats, request_timeouts, 232);
AT(gw_stats, unrecorded, 240);
AT(gw_stats, requests_full, 248);
AT(gw_stats, ready, 256);
AT(gw_stats, untrusted, 264);
AT(gw_stats, unmounted, 272);

SIZE(gw_listener_info, 180);
AT(gw_listener_info, size, 0);
AT(gw_listener_info, protocol, 4);
AT(gw_listener_info, address, 8);
AT(gw_listener_info, port, 128);
AT(gw_listener_info, seat, 132);
AT(gw_listener_info, backlog, 136);
AT(gw_listener_info, waiting, 140);
AT(gw_listener_info, nodelay, 144);
AT(gw_listener_info, defer_accept, 148);
AT(gw_listener_info, fastopen, 152);
AT(gw_listener_info, reuse_port, 156);
AT(gw_listener_info, rcvbuf, 160);
AT(gw_listener_info, sndbuf, 164);
AT(gw_listener_info, mode, 168);
AT(gw_listener_info, uid, 172);
AT(gw_listener_info, gid, 176);

SIZE(gw_module_args, 24);
AT(gw_module_args, size, 0);
AT(gw_module_args, abi, 4);
AT(gw_module_args, path, 8);
AT(gw_module_args, args, 16);

SIZE(gw_module, 40);
AT(gw_module, size, 0);
AT(gw_module, abi, 4);
AT(gw_module, name, 8);
AT(gw_module, version, 16);
AT(gw_module, app, 24);
AT(gw_module, hooks, 32);

#endif

/* -Wpedantic: a translation unit has a declaration. */
typedef int layout_of_gateway;
