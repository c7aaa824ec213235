# Builds the static binary and an image that holds nothing else. The result is at once an image that
# can be run and one that others copy /doorward from.
FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
COPY benches benches
# A named target keeps build scripts and proc macros, which cannot be static, out of the flags.
RUN set -e; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' \
    cargo build --locked --profile dist --target "$target"; \
    cp "target/$target/dist/doorward" /doorward

FROM scratch
COPY --from=build /doorward /doorward
ENTRYPOINT ["/doorward"]
CMD ["serve", "--help"]
