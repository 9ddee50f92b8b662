package main

// mutant is one way to break the engine.
type mutant struct {
	name     string
	file     string
	old, new string // text that is in the file once, and its replacement
	pkg      string
	red      []string // tests that must all fail; a test may name the sub-test to run
	gate     bool     // whether the gate runs it
}

const (
	engine = "./cache"
	redis  = "./cache/redisstore"
	rows   = "./cache/outbox"
	fields = "./cache/gqlcache"
	gotype = "./cache/gqlcache/internal/gotype"
)

var mutants = []mutant{
	{
		name: "a fill does not check its token",
		file: "cache/internal/protocol/protocol.go", old: `return token != "" && fence == token`, new: `return token != ""`,
		pkg: engine, red: []string{"TestModel/fills during writes"}, gate: true,
	},
	{
		name: "the script does not check its token",
		file: "cache/redisstore/fill.lua", old: "if redis.call('GET', fence) == ARGV[arg - 2] then", new: "if true then",
		pkg: redis, red: []string{"TestStore"},
	},
	{
		name: "keys are unlinked before fences",
		file: "cache/internal/protocol/protocol.go", old: "{UnlinkFences, UnlinkKeys, UnlinkGenerations}", new: "{UnlinkKeys, UnlinkFences, UnlinkGenerations}",
		pkg: engine, red: []string{"TestModel/fills during writes"}, gate: true,
	},
	{
		name: "generations are not evicted",
		file: "cache/internal/protocol/protocol.go", old: "{UnlinkFences, UnlinkKeys, UnlinkGenerations}", new: "{UnlinkFences, UnlinkKeys}",
		pkg: engine, red: []string{"TestModel/a list during writes", "TestSimulation"},
	},
	{
		name: "memory does not evict by tag",
		file: "cache/generation.go", old: "	for _, t := range ev.Tags {\n		g.evict(g.slot(string(t)))\n	}\n", new: "",
		pkg: engine, red: []string{"TestHistories", "TestSimulation"},
	},
	{
		name: "floors are not checked",
		file: "cache/internal/protocol/protocol.go", old: "if !f.Admits(seen) {", new: "if !f.Admits(seen) && false {",
		pkg: engine, red: []string{"TestModel/an old dump", "TestJudge", "TestAnOldDump"}, gate: true,
	},
	{
		name: "the floors of tags are not checked",
		file: "cache/floors.go", old: "if p := f.table[f.slot(string(t))].Load(); p != nil {", new: "if p := f.table[f.slot(string(t))].Load(); false {",
		pkg: engine, red: []string{"TestAnOldDump"},
	},
	{
		name: "a floor is the newest write instead of all",
		file: "cache/internal/protocol/protocol.go", old: "		xids = append(xids, x)\n	}\n	raised :=",
		new: "		xid = max(xid, x)\n	}\n	raised :=",
		pkg: engine, red: []string{"TestModel/commits out of order", "TestFloors"},
	},
	{
		name: "a floor is dropped after a poll that did not see its writes",
		file: "cache/internal/protocol/protocol.go", old: "		if polled.Sees(x) {\n", new: "		if true {\n",
		pkg: engine, red: []string{"TestFloors"},
	},
	{
		name: "the horizon is not checked",
		file: "cache/internal/protocol/protocol.go", old: "if !seen.Covers(k.Horizon) {", new: "if false {",
		pkg: engine, red: []string{"TestModel/a gateway that starts", "TestJudge", "TestAnOldDump"},
	},
	{
		name: "values of another epoch are judged only by their transaction numbers",
		file: "cache/internal/protocol/protocol.go", old: "	if seen.Epoch != k.Epoch {\n", new: "	if seen.Epoch = k.Epoch; false {\n",
		pkg: engine, red: []string{"TestModel/a database that loses writes", "TestSplitBrainForgetsWhatWasLost"},
	},
	{
		name: "a load of another epoch is cached",
		file: "cache/internal/protocol/protocol.go", old: "{ return seen.Epoch == epoch }", new: "{ return true }",
		pkg: engine, red: []string{"TestModel/an old primary that still responds", "TestMayKeep", "TestSplitBrainAnswersOfTheOldPrimaryAreNotCached"}, gate: true,
	},
	{
		name: "values of another release are served",
		file: "cache/shared.go", old: "if e.Shape != shapeOf(f.Request) {", new: "if false {",
		pkg: engine, red: []string{"TestWhatAnotherReleaseStoredIsNotServed"},
	},
	{
		name: "a poll from before a write of another epoch renews the lease",
		file: "cache/trust.go", old: "at >= t.lost {", new: "true {",
		pkg: engine, red: []string{"TestAPollFromBeforeDoesNotRenewALostLease"},
	},
	{
		name: "a load without a snapshot is trusted just after a failover",
		file: "cache/source.go", old: "time.Since(*at) < c.lease {", new: "false {",
		pkg: engine, red: []string{"TestUnsaidSnapshotsAroundAFailover"},
	},
	{
		name: "a frozen gateway mistakes its freeze for a database that hangs",
		file: "cache/stale.go", old: "	if late {\n", new: "	if late && false {\n",
		pkg: engine, red: []string{"TestSilence", "TestAFrozenGatewayIsNoOutage"},
	},
	{
		name: "pruned writes are not noticed",
		file: "cache/poll.go", old: "case !p.since.Covers(news.Horizon):", new: "case false:",
		pkg: engine, red: []string{"TestWritesArePrunedBeforeAGatewayHeard"},
	},
	{
		name: "any load is joined",
		file: "cache/internal/protocol/protocol.go", old: "return !reading || trusted && holds", new: "return true",
		pkg: engine, red: []string{"TestModel/fills during writes", "TestALoadFromBeforeAWriteIsNotJoined", "TestWhoTrustsNothingLoadsItself"}, gate: true,
	},
	{
		name: "a reader that trusts nothing joins a flight",
		file: "cache/internal/protocol/protocol.go", old: "return !reading || trusted && holds", new: "return !reading || holds",
		pkg: engine, red: []string{"TestModel/two readers at another gateway", "TestWhoTrustsNothingLoadsItself"},
	},
	{
		name: "a value that was joined is not looked at again",
		file: "cache/flight.go", old: "b.noted && b.began.before(at)", new: "false && b.noted && b.began.before(at)",
		pkg: engine, red: []string{"TestReadersDoNotShareAValueFromBeforeAWrite"},
	},
	{
		name: "a value for one reader is shared",
		file: "cache/flight.go", old: "return b.alone || b.noted", new: "return b.noted",
		pkg: engine, red: []string{"TestAValueForOneReaderIsNotShared"},
	},
	{
		name: "a value is as new as the call of its source, whatever that read",
		file: "cache/source.go", old: "if deps.since != nil && deps.since.before(b.began) {", new: "if deps.since != nil && false {",
		pkg: engine, red: []string{"TestReadersDoNotShareAValueFromBeforeAWrite", "TestValuesAreAsNewAsTheirParts"},
	},
	{
		name: "no lease",
		file: "cache/internal/protocol/protocol.go", old: "{ return sincePollBegan < lease }", new: "{ return true }",
		pkg: engine, red: []string{"TestModel/another gateway", "TestTheLeaseIsLostAndFound"}, gate: true,
	},
	{
		name: "the lease counts from the end of a poll",
		file: "cache/poll.go", old: "p.trust.renew(p.began)", new: "p.trust.renew(time.Now())",
		pkg: engine, red: []string{"TestTheLeaseCountsFromThePollsBeginning"},
	},
	{
		name: "stamps are taken after the read",
		file: "cache/source.go", old: "	early := rand.Float64() * jitter\n", new: "	early := rand.Float64() * jitter\n	for _, f := range fs {\n		f.stamp = c.Generations().Stamp(f.Item)\n	}\n",
		pkg: engine, red: []string{"TestSimulation", "TestALoadDuringAnEviction"},
	},
	{
		name: "a late response of the shared tier is trusted",
		file: "cache/shared.go", old: "	trusted := c.follower.trust.holds(time.Now())\n	fills :=", new: "	trusted := true\n	fills :=",
		pkg: engine, red: []string{"TestAnAnswerThatWasLongOnItsWay"},
	},
	{
		name: "acknowledged at once without the shared tier",
		file: "cache/internal/protocol/protocol.go", old: "return taken || sinceCommit >= lease+AckMargin", new: "return true",
		pkg: engine, red: []string{"TestModel/an eviction does not reach Redis", "TestAcknowledgingWithoutTheSharedTier", "TestSimulation"},
	},
	{
		name: "one message counts as the whole transaction",
		file: "cache/known.go", old: "	if len(names) == 0 {\n		return w.Eviction\n	}\n	news := Eviction{Soft: w.Soft}\n",
		new: "	if len(names) == 0 {\n		return w.Eviction\n	}\n	news := Eviction{Soft: w.Soft}\n	if w.Xid != 0 {\n		return news\n	}\n",
		pkg: engine, red: []string{"TestOnlyWhatIsKnownOfATransactionIsNoNews"},
	},
	{
		name: "no gateway relays",
		file: "cache/follow.go", old: "	f.done.Go(func() { f.every(ctx, relayAfter, r.run) })\n", new: "	_ = r\n",
		pkg: engine, red: []string{"TestADeadGatewaysEvictionIsRelayed", "TestSimulation"},
	},
	{
		name: "memory is not evicted at the first poll",
		file: "cache/poll.go", old: "	p.floors.horizon.Store(horizon)\n	p.memory.Generations().EvictAll()\n", new: "	p.floors.horizon.Store(horizon)\n",
		pkg: engine, red: []string{"TestTheFirstPollComesLate"},
	},
	{
		name: "the shared tier is used before the retained writes are read",
		file: "cache/poll.go", old: "	horizon, retained := &news.Snapshot, p.retained\n", new: "	horizon, retained := &Snapshot{Epoch: news.Snapshot.Epoch}, p.retained\n",
		pkg: engine, red: []string{"TestFault28AGatewayStarts"},
	},
	{
		name: "a poll counts before all its pages are read",
		file: "cache/poll.go", old: "		if news.More == nil {\n			p.finish(news)\n", new: "		if true {\n			p.finish(news)\n",
		pkg: engine, red: []string{"TestSimulation", "TestFault10AManyRowTransaction"},
	},
	{
		name: "a failover is not noticed",
		file: "cache/poll.go", old: "another := !p.since.IsZero() && news.Snapshot.Epoch != p.since.Epoch", new: "another := false",
		pkg: engine, red: []string{"TestSimulation"},
	},
	{
		name: "a stale result is not marked",
		file: "cache/stale.go", old: "r.Stale, r.Stamp = true, nil", new: "r.Stale, r.Stamp = false, nil",
		pkg: engine, red: []string{"TestStaleIfError"},
	},
	{
		name: "a poll reads only ids above the last one",
		file: "cache/outbox/poll.go", old: "	for _, x := range p.Since.Xip {\n", new: "	for _, x := range p.Since.Xip[:0] {\n",
		pkg: rows, red: []string{"TestPollIsNoCursorOnIDs"}, gate: true,
	},
	{
		name: "a private field's key lacks the viewer",
		file: "cache/gqlcache/fields.go", old: "		key = cache.AppendEscaped(append(key, '@'), run.viewer)\n", new: "",
		pkg: fields, red: []string{"TestPrivateFieldsOfManyViewersAtOnce"},
	},
	{
		name: "an argument is left out of keys",
		file: "cache/gqlcache/fieldargs.go", old: "for _, a := range k.field.Arguments {", new: "for _, a := range k.field.Arguments[1:] {",
		pkg: fields, red: []string{"TestFieldKeysTellArgumentsApart", "TestFieldsAreAsWithoutACache"},
	},
	{
		name: "encoded values are not checked for loss",
		file: "cache/gqlcache/internal/gotype/codec.go", old: "	if !c.abstract && plain(c.typ) {\n", new: "	if c != nil {\n",
		pkg: gotype, red: []string{"TestWhatSurvivesIsTheSame"},
	},
	{
		name: "expired values are served without a limit while they are reloaded",
		file: "cache/cache.go", old: "e == nil || !e.revalidates(item, now) {", new: "e == nil {",
		pkg: engine, red: []string{"TestNothingIsAnsweredAfterItsWindow"},
	},
	{
		name: "audits do not repeat loads without a viewer",
		file: "cache/audit.go", old: "a.Anonymous(r); apart {", new: "a.Anonymous(r); apart && false {",
		pkg: engine, red: []string{"TestAuditsOfOtherViewers"},
	},
	{
		name: "match is ignored",
		file: "cache/outbox/rows.go", old: "	base := g.set.base(g.table, ordered)\n", new: "	base := cache.AnyRow(g.table)\n",
		pkg: rows, red: []string{"TestRowTagsNameWhatChanged"},
	},
	{
		name: "the old row is ignored",
		file: "cache/outbox/rows.go", old: "	if r.Was != nil {\n		s.all(u, t.name, was)\n	}\n", new: "",
		pkg: rows, red: []string{"TestRowTagsNameWhatChanged"},
	},
	{
		name: "the new row is ignored",
		file: "cache/outbox/rows.go", old: "	if r.Is != nil {\n		s.all(u, t.name, is)\n	}\n", new: "",
		pkg: rows, red: []string{"TestRowTagsNameWhatChanged"},
	},
	{
		name: "nullable arguments of a kind are all conditions or none",
		file: "cache/gqlcache/fieldstored.go", old: "			choices = append(choices, without...)\n", new: "			choices = append(choices, without[:1]...)\n",
		pkg: fields, red: []string{"TestKindsOfArgumentsThatMayBeNull"},
	},
	{
		name: "a bar applies to one process only",
		file: "cache/gqlcache/fieldaudit.go", old: "{call.tag, call.tag + barSuffix}", new: "{call.tag}",
		pkg: fields, red: []string{"TestBarsReachOtherProcesses"},
	},
	{
		name: "the column condition is inverted",
		file: "cache/outbox/rows.go", old: "		return slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(changed, c) })\n",
		new: "		return !slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(changed, c) })\n",
		pkg: rows, red: []string{"TestRowTagsNameWhatChanged"},
	},
}
