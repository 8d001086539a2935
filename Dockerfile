# Three stages: the page (Node), the virtual environment (pip), and what runs. Every step is one
# that a test also runs on a plain machine (tests/test_dockerfile.py), for the image itself can
# only be built where there is a Docker engine.

FROM node:22-bookworm-slim AS page
WORKDIR /src
COPY client_sdk/package.json client_sdk/package-lock.json client_sdk/.npmrc client_sdk/
COPY client_sdk/browser/package.json client_sdk/browser/
COPY client_sdk/classroom/package.json client_sdk/classroom/
RUN cd client_sdk && PUPPETEER_SKIP_DOWNLOAD=1 npm ci --no-fund --no-audit --loglevel=error
COPY client_sdk/browser client_sdk/browser
COPY client_sdk/classroom client_sdk/classroom
RUN npm --prefix client_sdk run --silent build

FROM python:3.13-slim-bookworm AS venv
WORKDIR /src
RUN python -m venv /opt/passerelle
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/passerelle/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md ./
COPY server server
COPY rooms rooms
COPY signaling signaling
COPY --from=page /src/server/static server/static
RUN /opt/passerelle/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps .

FROM python:3.13-slim-bookworm
# The image comes without bytecode of Python's own library, and its user could keep none: each process would compile it.
RUN python -m compileall -q /usr/local/lib/python3.13
RUN useradd --system --uid 10001 --create-home passerelle && mkdir /data && chown passerelle /data
COPY --from=venv /opt/passerelle /opt/passerelle
USER passerelle
ENV PASSERELLE_HOST=0.0.0.0 PASSERELLE_PORT=8080 PASSERELLE_DATA=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["/opt/passerelle/bin/python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PASSERELLE_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["/opt/passerelle/bin/passerelle"]
CMD ["run"]
