package graph

import (
	"context"
	"sync"
)

// news sends new comments to its listeners. A slow listener misses some.
type news struct {
	mu        sync.Mutex
	listeners map[chan *Comment]string // the issue whose comments each wants
}

func (n *news) of(ctx context.Context, issue string) <-chan *Comment {
	c := make(chan *Comment, 16)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[chan *Comment]string{}
	}
	n.listeners[c] = issue
	context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.listeners, c)
		close(c)
	})
	return c
}

func (n *news) publish(comment *Comment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, issue := range n.listeners {
		if issue != comment.IssueID {
			continue
		}
		select {
		case c <- comment:
		default:
		}
	}
}
