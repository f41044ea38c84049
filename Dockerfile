# An image with heaplay only, for other images with glibc 2.17 or later:
#
#     COPY --from=heaplay /usr/local/bin/heaplay /usr/local/bin/
#
# and by itself: `docker run --rm -v "$PWD:/traces" heaplay run /traces/app.trace`. The program is that
# of the wheel for the processor of the image. `scripts/wheel x86_64` (or aarch64) puts it into
# target/wheels. Where wheels of several versions lie there, the newest is taken.
FROM debian:bookworm-slim AS wheel
RUN apt-get update && apt-get install --yes --no-install-recommends unzip
COPY target/wheels/*-manylinux*.whl /wheel/
RUN wheel=$(find /wheel -name "*_$(uname -m).whl" | sort -V | tail -n 1) \
    && if [ -z "$wheel" ]; then echo "no wheel for $(uname -m) in target/wheels" >&2; exit 1; fi \
    && unzip -qj "$wheel" 'heaplay-*.data/scripts/heaplay' -d /wheel \
    && install -m 755 /wheel/heaplay /usr/local/bin/heaplay

FROM debian:bookworm-slim
COPY --from=wheel /usr/local/bin/heaplay /usr/local/bin/heaplay
WORKDIR /traces
ENTRYPOINT ["heaplay"]
CMD ["--help"]
