# The base needs Debian's tools and Python 3.11 or newer with venv.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
# E.g. --no-index --find-links wheels, where no package index can be reached.
ARG PIP_OPTIONS=""
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/cortexql \
    && /opt/cortexql/bin/pip install --no-cache-dir --disable-pip-version-check ${PIP_OPTIONS} --constraint constraints.txt .

FROM ${BASE} AS cortexql
COPY --from=build /opt/cortexql /opt/cortexql
RUN /usr/sbin/useradd --uid 10001 --user-group --home-dir /data --create-home --shell /usr/sbin/nologin cortexql
ENV PATH=/opt/cortexql/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    CORTEXQL_DATA_DIR=/data
USER 10001
VOLUME /data
WORKDIR /data
EXPOSE 9001
# By the server's own certificate, which is not for this address, or without one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-c", \
    "import ssl, urllib.request as r; from cortexql.settings import Settings; \
s = 'https' if Settings().tls_certificate else 'http'; \
r.urlopen(s + '://127.0.0.1:9001/readyz', timeout=4, context=ssl._create_unverified_context())"]
ENTRYPOINT ["cortexql"]
CMD ["up", "--host", "0.0.0.0"]

# Everything in one privileged container, the Docker engine too.
FROM cortexql AS with-engine
USER root
RUN command -v dockerd || (apt-get update \
    && apt-get install --yes --no-install-recommends docker.io iptables \
    && rm -rf /var/lib/apt/lists/*)
ENV PATH=/opt/cortexql/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
VOLUME /var/lib/docker
COPY deploy/with-engine /usr/local/bin/with-engine
ENTRYPOINT ["with-engine"]
CMD ["up", "--host", "0.0.0.0"]

# The last is the default.
FROM cortexql
