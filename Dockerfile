# The flag server. Build it with `docker build -t tidegate .` and start it with
# `docker run --init -p 8080:8080 -v tidegate-data:/data tidegate`. It keeps its data in /data.

# Pinned by digest. To move to a newer image, change the tag and the digest together.
ARG PYTHON=3.13.13-slim-bookworm@sha256:355bfa66770995d7e9a0da4b3473b44d0cb451f6b56f5615ad9c39e3c4eca03f

FROM python:${PYTHON} AS build
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY requirements requirements
COPY client_sdk client_sdk
COPY server server
RUN python -m venv /opt/tidegate \
    && /opt/tidegate/bin/pip install --no-cache-dir --require-hashes -r requirements/server.txt \
    && python -m venv /wheels/venv \
    && /wheels/venv/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && /wheels/venv/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/tidegate/bin/pip install --no-cache-dir --no-deps /wheels/tidegate-*.whl

FROM python:${PYTHON}
RUN groupadd --system --gid 10001 tidegate \
    && useradd --system --uid 10001 --gid tidegate --home-dir /data --no-create-home tidegate \
    && install --directory --owner=tidegate --group=tidegate --mode=0700 /data
COPY --from=build /opt/tidegate /opt/tidegate
ENV PATH=/opt/tidegate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TIDEGATE_HOST=0.0.0.0 \
    TIDEGATE_PORT=8080 \
    TIDEGATE_DATA_DIR=/data \
    TIDEGATE_URL=http://127.0.0.1:8080
# A numeric user id lets an orchestrator verify that the user is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['TIDEGATE_PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["tidegate", "serve"]
