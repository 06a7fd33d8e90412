# Two images: `web` has no torch, `worker` has it. docker-compose.yml and deploy/kubernetes have
# their commands. BASE may name its digest: python:3.11-slim-bookworm@sha256:…
#
# PyPI's torch for x86-64 carries CUDA, so that one worker image serves CPUs and GPUs.

ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PATH=/opt/lab/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 lab \
    && useradd --uid 10001 --gid lab --no-create-home --shell /usr/sbin/nologin lab \
    && install -d -o lab -g lab -m 0700 /data /run/lab
WORKDIR /srv/lab

# Packages first: code changes more often. The locks are complete, so pip need not resolve anything.

FROM base AS web-packages
COPY requirements/web.txt /tmp/
RUN python -m venv /opt/lab \
    && /opt/lab/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/web.txt

FROM base AS worker-packages
COPY requirements/lab.txt /tmp/
RUN python -m venv /opt/lab \
    && /opt/lab/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/lab.txt

FROM base AS web
COPY --from=web-packages /opt/lab /opt/lab
COPY LICENSE NOTICE ./
COPY app app
COPY docs docs
COPY confinement.py devices.py imagefile.py journal.py ./
COPY models models
COPY static static
COPY templates templates
USER 10001:10001

FROM base AS worker
COPY --from=worker-packages /opt/lab /opt/lab
COPY LICENSE NOTICE ./
COPY app app
COPY confinement.py devices.py imagefile.py journal.py ./
COPY models models
COPY worker worker
USER 10001:10001
