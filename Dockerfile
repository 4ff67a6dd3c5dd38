# One image for both services: `users-service serve` (the default) and `notifications-service serve`, and their `migrate`
# and `purge`. It has no compiler and runs as nobody in particular.
#
#   docker build -t vibework-services:local .
#
# A package index of one's own: --build-arg PIP_INDEX_URL=…

FROM python:3.13-slim AS build
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_DEFAULT_TIMEOUT=60
RUN python3 -m venv /opt/vibework
WORKDIR /src
# The packages first: they change less often than the code, so their layer is kept.
COPY requirements/server.txt requirements/supply-chain.txt requirements/
RUN /opt/vibework/bin/pip install --quiet --require-hashes --only-binary=:all: -r requirements/server.txt
# What writes the bill of materials, which stays in this stage.
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/pip install --quiet --require-hashes --only-binary=:all: -r requirements/supply-chain.txt
COPY . .
RUN /opt/vibework/bin/pip install --quiet --no-deps --no-build-isolation ./client . \
 && /opt/vibework/bin/pip uninstall --quiet --yes setuptools pip \
 && /opt/tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
      --output-file /opt/vibework/sbom.cdx.json /opt/vibework/bin/python

FROM python:3.13-slim
LABEL org.opencontainers.image.title="vibework-services" \
      org.opencontainers.image.description="Two gRPC services: users on MySQL and notifications on MongoDB"
RUN groupadd --system --gid 10001 vibework \
 && useradd --system --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin vibework \
 && install --directory --owner 10001 --group 10001 --mode 700 /backups
COPY --from=build /opt/vibework /opt/vibework
COPY deploy/image/health /usr/local/bin/health
# What docker-compose.yml runs besides the services, and what it gives to Prometheus and Grafana.
COPY deploy/compose/ deploy/envoy/configure.py /
COPY deploy/prometheus/ /opt/vibework/observability/prometheus/
COPY deploy/grafana/ /opt/vibework/observability/grafana/
ENV PATH=/opt/vibework/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRPC_HOST=:: \
    LOG_FORMAT=json
USER 10001:10001
WORKDIR /
EXPOSE 50051 50052
STOPSIGNAL SIGTERM
# Asks the server for its health, on the port of its metrics. The services report NOT_SERVING while their database is away.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/usr/local/bin/health"]
CMD ["users-service", "serve"]
