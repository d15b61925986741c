/*
 * gateway.h - libgateway, an embeddable application server.   (C11; C++11 too)
 *
 * Generated from the Rust sources: change those, then run
 * GATEWAY_HEADER=update cargo check
 *
 * Rules that hold for every declaration below.
 *
 *   Results    gw_result: 0 done, > 0 a normal outcome that is not "done",
 *              < 0 an error.  Outputs come last, through pointers, and are
 *              written only when the result is >= 0 (gw_error: when < 0).
 *   Text       pointer + length, octets, not NUL-terminated.  Only names that
 *              come from a command line (config keys, values, addresses,
 *              paths) are NUL-terminated C strings.
 *   Growth     A struct whose first member is `size` may grow at its end.
 *              Whoever allocates it sets `size` (GW_INIT); members past
 *              `size` read as zero.  A struct without `size` is frozen.
 *   Ownership  Arguments are borrowed for the call.  One that comes with a
 *              `drop` or `release` function is taken, whatever the call
 *              returns (GW_AGAIN alone gives it back), and dropped exactly
 *              once.  gw_x_free(NULL) does nothing.
 *   Threads    [any] any thread, concurrently.    [one] any thread, one call
 *              at a time per object.  [req] inside the application call only.
 *              [sig] also from a signal handler.
 *   Fork       Nothing here survives a fork() it did not make itself, except
 *              gw_config: create servers and arbiters after forking.
 *   Callbacks  Take their context first.  They must not unwind through us:
 *              no C++ exception, no longjmp.  No lock of ours is held.
 *   Panics     never leave the library; the call returns GW_ERR_PANIC.
 *   Zeroed     Structs that we hand out to be filled (gw_body, the gw_chunk of
 *              next) arrive zeroed, `size` set.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
