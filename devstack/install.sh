#!/usr/bin/env bash
# Makes sure that Postgres and Redis are installed and, with the argument "race",
# the C compiler that Go's race detector links with. As root on a machine with
# apt-get it installs what is missing; elsewhere it says the one line to run and
# fails. devstack/find.go looks in the same places when the servers are started.
set -euo pipefail

have_postgres() {
	local dir
	for dir in "${PG_BIN:-/nonexistent}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
		/opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /home/linuxbrew/.linuxbrew/opt/postgresql*/bin \
		/Applications/Postgres.app/Contents/Versions/*/bin; do
		if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ]; then return 0; fi
	done
	command -v postgres >/dev/null && command -v initdb >/dev/null
}
have_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null; }
# Go asks for gcc on Linux and clang on macOS unless CC says otherwise, and the
# compiler is of no use without the C library's headers.
have_compiler() {
	local cc=gcc
	if [ "$(uname -s)" = Darwin ]; then cc=clang; fi
	${CC:-$cc} -E -x c - <<<'#include <stdlib.h>' >/dev/null 2>&1
}

apt=() brew=() missing=()
need() { # what, Debian package(s), Homebrew package
	missing+=("$1")
	read -ra debs <<<"$2"
	apt+=("${debs[@]}")
	if [ -n "$3" ]; then brew+=("$3"); fi
}
have_postgres || need PostgreSQL postgresql postgresql@17
have_redis || need Redis redis-server redis
if [ "${1:-}" = race ]; then have_compiler || need "a C compiler (for the race detector)" "gcc libc6-dev" ""; fi
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

what=$(printf '%s, ' "${missing[@]}")
what=${what%, }
line="sudo apt-get update && sudo apt-get install -y --no-install-recommends ${apt[*]}"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
	echo "Installing $what: apt-get install ${apt[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >&2
	apt-get install -y -q --no-install-recommends "${apt[@]}" >&2
	exit 0
fi

echo "Not installed here: $what. Run this line, then make again:" >&2
if command -v apt-get >/dev/null; then
	echo "    $line" >&2
elif [ "$(uname -s)" = Darwin ] || command -v brew >/dev/null; then
	if [ ${#brew[@]} -gt 0 ]; then echo "    brew install ${brew[*]}" >&2; else echo "    xcode-select --install" >&2; fi
else
	echo "    $line   # Debian, Ubuntu; elsewhere the packages of the same meaning" >&2
fi
exit 1
