# The images of Ringfort, for those who build with docker or buildah. `cargo xtask image` makes much the same without a daemon and
# without a base image.
#
#   docker build --target ringfort --tag ringfort:0.1.0 .
#   docker build --target ringfort-bench --tag ringfort-bench:0.1.0 .

# Rust and a C compiler; its glibc must not be newer than that of BASE.
ARG BUILDER=docker.io/library/rust:1.95-slim-bookworm
# glibc, libgcc and the certificates that the system trusts; no shell is needed.
ARG BASE=gcr.io/distroless/cc-debian12:latest

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package ringfort --package ringfort-bench \
    && mkdir -p /out/data \
    && for program in ringfort ringfort-bench; do strip --strip-all -o "/out/$program" "target/release/$program"; done

FROM ${BASE} AS ringfort-bench
COPY --from=build /out/ringfort-bench /ringfort-bench
USER 65532:65532
HEALTHCHECK NONE
ENTRYPOINT ["/ringfort-bench"]

FROM ${BASE} AS ringfort
COPY --from=build /out/ringfort /ringfort
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/ringfort
USER 65532:65532
VOLUME /var/lib/ringfort
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/ringfort", "healthcheck"]
ENTRYPOINT ["/ringfort"]
CMD ["serve", "--config", "/etc/ringfort/ringfort.toml"]
