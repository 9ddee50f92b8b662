package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func wantOf(key Key) *want {
	return &want{Request: Request{Item: Item{Key: key, MaxAge: time.Minute}}}
}

// A reader that requests what another reader's flight loads joins it; the group is carried once.
func TestFlightsAreJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s *flights
		carried, release := 0, make(chan struct{})
		s = newFlights(NewGenerations(), func(g *group) {
			carried++
			<-release
			for _, f := range g.flights {
				s.land(f, Result{Value: string(f.Key)}, basis{})
			}
		})
		first, second := wantOf("user:1"), wantOf("user:1")
		own := s.board(t.Context(), []*want{first}, true, nil)
		if s.board(t.Context(), []*want{second}, true, nil) != nil || !second.joined || second.flight != first.flight {
			t.Fatal("the second reader did not join the first one's flight")
		}
		close(release)
		if !s.await(t.Context(), []*want{first}, own) || !s.await(t.Context(), []*want{second}, nil) {
			t.Fatal("the flights did not land")
		}
		if carried != 1 || second.flight.result.Value != "user:1" {
			t.Errorf("carried %d times, got %v; want once, user:1", carried, second.flight.result.Value)
		}
		if third := wantOf("user:1"); s.board(t.Context(), []*want{third}, true, nil) == nil {
			t.Error("a flight that has landed was joined")
		}
		s.close()
	})
}

// A reader does not join a flight whose load may have read before an eviction.
func TestAnEvictedFlightIsNotJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newFlights(NewGenerations(), func(g *group) {
			g.reading.Store(true)
			<-release
		})
		s.board(t.Context(), []*want{wantOf("user:1")}, true, nil)
		synctest.Wait()
		s.generations.Evict(Eviction{Keys: []Key{"user:1"}})
		later := wantOf("user:1")
		if s.board(t.Context(), []*want{later}, true, nil) == nil || later.joined {
			t.Error("a reader joined a load that began before the eviction")
		}
		close(release)
		s.close()
	})
}

// A load continues as long as one reader waits for it. It is canceled when the last one gives up.
func TestAGroupEndsWithItsLastReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		s := newFlights(NewGenerations(), func(g *group) {
			<-g.ctx.Done()
			close(ended)
		})
		first, second := wantOf("user:1"), wantOf("user:1")
		impatient, giveUp := context.WithCancel(t.Context())
		own := s.board(impatient, []*want{first}, true, nil)
		s.board(t.Context(), []*want{second}, true, nil)
		giveUp()
		if s.await(impatient, []*want{first}, own) {
			t.Error("the flight landed")
		}
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the load was canceled although the second reader waits for it")
		default:
		}
		done, leave := context.WithCancel(t.Context())
		leave()
		s.await(done, []*want{second}, nil)
		<-ended
		s.close()
	})
}

// If carrying a group panics, every flight that has not landed gets the panic as its error. If it
// returns without landing a flight, the flight gets errAbandoned.
func TestFlightsLandWhenTheirLoadDoesNot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		carry func(*group)
		want  func(error) bool
	}{
		"a panic":    {func(*group) { panic("broken") }, func(err error) bool { p := new(PanicError); return errors.As(err, &p) && p.Value == "broken" }},
		"no landing": {func(*group) {}, func(err error) bool { return errors.Is(err, errAbandoned) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFlights(NewGenerations(), c.carry)
			wants := []*want{wantOf("user:1"), wantOf("user:2")}
			if own := s.board(t.Context(), wants, true, nil); !s.await(t.Context(), wants, own) {
				t.Fatal("the flights did not land")
			}
			for _, w := range wants {
				if err := w.flight.result.Err; !c.want(err) {
					t.Errorf("%s: got error %v", w.Key, err)
				}
			}
			s.close()
		})
	}
}

// close cancels every load and waits for it. A load that begins later is canceled immediately.
func TestFlightsClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		s := newFlights(NewGenerations(), func(g *group) {
			running.Add(1)
			<-g.ctx.Done()
			running.Add(-1)
		})
		s.board(t.Context(), []*want{wantOf("user:1")}, true, nil)
		s.board(t.Context(), []*want{wantOf("user:2")}, false, nil)
		synctest.Wait()
		if n := running.Load(); n != 2 {
			t.Fatalf("got %d running groups, want 2", n)
		}
		s.close()
		if n := running.Load(); n != 0 {
			t.Errorf("got %d running groups after close, want 0", n)
		}
		late := []*want{wantOf("user:3")}
		own := s.board(t.Context(), late, true, nil)
		if s.await(t.Context(), late, own); late[0].flight.result.Err == nil {
			t.Error("a load that began after close succeeded")
		}
	})
}
