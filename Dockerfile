# The flag server: `docker build -t tidegate .`, then
# `docker run -p 8080:8080 -v tidegate-data:/data tidegate`. Its data are in /data.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY client_sdk client_sdk
COPY server server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/tidegate \
    && /opt/tidegate/bin/pip install --no-cache-dir "$(ls /wheels/tidegate-*.whl)[server]"

FROM python:${PYTHON}-slim
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
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ['TIDEGATE_PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["tidegate", "serve"]
