package gateway

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
)

// Error is what the library says has gone wrong.  errors.Is compares it with the Err values by its code,
// and with syscall.Errno where an operating system's error is behind it.
type Error struct {
	Code       int           // GW_ERR_*, negative
	Errno      syscall.Errno // 0 when none was involved
	ExitStatus int           // what main should return so that supervisors understand: 1, 3, 4 ...
	Message    string
}

func (e *Error) Error() string { return e.Message }

// Is says whether target is the Err value of the same code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && e.Code == other.Code && other.Message == codeText(other.Code)
}

// Unwrap is the operating system's error, if there is one.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// What errors.Is knows.
var (
	ErrInvalid     = sentinel(C.GW_ERR_INVALID)
	ErrState       = sentinel(C.GW_ERR_STATE)
	ErrMemory      = sentinel(C.GW_ERR_MEMORY)
	ErrIO          = sentinel(C.GW_ERR_IO)
	ErrPanic       = sentinel(C.GW_ERR_PANIC)
	ErrUnsupported = sentinel(C.GW_ERR_UNSUPPORTED)
	ErrUnknown     = sentinel(C.GW_ERR_UNKNOWN)
	ErrNotFound    = sentinel(C.GW_ERR_NOT_FOUND)
	ErrLimit       = sentinel(C.GW_ERR_LIMIT)
	ErrProtocol    = sentinel(C.GW_ERR_PROTOCOL)
	ErrClosed      = sentinel(C.GW_ERR_CLOSED)
	ErrTimeout     = sentinel(C.GW_ERR_TIMEOUT)
	ErrBusy        = sentinel(C.GW_ERR_BUSY)
	ErrABI         = sentinel(C.GW_ERR_ABI)
	ErrApp         = sentinel(C.GW_ERR_APP)
)

var (
	errReturned = errors.New("http: write after the handler has returned")
	errDeadline = fmt.Errorf("gateway: the client is too slow: %w", os.ErrDeadlineExceeded)
)

func sentinel(code int) error { return &Error{Code: code, ExitStatus: 1, Message: codeText(code)} }

func codeText(code int) string { return C.GoString(C.gw_result_text(C.gw_result(code))) }

// resultError is an error of a call that says no more than its result.
func resultError(what string, rc C.gw_result) error {
	return &Error{Code: int(rc), ExitStatus: 1, Message: what + ": " + codeText(int(rc))}
}

// writeError is what a handler hears that writes: that a client has left is what net/http's would be told
// by the system.
func writeError(rc C.gw_result) error {
	if rc == C.GW_ERR_CLOSED {
		return &Error{Code: int(rc), Errno: syscall.EPIPE, ExitStatus: 1, Message: "write: the client has left"}
	}
	return resultError("write", rc)
}

// errorOf is an error that the library has described.
func errorOf(err *C.gw_error, rc C.gw_result) error {
	if rc >= 0 {
		return nil
	}
	if err.code == 0 {
		return resultError("gateway", rc)
	}
	return &Error{
		Code:       int(err.code),
		Errno:      syscall.Errno(err.os_errno),
		ExitStatus: int(err.exit_status),
		Message:    C.GoString(&err.message[0]),
	}
}

func newError() C.gw_error { return C.gw_error{size: C.sizeof_gw_error} }

// severity is the library's number of a level.
func severity(level slog.Level) C.int32_t {
	switch {
	case level >= slog.LevelError:
		return C.GW_LOG_ERROR
	case level >= slog.LevelWarn:
		return C.GW_LOG_WARN
	case level >= slog.LevelInfo:
		return C.GW_LOG_INFO
	}
	return C.GW_LOG_DEBUG
}

func levelOf(severity C.int32_t) slog.Level {
	switch severity {
	case C.GW_LOG_ERROR:
		return slog.LevelError
	case C.GW_LOG_WARN:
		return slog.LevelWarn
	case C.GW_LOG_INFO:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
