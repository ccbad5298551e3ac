# Expunge in a container. For processors:
#   docker build -t expunge .
# For NVIDIA GPUs, with the wheels of the CUDA version that the driver supports:
#   docker build -t expunge --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# Runs are written to the folder that is mounted, as the user who starts it:
#   docker run --rm -v "$PWD":/data --user "$(id -u):$(id -g)" expunge forget "Harry Potter" --out runs/hp
#   docker run --rm --gpus all ...
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=parquet
RUN python -m venv /opt/expunge
ENV PATH=/opt/expunge/bin:$PATH PIP_NO_CACHE_DIR=1
RUN pip install --quiet --index-url "$TORCH_INDEX" "$TORCH"
COPY . /source
RUN pip install --quiet "/source[$EXTRAS]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/expunge /opt/expunge
# Starter models, and what the hub sends, are written below HOME; any user may.
ENV PATH=/opt/expunge/bin:$PATH HOME=/data/.home
RUN mkdir -p /data && chmod 1777 /data && expunge --version
USER nobody
WORKDIR /data
ENTRYPOINT ["expunge"]
CMD ["--help"]
