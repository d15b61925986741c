package gateway

// #include "shim.h"
import "C"
import (
	"io"
	"net/http"
	"os"
	"syscall"
)

// ReadFrom sends a file, or a part of one (io.LimitedReader), without reading it.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if n, done, err := w.sendFile(src); done {
		return n, err
	}
	return io.Copy(writerOnly{w}, src)
}

type writerOnly struct{ io.Writer }

func (w *response) sendFile(src io.Reader) (n int64, done bool, err error) {
	file, limit := src, int64(-1)
	limited, _ := src.(*io.LimitedReader)
	if limited != nil {
		file, limit = limited.R, max(limited.N, 0)
	}
	f, _ := file.(*os.File)
	if f == nil || w.over.Load() || w.isHead() {
		return 0, false, nil
	}
	about, err := f.Stat()
	if err != nil || !about.Mode().IsRegular() {
		return 0, false, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, false, nil
	}
	size := max(about.Size()-at, 0)
	if limit >= 0 {
		size = min(size, limit)
	}
	if w.status == 0 {
		if !w.typedByHandler() {
			// A type is to be told from its beginning.
			return 0, false, nil
		}
		w.WriteHeader(http.StatusOK)
	}
	if size < lendSize || !w.typed || !bodyAllowed(w.status) || w.err != nil ||
		w.length >= 0 && w.written+size > w.length {
		return 0, false, nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, false, nil
	}
	fd := -1
	if err := conn.Control(func(it uintptr) { fd, err = dup(int(it)) }); err != nil || fd < 0 {
		return 0, false, nil
	}
	if len(w.memory().body) > 0 {
		if err := w.flush(); err != nil {
			syscall.Close(fd)
			return 0, true, err
		}
	}
	err = w.piece(C.gwgo_op{kind: C.GWGO_FILE, fd: C.int32_t(fd), body: C.uint64_t(at), body_len: C.uint64_t(size)})
	if err != nil {
		return 0, true, err
	}
	w.written += size
	if limited != nil {
		limited.N -= size
	}
	_, err = f.Seek(at+size, io.SeekStart)
	return size, true, err
}

func (w *response) typedByHandler() bool {
	_, typed := w.header["Content-Type"]
	_, encoded := w.header["Content-Encoding"]
	return typed || encoded
}

func dup(fd int) (int, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
