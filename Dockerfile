# The image of mcpd: one static binary, the public CAs, and nothing else.
#
#   docker build -t mcpd:dev .        or, where there is neither Docker nor a registry: e2e/images
#
# amd64 is what the project builds and proves. arm64 is built the same way on a machine or under an
# emulation of that architecture; other architectures are refused.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
# `quick` compiles in a third of the time, for trying things out.
ARG PROFILE=release
# Set by the builder for the platform that is asked for.
ARG TARGETARCH
# Static, so that the image needs no C library; a target of its own in target-triple, so that procedural macros
# of the build itself are not.
ENV RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols"
RUN case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
        amd64) echo x86_64-unknown-linux-gnu ;; \
        arm64) echo aarch64-unknown-linux-gnu ;; \
        *) echo "there is no image for ${TARGETARCH}" >&2; exit 1 ;; \
    esac > target-triple

# Dependencies first: this layer lasts until a manifest or one of the small crates changes.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY benches/figures/Cargo.toml benches/figures/
COPY e2e/load/Cargo.toml e2e/load/
RUN mkdir -p src benches/figures/src e2e/load/src \
    && touch src/lib.rs \
    && for crate in . benches/figures e2e/load; do echo 'fn main() {}' > "$crate/src/main.rs"; done \
    && cargo build --locked --profile "$PROFILE" --target "$(cat target-triple)" --bin mcpd

COPY src src
# Cargo goes by the time of a file, and these are older than the stand-ins above.
RUN touch src/lib.rs src/main.rs \
    && cargo build --locked --profile "$PROFILE" --target "$(cat target-triple)" --bin mcpd \
    && cp "target/$(cat target-triple)/$PROFILE/mcpd" /mcpd

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mcpd" \
      org.opencontainers.image.description="A Kubernetes-native server for MCP, the Message Communication Protocol" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/mcpd/mcpd" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /mcpd /mcpd
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/mcpd"]
# Left to itself a server listens on loopback, which in a container is nobody.
CMD ["serve", "--listen", "0.0.0.0:8080"]
