#!/bin/sh
# Makes the pictures of README.md from the real thing: starts worker dev, sends a code, and takes
# screenshots of the inbox and of the mail. "make pictures" installs what it needs and runs it.
set -eu
cd "$(dirname "$0")/../.."
out=$PWD/docs/img
dir=$(mktemp -d)
dev=
stop() {
	[ -z "$dev" ] || kill "$dev" 2>/dev/null || true
	[ -z "$dev" ] || wait "$dev" || true
	rm -rf "$dir"
}
trap stop EXIT

go build -o "$dir" ./cmd/worker ./cmd/enqueue
any=127.0.0.1:0
TZ=UTC "$dir/worker" dev --redis-addr $any --smtps-addr $any --submission-addr $any --inbox-addr $any \
	--admin-addr $any >"$dir/dev.out" &
dev=$!
tries=0
until grep -q '^Ctrl-C' "$dir/dev.out"; do
	tries=$((tries + 1))
	[ $tries -lt 60 ] || { echo "worker dev did not start" >&2; exit 1; }
	sleep 1
done
inbox=$(sed -n 's/^Inbox *//p' "$dir/dev.out")
redis=$(sed -n 's/^Redis *//p' "$dir/dev.out")
"$dir/enqueue" code alice@example.com --purpose sign-in --var name=Alice --redis "$redis" --wait
id=$(curl -fsS "$inbox/api/v1/message/latest" | sed -n 's/.*"ID":"\([^"]*\)".*/\1/p')
curl -fsS "$inbox/mail/$id/html" >"$dir/mail.html"
cp "$out/scene.html" "$dir/scene.html"

# shot SCHEME WIDTH,HEIGHT URL FILE
shot() {
	preferred=1
	[ "$1" = light ] || preferred=0
	# A look that does not depend on the fonts that a machine happens to prefer.
	FONTCONFIG_FILE=$out/fonts.conf chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
		--disable-background-networking --disable-component-update --disable-sync --user-data-dir="$dir/profile" \
		--allow-file-access-from-files --hide-scrollbars --force-device-scale-factor=2 --window-size="$2" --virtual-time-budget=4000 \
		--blink-settings=preferredColorScheme=$preferred --screenshot="$4" "$3" >"$dir/chromium.log" 2>&1 ||
		{ cat "$dir/chromium.log" >&2; exit 1; }
}
for scheme in light dark; do
	shot $scheme 900,820 "$inbox/mail/$id" "$dir/inbox.png"
	shot $scheme 1000,720 "file://$dir/scene.html" "$dir/scene.png"
	convert "$dir/scene.png" -crop 2000x1240+0+0 +repage "$dir/cropped.png"
	pngquant --force --strip --speed 1 128 --output "$out/mail-and-inbox-$scheme.png" "$dir/cropped.png"
done
ls -l "$out"/*.png
