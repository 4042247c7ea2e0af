# Build it from the wheel alone; pin the base image by its digest where a registry is at hand:
#   python -m hatchling build -t wheel
#   docker build --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:... -t tailrace .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY constraints.txt dist/*.whl ./
# The tested versions, without their hashes: pip cannot check those of a local wheel.
RUN sed -e 's/ \\$//' -e '/^ *--hash/d' constraints.txt > versions.txt \
  && python -m venv /opt/tailrace \
  && /opt/tailrace/bin/pip install --no-cache-dir --only-binary=:all: --constraint versions.txt \
    "$(ls /build/*.whl)[alerts,openlineage,postgres,state]"

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/tailrace /opt/tailrace
RUN useradd --uid 10001 --create-home tailrace && mkdir /project && chown tailrace /project
ENV PATH=/opt/tailrace/bin:$PATH \
  PYTHONUNBUFFERED=1
USER 10001
# Mount the project here; .dlt/secrets.toml is better given as environment variables.
WORKDIR /project
ENTRYPOINT ["tailrace"]
CMD ["--help"]
