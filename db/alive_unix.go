//go:build unix

package db

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// alive fails if the server has ended an idle connection, before anything is sent. It looks at
// received data without waiting: a server sends nothing on an idle connection except that it ends.
func alive(_ context.Context, conn *pgx.Conn) error {
	transport := conn.PgConn().Conn()
	if secured, ok := transport.(*tls.Conn); ok {
		transport = secured.NetConn()
	}
	if ended(transport) {
		return driver.ErrBadConn
	}
	return nil
}

func ended(conn net.Conn) bool {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	// Control and not Read: pgx may have left a reader in the background, for which Read would wait.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = err != syscall.EAGAIN && err != syscall.EINTR
	})
	return gone || err != nil
}
