#!/bin/sh
# Runs before everything else in docker-compose.yml: makes passwords and the settings of Redis where there are none yet,
# and copies the relay's password to where the worker, which is nobody on the host, can read it.
set -eu
umask 077
cd /secrets

redis=999    # the user of the redis service
worker=65532 # the user of the image

# put NAME GROUP writes standard input to a file that only the group reads. It appears whole or not at all.
put() {
	cat >"$1.new"
	chgrp "$2" "$1.new"
	chmod 440 "$1.new"
	mv -f "$1.new" "$1"
}

# random prints 192 random bits in hexadecimal, which needs no quoting in a URL or a configuration file.
random() {
	head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
	echo
}

[ -s redis-password ] || random | put redis-password root
[ -s admin-password ] || random | put admin-password "$worker"
[ -s redis-url ] || echo "redis://:$(cat redis-password)@redis:6379/0" | put redis-url "$worker"
# A mail that the queue has taken is never lost: hence every write is on the disk before it is confirmed, and nothing is
# dropped when memory runs short.
[ -s redis.conf ] || put redis.conf "$redis" <<END
dir /data
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
requirepass $(cat redis-password)
END
chown "$redis:$redis" /data

# Every time, so that a new password counts from the next start.
put relay-password "$worker" </run/secrets/relay-password
sync
