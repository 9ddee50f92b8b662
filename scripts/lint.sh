#!/usr/bin/env bash
# Runs all static checks. It continues after a failed check, so that one run
# reports every failure, and says what it could not check.
# shellcheck disable=SC2317,SC2329 # check calls the functions by name
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=0

# check NAME COMMAND... runs the command, and fails the run if the command fails.
check() {
	local name=$1
	shift
	echo "lint: $name"
	if ! "$@"; then
		echo "lint: FAILED: $name" >&2
		failed=1
	fi
}

unchecked() { echo "lint: NOT CHECKED: $*"; }

formatted() {
	local files
	files=$(find . -name '*.go' -not -path '*/node_modules/*' -exec gofmt -l {} +) || return
	if [ -n "$files" ]; then
		printf 'not formatted; run gofmt -w:\n%s\n' "$files"
		return 1
	fi
}

# Go leaves out a file whose name ends like kind_windows_test.go, on other systems without a word. A
# file that is meant for one system says so in a //go:build line.
built() {
	local files
	# shellcheck disable=SC2016 # the template expands $.Dir
	files=$(go list -f '{{range .IgnoredGoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}' ./...) || return
	files=$(grep . <<<"$files" | xargs -r grep -L '^//go:build ')
	if [ -n "$files" ]; then
		printf 'left out of the build because of the name; rename, or add a //go:build line:\n%s\n' "$files"
		return 1
	fi
}

# A vulnerability in a module fails the run. One in the standard library is only
# reported: the remedy is a newer Go on this machine, not a change here.
vulnerabilities() {
	local found
	# Without a connection govulncheck would compile the whole program before it fails.
	if [ -z "${GOVULNDB:-}${HTTPS_PROXY:-}${https_proxy:-}" ] && ! timeout 10 bash -c '</dev/tcp/vuln.go.dev/443' 2>/dev/null; then
		unchecked "vulnerabilities: cannot reach the database of govulncheck"
		return 0
	fi
	if found=$(go tool govulncheck ./... 2>&1); then
		return 0
	fi
	if grep -q 'fetching vulnerabilities' <<<"$found"; then
		unchecked "vulnerabilities: cannot reach the database of govulncheck"
		return 0
	fi
	echo "$found"
	if grep -q '^ *Standard library' <<<"$found" && ! grep -q '^ *Module: ' <<<"$found"; then
		echo "lint: update Go: the vulnerabilities above are in its standard library"
		return 0
	fi
	return 1
}

# Checking compose.yaml needs no Docker engine. Without the compose plugin, the
# library that the plugin is built on checks it.
compose() {
	if docker compose version >/dev/null 2>&1; then
		docker compose config --quiet --no-interpolate
	else
		go run github.com/compose-spec/compose-go/v2/cmd@v2.16.2 -no-interpolation compose.yaml >/dev/null
	fi
}

check 'gofmt' formatted
check 'files that are built' built
check 'go mod tidy' go mod tidy -diff
check 'go mod verify' go mod verify
check 'go vet' go vet ./...
check 'staticcheck' go tool staticcheck ./...
check 'govulncheck' vulnerabilities
if command -v shellcheck >/dev/null; then
	check 'shellcheck' shellcheck scripts/*.sh scripts/rename .ci/run
else
	unchecked 'scripts: shellcheck is not installed'
fi
check 'compose.yaml' compose
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
	check 'Dockerfile' docker build --check .
else
	unchecked 'Dockerfile: no Docker engine is running'
fi
exit "$failed"
