// Package pgxwatch reports every statement of pgx to a [cache.Watch], whether it is sent by pgxpool, bun,
// an ORM, or database/sql through pgx's package stdlib.
//
// A server of PostgreSQL 14 or later tells its clients whether it is a hot standby: statements on one are reported as
// [cache.OnStandby].
package pgxwatch

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"fieldcache/cache"
)

// Tracer is a value for pgx.ConnConfig.Tracer. Use pgx's package multitracer to combine it with other
// tracers. It is safe for concurrent use.
type Tracer struct {
	watch *cache.Watch

	mu       sync.Mutex
	prepared map[string]string // the texts of prepared statements by name; "" if connections differ
}

// New returns a tracer that reports to w.
func New(w *cache.Watch) *Tracer { return &Tracer{watch: w, prepared: map[string]string{}} }

var _ interface {
	pgx.QueryTracer
	pgx.BatchTracer
	pgx.CopyFromTracer
	pgx.PrepareTracer
} = (*Tracer)(nil)

type textKey struct{}

func (t *Tracer) began(ctx context.Context, statement string) context.Context {
	t.watch.Began(ctx, statement)
	return context.WithValue(ctx, textKey{}, statement)
}

func (t *Tracer) ended(ctx context.Context) {
	statement, _ := ctx.Value(textKey{}).(string)
	t.watch.Ended(ctx, statement)
}

// maxPrepared bounds the number of prepared statements whose texts are remembered. Other statements are
// reported by name.
const maxPrepared = 10_000

// TracePrepareStart implements [pgx.PrepareTracer].
func (t *Tracer) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text, ok := t.prepared[data.Name]; ok && text != data.SQL {
		t.prepared[data.Name] = ""
	} else if len(t.prepared) < maxPrepared {
		t.prepared[data.Name] = data.SQL
	}
	return ctx
}

// TracePrepareEnd implements [pgx.PrepareTracer].
func (*Tracer) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

// text returns the text that the database receives, or [cache.OnStandby]. statement may be the name of a prepared
// statement, or have named arguments.
func (t *Tracer) text(ctx context.Context, conn *pgx.Conn, statement string, args []any) string {
	if conn.PgConn().ParameterStatus("in_hot_standby") == "on" {
		return cache.OnStandby
	}
	for i, arg := range args {
		if rewriter, ok := arg.(pgx.QueryRewriter); ok {
			rewritten, _, err := rewriter.RewriteQuery(ctx, conn, statement, args[i+1:])
			if err != nil {
				return statement // pgx returns the error
			}
			statement = rewritten
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if text, ok := t.prepared[statement]; ok {
		return text
	}
	return statement
}

// TraceQueryStart implements [pgx.QueryTracer].
func (t *Tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return t.began(ctx, t.text(ctx, conn, data.SQL, data.Args))
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (t *Tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	t.ended(ctx)
}

type batchKey struct{}

// TraceBatchStart implements [pgx.BatchTracer]. It reports all statements of a batch from the start of
// the batch to its end.
func (t *Tracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	var texts []string
	if data.Batch != nil {
		for _, q := range data.Batch.QueuedQueries {
			text := t.text(ctx, conn, q.SQL, q.Arguments)
			texts = append(texts, text)
			t.watch.Began(ctx, text)
		}
	}
	if len(texts) == 0 {
		texts = []string{""}
		t.watch.Began(ctx, "")
	}
	return context.WithValue(ctx, batchKey{}, texts)
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (*Tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements [pgx.BatchTracer].
func (t *Tracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	texts, _ := ctx.Value(batchKey{}).([]string)
	for _, text := range texts {
		t.watch.Ended(ctx, text)
	}
}

// TraceCopyFromStart implements [pgx.CopyFromTracer]. It reports nothing, since COPY FROM reads no rows.
func (*Tracer) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return ctx
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (*Tracer) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}
