# docker build -t trephine .                     for CPUs
# docker build -t trephine --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 --build-arg EXTRAS=ray .
# docker run --rm -v /archive:/archive -v /store:/store -v trephine-hub:/hub trephine ingest /archive
# (the hub keeps weights and converted networks; within the store `verify` would find them left behind)
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=cpu,ray
WORKDIR /trephine
COPY pyproject.toml README.md LICENSE cli.py ./
COPY featurestore featurestore
COPY ingest ingest
COPY sql sql
COPY trainer trainer
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
    && pip install --no-cache-dir ".[$EXTRAS]"
ENV TREPHINE_STORE=/store HF_HOME=/hub
ENTRYPOINT ["trephine"]
