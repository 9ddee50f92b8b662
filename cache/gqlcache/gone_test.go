package gqlcache_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A resolver may read by what belongs to its request, such as a transaction that middleware rolls
// back at the end, or a loader that was made with the context of the request. Another request that
// waits for the value does not get the error that follows when the first one's client disconnects.
func TestRequestsThatWaitForAResolverWhoseClientHasGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type ofRequest struct{}
		wait := make(chan struct{})
		fc, srv := exampleServer(sayingMotto{motto: func(ctx context.Context) (*string, error) {
			<-wait
			if ctx.Value(ofRequest{}).(context.Context).Err() != nil {
				return nil, errors.New("the transaction has been rolled back")
			}
			return new("x"), nil
		}})
		defer func() { _ = fc.Close() }()
		h := fc.Handler(srv)
		ask := func(alias string) (got chan string, leave context.CancelFunc) {
			got = make(chan string, 1)
			ctx, leave := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/graphql?query=%7B"+alias+":motto%7D", nil)
			go func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ofRequest{}, ctx)))
				got <- w.Body.String()
			}()
			synctest.Wait()
			return got, leave
		}
		_, leave := ask("a")
		got, end := ask("b")
		defer end()
		leave()
		synctest.Wait()
		close(wait)
		if got, want := <-got, `{"data":{"b":"x"}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// A resolver that turns errors into a value, such as 0 or an empty list, does so also when its load
// ends because nobody waits for it any longer. Such a value is not stored.
func TestLoadsThatNobodyWaitsForAreNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fc, srv := exampleServer(sayingMotto{motto: func(ctx context.Context) (*string, error) {
			select {
			case <-ctx.Done():
				return new("no motto today"), nil
			case <-time.After(time.Second):
				return new("x"), nil
			}
		}})
		defer func() { _ = fc.Close() }()
		h := fc.Handler(srv)
		ask := func(ctx context.Context) string {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/graphql?query=%7Bmotto%7D", nil))
			return w.Body.String()
		}
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		ask(ctx)
		synctest.Wait()
		if got, want := ask(t.Context()), `{"data":{"motto":"x"}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
