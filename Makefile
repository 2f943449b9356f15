# make test   everything that has to hold, against a real redis-server and a real Postfix
# make chaos  kills, outages and faults at their full size, some 35 minutes; prints the tables of BENCHMARKS.md
# make build  bin/worker and bin/enqueue
# make bench  how close to its limits a worker comes, as one table; needs redis-server, takes some 8 minutes

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES = ca-certificates gcc libc6-dev redis-server postfix sasl2-bin libsasl2-modules zbar-tools oathtool
PROGRAMS = gcc redis-server postfix saslpasswd2 zbarimg oathtool

.PHONY: test chaos bench build packages

test: packages
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -race -timeout 15m ./...

chaos: packages
	CHAOS=full go test -count=1 -timeout 3h -v -run TestChaos ./internal/chaos

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/ ./cmd/...

# The lines that the table is made of go into bench.txt, for benchstat.
BENCH = go test -run ^$$ -benchtime 1x -timeout 20m -bench
bench:
	@( $(BENCH) 'Mails|Verify|Idle|Memory' -count 5 ./internal/bench; \
	$(BENCH) Growth ./internal/bench; \
	$(BENCH) RelayFarAway -count 5 ./internal/submission ) >bench.txt; \
	go run ./internal/bench/table <bench.txt

# The programs that the tests talk to. Root on Debian gets them; elsewhere the tests that need one say so and are
# skipped, or fail where CI=true.
packages:
	@missing=; for p in $(PROGRAMS); do PATH=$$PATH:/usr/sbin command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing what the tests need:$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	elif [ -n "$$missing" ]; then echo "not installed, so their tests are skipped:$$missing"; fi
