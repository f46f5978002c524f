# CPU:   docker build -t ser-fusion .
# CUDA:  docker build -t ser-fusion --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
# Not built yet: no docker daemon and no GPU were at hand. tests/test_wheel.py builds the package from what is copied here.
# Clusters convert it: apptainer build ser-fusion.sif docker-daemon://ser-fusion:latest
ARG BASE=ubuntu:24.04
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/ser
ENV PATH=/opt/ser/bin:$PATH HF_HUB_DISABLE_TELEMETRY=1
COPY pyproject.toml README.md LICENSE /src/
COPY extract /src/extract
COPY fusion /src/fusion
COPY data /src/data
COPY cache /src/cache
RUN pip install --no-cache-dir "/src[video,tune,live,onnx]" && rm -rf /src
RUN useradd --create-home ser
USER ser
WORKDIR /home/ser
ENTRYPOINT []
CMD ["ser", "--help"]
