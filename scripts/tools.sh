#!/usr/bin/env bash
# tools.sh COMMAND... runs a command where all programs that the tests need are
# installed: here if they are, else in a container if a Docker engine runs, else
# here after installing them from the distribution's packages.
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

# The packages, by their Debian names, that this machine lacks.
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

# A distribution may have a Node older than the playground's build accepts; a
# newer one comes from npm then, into this folder and for this project alone.
update_node() {
	if node -e 'const [a, b] = process.versions.node.split(".").map(Number)
		process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)'; then
		return
	fi
	echo "tools: Node $(node --version) is too old for the playground: installing another one in .tools"
	npm install --prefix .tools --no-save --no-audit --no-fund node@22 npm@10
	hash -r
}

# The sources are copied, not mounted: the engine may be on another machine,
# and nothing in them then comes to belong to the container's user.
run_in_container() {
	local image container
	image=$(docker build --quiet --target tools - <Dockerfile) || return
	container=$(docker create --shm-size 6g --env CI "$image" "$@") || return
	# shellcheck disable=SC2064 # the name is wanted as it is now
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
		echo "tools: install these packages, or become root, or start a Docker engine: $*" >&2
		exit 1
	fi
	if ! have apt-get; then
		echo "tools: there is no apt-get: install what these Debian packages hold, or start a Docker engine: $*" >&2
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
		echo "tools: a Docker engine runs: running in a container that has them: $*"
		run_in_container "$@" || echo "tools: the container's image could not be built" >&2
	fi
	# The last one is not missed by the tests, but makes the check of scripts possible.
	# shellcheck disable=SC2086 # one argument for each package
	install $packages shellcheck
fi
update_node
exec "$@"
