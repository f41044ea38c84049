# An image with heaplay only, for other images:
#
#     COPY --from=heaplay /usr/local/bin/heaplay /usr/local/bin/
#
# and by itself: `docker run --rm -v "$PWD:/traces" heaplay run /traces/app.trace`. The program is that
# of the wheel: scripts/wheel x86_64 puts it into target/wheels, for glibc 2.17 and later.
FROM debian:bookworm-slim AS wheel
RUN apt-get update && apt-get install --yes --no-install-recommends unzip
COPY target/wheels/*-manylinux*_x86_64.whl /wheel/
RUN unzip -q /wheel/*.whl 'heaplay-*.data/scripts/heaplay' -d /wheel \
    && install -m 755 /wheel/heaplay-*.data/scripts/heaplay /usr/local/bin/heaplay

FROM debian:bookworm-slim
COPY --from=wheel /usr/local/bin/heaplay /usr/local/bin/heaplay
WORKDIR /traces
ENTRYPOINT ["heaplay"]
CMD ["--help"]
