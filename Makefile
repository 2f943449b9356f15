# make quick     vet, and the tests that need no server: under 20 seconds once the build cache is warm
# make test      every test with the race detector, with a real redis-server and a real Postfix
# make chaos     kills, outages and faults at their full size, some 35 minutes; prints the tables of
#                BENCHMARKS.md
# make bench     how close to its limits a worker comes, as one table; needs redis-server, some 8 minutes
# make hostile   odd recipients beside honest codes, for a minute, with a real Postfix
# make fuzz      the readers of replies, 5 minutes each
# make build     bin/worker and bin/enqueue
# make pictures  the pictures of README.md, from a running worker dev; needs Debian and root, or the
#                programs that it names

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES = ca-certificates gcc libc6-dev redis-server postfix sasl2-bin libsasl2-modules zbar-tools oathtool python3
PROGRAMS = gcc redis-server postfix saslpasswd2 zbarimg oathtool python3

.PHONY: quick test chaos hostile fuzz bench build pictures packages picture-packages

# The packages whose tests start no server. TestMakeQuick_NamesEveryPackageWithoutServers finds one that
# is missing here. The root has other tests too; those below read files only.
QUICK = ./tasks ./internal/config ./internal/credential ./internal/keyring ./internal/lp ./internal/mailaddr \
	./internal/message ./internal/otpauth ./internal/secret ./internal/visible

quick:
	go vet ./...
	go test -skip AgreesWithZbarimg $(QUICK)
	go test -run '^Test(Docs|Kinds|Layout|API|Packages|MakeQuick)_|^TestImports_RunDown$$' .

test: packages
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -race -timeout 15m ./...

chaos: packages
	CHAOS=full go test -count=1 -timeout 3h -v -run TestChaos ./internal/chaos

hostile: packages
	HOSTILE=1m go test -count=1 -v -run 'TestHostile|TestCorpus_ASender' ./internal/submission

fuzz:
	for f in FuzzReply FuzzVerdict FuzzSaid; do go test -run XXX -fuzz "^$$f$$" -fuzztime 5m ./internal/submission || exit; done

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/ ./cmd/...

# The lines that the table is made of go into bench.txt, for benchstat.
BENCH = go test -run ^$$ -benchtime 1x -timeout 20m -bench
bench:
	@( $(BENCH) 'Mails|Verify|Idle|Memory' -count 5 ./internal/bench; \
	$(BENCH) Growth ./internal/bench; \
	$(BENCH) RelayFarAway -count 5 ./internal/submission ) >bench.txt; \
	go run ./internal/bench/table <bench.txt

pictures: picture-packages
	docs/img/make.sh

PICTURE_PACKAGES = chromium curl fonts-dejavu-core fonts-inter imagemagick pngquant
PICTURE_PROGRAMS = chromium curl convert pngquant
picture-packages:
	@missing=; for p in $(PICTURE_PROGRAMS); do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing for the pictures:$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PICTURE_PACKAGES) >/dev/null; \
	elif [ -n "$$missing" ]; then echo "not installed, and needed for the pictures:$$missing" >&2; exit 1; fi

# The programs that the tests talk to. Root on Debian gets them; elsewhere the tests that need one say so and are
# skipped, or fail where CI=true.
packages:
	@missing=; for p in $(PROGRAMS); do PATH=$$PATH:/usr/sbin command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing what the tests need:$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	elif [ -n "$$missing" ]; then echo "not installed, so their tests are skipped:$$missing"; fi
