package gqlcache_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// session is what a project's authentication puts into the context of a connection, and changes
// when somebody else signs in on it.
type session struct{ account atomic.Pointer[string] }

type sessionKey struct{}

// sessionViewer returns the account that is signed in now.
func sessionViewer(ctx context.Context) string {
	s, _ := ctx.Value(sessionKey{}).(*session)
	if s == nil {
		return ""
	}
	return *s.account.Load()
}

// sessionRoot resolves Query.me for whoever is signed in. If before is not nil, it is called first.
type sessionRoot struct {
	*tracker.Resolver
	before *atomic.Pointer[func()]
}

type sessionQuery struct {
	tracker.QueryResolver
	before *atomic.Pointer[func()]
}

func (r sessionRoot) Query() tracker.QueryResolver {
	return sessionQuery{r.Resolver.Query(), r.before}
}

func (q sessionQuery) Me(ctx context.Context) (*tracker.Account, error) {
	if f := q.before.Load(); f != nil {
		(*f)()
	}
	return q.QueryResolver.Me(tracker.WithViewer(ctx, sessionViewer(ctx)))
}

// Somebody else may sign in on a connection while an operation of it is executed. What it then
// reads is not stored as the value of the first viewer, and not shared with a request of theirs.
func TestViewersThatChangeDuringAnOperation(t *testing.T) {
	before := new(atomic.Pointer[func()])
	s := openTrackerSite(t, testservers.Postgres(t), "", nil, func(o *siteOptions) {
		o.fields.Viewer = sessionViewer
		o.resolvers = func(r *tracker.Resolver) tracker.ResolverRoot { return sessionRoot{r, before} }
	})
	s.seed()
	signedIn := func(account string) (context.Context, *session) {
		of := new(session)
		of.account.Store(&account)
		return context.WithValue(context.Background(), sessionKey{}, of), of
	}
	me := func(ctx context.Context) string { return responseIn(t, ctx, s.cached, "", `{me{handle}}`) }

	shared, of := signedIn(ann)
	reached, goOn := make(chan struct{}), make(chan struct{})
	hold := func() { before.Store(nil); close(reached); <-goOn }
	before.Store(&hold)
	first, waiting := make(chan string, 1), make(chan string, 1)
	go func() { first <- me(shared) }()
	<-reached
	own, _ := signedIn(ann)
	asked := make(chan struct{})
	go func() {
		close(asked)
		waiting <- me(own)
	}()
	<-asked
	of.account.Store(new(bob))
	close(goOn)
	<-first
	for who, got := range map[string]string{"a request that may have waited for it": <-waiting, "a later request": me(own)} {
		if want := `{"me":{"handle":"ann"}}`; !strings.HasPrefix(got, want) {
			t.Errorf("%s of another connection got %s, want %s", who, got, want)
		}
	}
}
