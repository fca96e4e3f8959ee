# The three roles, a target each: `docker build --target reducer|combiner|client .`
# A client brings its project's framework: `--build-arg EXAMPLE=mnist-pytorch` installs test/mnist-pytorch/requirements.txt.
# Stages stand in the order that the classic builder needs: each target after what it copies from, torch last.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip works from outside, so that the environment that is copied holds nothing but what runs
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/fedn
ENV PATH=/opt/pip/bin:${PATH}
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# an own index (CPU builds of torch: https://download.pytorch.org/whl/cpu), beside the configured one
ARG PIP_EXTRA_INDEX_URL=
RUN printf '%s\n' \
      'import sys, tomllib' \
      'project = tomllib.load(open("pyproject.toml", "rb"))["project"]' \
      'print(*project["dependencies"], *project["optional-dependencies"][sys.argv[1]], sep="\n")' > needs.py \
    && for role in reducer combiner client; do python needs.py $role > $role.txt; done

FROM tools AS wheel
# for the compiled fold, and only here; without a Debian mirror numpy folds, unless FEDN_REQUIRE_KERNEL=1
ARG FEDN_REQUIRE_KERNEL=
RUN (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev) || echo "no compiler" >&2; \
    rm -rf /var/lib/apt/lists/*
COPY README.md LICENSE hatch_build.py ./
COPY fedn/ fedn/
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="FEDn" \
      org.opencontainers.image.description="An open federated-learning network that data owners can run for real" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fedn \
    && install -d -o fedn -g fedn -m 0750 /var/lib/fedn
ENV PATH=/opt/fedn/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/fedn
STOPSIGNAL SIGTERM
ENTRYPOINT ["fedn"]

FROM tools AS combiner-environment
RUN pip --python /opt/fedn install -c constraints.txt -r combiner.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/fedn install --no-index --no-deps /wheels/*.whl

FROM runtime AS combiner
COPY --from=combiner-environment /opt/fedn /opt/fedn
ENV FEDN_COMBINER_HOST=0.0.0.0 FEDN_COMBINER_PORT=8091 FEDN_COMBINER_DIR=/var/lib/fedn \
    FEDN_COMBINER_READY_FILE=/tmp/ready FEDN_COMBINER_DRAIN_S=20
EXPOSE 8091
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 CMD ["fedn", "health", "combiner"]
CMD ["run", "combiner"]

FROM tools AS reducer-environment
RUN pip --python /opt/fedn install -c constraints.txt -r reducer.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/fedn install --no-index --no-deps /wheels/*.whl

FROM runtime AS reducer
COPY --from=reducer-environment /opt/fedn /opt/fedn
ENV FEDN_REDUCER_HOST=0.0.0.0 FEDN_REDUCER_PORT=8090 FEDN_REDUCER_DIR=/var/lib/fedn
EXPOSE 8090
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 CMD ["fedn", "health", "reducer"]
CMD ["run", "reducer"]

FROM tools AS client-environment
ARG EXAMPLE=digits
# the pattern lets a project do without the file
COPY constraints.txt test/${EXAMPLE}/requirements.tx[t] ./
RUN touch requirements.txt && pip --python /opt/fedn install -c constraints.txt -r client.txt -r requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/fedn install --no-index --no-deps /wheels/*.whl

FROM runtime AS client
COPY --from=client-environment /opt/fedn /opt/fedn
# environments of packages are made on the volume: all clients share it, and nothing can be run from /tmp
ENV FEDN_CLIENT_DIR=/var/lib/fedn FEDN_CLIENT_READY_FILE=/tmp/ready FEDN_CLIENT_ENV_DIR=/var/lib/fedn/envs \
    PIP_NO_CACHE_DIR=1
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --retries=3 CMD ["fedn", "health", "client"]
CMD ["run", "client"]
