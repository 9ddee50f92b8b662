# The image of the gateway is built in three steps, the last of which is what
# runs. The first one, tools, is what `make test` runs in on a machine that lacks
# the tests' programs: docker build --target tools.

FROM golang:1.26-trixie AS tools
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        chromium haproxy make nodejs npm pgbouncer postgresql prometheus redis-server shellcheck \
    && rm -rf /var/lib/apt/lists/* \
    # The sources are copied in and belong to somebody else, which git distrusts.
    && git config --system --add safe.directory '*'
WORKDIR /src

FROM node:22-slim AS playground
WORKDIR /playground
COPY playground/package.json playground/package-lock.json playground/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY playground ./
RUN npm run build

FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=playground /playground/dist playground/dist
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /fieldcache .

FROM alpine:3.22
COPY --from=build /fieldcache /usr/local/bin/fieldcache
# A user without a name, and a folder of its own for the embedded database.
RUN mkdir /data && chown 65532:65532 /data
USER 65532:65532
WORKDIR /data
# The default address would be reached from inside the container only. On this one
# the server starts only when it is told how to check tokens.
ENV LISTEN_ADDR=0.0.0.0:8080
EXPOSE 8080
# Asks the default ADMIN_ADDR, which need not be reachable from outside for this.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD wget -q -O /dev/null http://127.0.0.1:8081/readyz
ENTRYPOINT ["fieldcache"]
