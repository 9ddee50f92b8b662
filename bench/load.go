package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// pressure is the load on a server.
type pressure struct {
	connections int
	period      time.Duration
	distinct    bool // each request has a different head
}

// load sends requests to a server for a period. Each connection waits for a response before it
// sends the next request.
func load(ctx context.Context, target server, op operation, p pressure) (measurement, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	list := make([]*client, p.connections)
	defer func() {
		for _, c := range list {
			if c != nil {
				_ = c.conn.Close()
			}
		}
	}()
	for i := range list {
		c, err := dial(ctx, target, op)
		if err != nil {
			return measurement{}, err
		}
		c.distinct = p.distinct
		list[i] = c
	}
	var stop atomic.Bool
	var requests atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for i, c := range list {
		dice := rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // nothing depends on that nobody guesses it
		wg.Go(func() {
			n := int64(0)
			for ; !stop.Load(); n++ {
				if err := c.send(op.draw(dice)); err != nil {
					cancel(err)
					break
				}
			}
			requests.Add(n)
		})
	}
	timer := time.NewTimer(p.period)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	stop.Store(true)
	end := time.Now()
	if ctx.Err() == nil {
		end = end.Add(requestTimeout)
	}
	for _, c := range list {
		_ = c.conn.SetDeadline(end)
	}
	wg.Wait()
	return measurement{requests: requests.Load(), elapsed: time.Since(began)}, context.Cause(ctx)
}

// client is one connection.
type client struct {
	conn   net.Conn
	head   string // of each request, up to the part that differs
	buffer []byte
	answer response

	distinct bool // each request has its own id
	sent     int64
}

// requestTimeout limits a response that is in flight at the end.
const requestTimeout = 30 * time.Second

func dial(ctx context.Context, target server, op operation) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", target.url.Host)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, head: head(target, op), answer: response{bufio.NewReaderSize(conn, 16<<10)}}, nil
}

// head returns the beginning of a request. A bare server tells operations apart by path.
func head(target server, op operation) string {
	path := target.url.RequestURI()
	if target.bare {
		path = "/" + op.name
	}
	return "POST " + path + " HTTP/1.1\r\nHost: " + target.url.Host + "\r\nContent-Type: application/json\r\n"
}

func (c *client) send(body string) error {
	c.buffer = append(c.buffer[:0], c.head...)
	if c.distinct {
		c.sent++
		c.buffer = append(strconv.AppendInt(append(c.buffer, "X-Request-Id: "...), c.sent, 10), "\r\n"...)
	}
	c.buffer = strconv.AppendInt(append(c.buffer, "Content-Length: "...), int64(len(body)), 10)
	c.buffer = append(append(c.buffer, "\r\n\r\n"...), body...)
	if _, err := c.conn.Write(c.buffer); err != nil {
		return err
	}
	return c.answer.read()
}
