#!/usr/bin/env bash
# tools.sh COMMAND... runs a command with all programs that the tests need. If
# some are missing here, it runs the command in a container if a Docker engine is
# running, or else installs the distribution's packages first.
set -euo pipefail

have() { command -v "$1" >/dev/null; }

have_any() {
	local program
	for program; do
		if have "$program"; then return 0; fi
	done
	return 1
}

have_postgres() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

have_browser() {
	have_any chromium chromium-browser google-chrome google-chrome-stable headless-shell chrome ||
		[ -d '/Applications/Google Chrome.app' ]
}

# Prints the missing packages by their Debian names.
missing() {
	have make || echo make
	have_any gcc clang || echo gcc libc6-dev # -race needs a C compiler
	have_postgres || echo postgresql
	have redis-server || echo redis-server
	have haproxy || [ -x /usr/sbin/haproxy ] || echo haproxy
	have pgbouncer || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
	have_browser || echo chromium
	have promtool || echo prometheus
	have node || echo nodejs
	have npm || echo npm
}

# Installs a newer Node from npm, for this project only, if the distribution's is
# too old for the playground's build.
update_node() {
	if node -e 'const [a, b] = process.versions.node.split(".").map(Number)
		process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)'; then
		return
	fi
	echo "tools: Node $(node --version) is too old for the playground; installing a newer one in .tools"
	npm install --prefix .tools --no-save --no-audit --no-fund node@22 npm@10
	hash -r
}

# Copies the sources instead of mounting them: the engine may be on another
# machine, and no file here then gets the container's user as its owner.
run_in_container() {
	local image container
	image=$(docker build --quiet --target tools - <Dockerfile) || return
	container=$(docker create --shm-size 6g --env CI "$image" "$@") || return
	# shellcheck disable=SC2064 # expand the name now
	trap "docker rm --force '$container' >/dev/null" EXIT
	tar -c --exclude node_modules --exclude .tools . | docker cp --quiet - "$container:/src" &&
		docker start --attach "$container" && exit
	exit 1
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
	if [ "$(id -u)" -ne 0 ] && ! { have sudo && sudo -n true 2>/dev/null; }; then
		echo "tools: install these packages, or run as root, or start a Docker engine: $*" >&2
		exit 1
	fi
	if ! have apt-get; then
		echo "tools: no apt-get; install the contents of these Debian packages, or start a Docker engine: $*" >&2
		exit 1
	fi
	echo "tools: installing the distribution's packages: $*"
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

cd "$(dirname "$0")/.."
export PATH="$PWD/.tools/node_modules/.bin:$PATH"
packages=$(missing | xargs)
if [ -n "$packages" ]; then
	echo "tools: missing here: $packages"
	if have docker && docker info >/dev/null 2>&1; then
		echo "tools: running in a Docker container that has them: $*"
		run_in_container "$@" || echo "tools: cannot build the container's image" >&2
	fi
	# Only scripts/lint.sh needs shellcheck; the tests do not.
	# shellcheck disable=SC2086 # one argument for each package
	install $packages shellcheck
fi
update_node
exec "$@"
