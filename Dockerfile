# syntax=docker/dockerfile:1
#
#   docker build -t REGISTRY/chatterbox-voice-worker:VERSION .
#
#   --build-arg BAKE_WEIGHTS=1         put the published weights into the image
#   --build-arg MODEL=chatterbox,turbo of which models; a worker of the image speaks with them;
#                                      name@COMMIT pins a revision
#   --build-arg MODEL_REVISION=COMMIT  which revision of the first to bake, and to look for at the start
#   --secret id=HF_TOKEN,env=HF_TOKEN  the token for that download, where the hub asks for one

# The platform runs amd64 only: said here, so that a build on an ARM laptop does not come out as ARM.
# Slim, because torch's wheels bring CUDA along and a CUDA base image would bring it a second time.
FROM --platform=linux/amd64 python:3.12-slim-bookworm

# Every package in the lock has a wheel, and libsndfile lies in soundfile's; the C compiler is for Triton, which
# builds what starts its kernels. There is no init process: the worker waits for its own processes, these end
# with it, and Python, started by an exec-form CMD, gets the platform's SIGTERM itself.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# Log lines leave at once; what CUDA base images set so that the container runtime lends the GPU; and a
# hub cache that lies outside the home folder, where baked weights are found whoever runs the image.
# HOST: of the HTTP server, which is reached from outside of the container, and so asks for an API_KEY.
ENV PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HOME=/opt/huggingface

# Not on the network volume: workers would share what libraries write into their working directory.
# The worker stays root, because the files on a volume belong to root.
WORKDIR /app

# Compiled to bytecode here, once, and not by every worker that starts.
COPY requirements-uv.txt requirements.txt ./
RUN --mount=type=cache,target=/root/.cache \
    pip install --disable-pip-version-check --root-user-action=ignore -r requirements-uv.txt \
    && UV_LINK_MODE=copy uv pip sync --system --compile-bytecode requirements.txt

# Weights, when wanted: above the code, so that a change of the code does not fetch them again. They are
# found by the worker's own look-up, and so put where it looks first, and packed there into smaller files for a
# faster start; what models share lies there once. The token comes as a build secret and stays in no layer.
ARG BAKE_WEIGHTS=0
ARG MODEL=chatterbox
ARG MODEL_REVISION=main
ENV MODEL=$MODEL \
    MODEL_REVISION=$MODEL_REVISION
COPY errors.py ./
COPY scripts/__init__.py scripts/repack.py scripts/
COPY speech/__init__.py speech/
COPY speech/models/__init__.py speech/models/dimensions.py speech/models/sources.py speech/models/spec.py speech/models/
COPY speech/weights/__init__.py speech/weights/checkpoint.py speech/weights/config.py speech/weights/files.py \
    speech/weights/find.py speech/weights/pack.py speech/weights/
RUN --mount=type=secret,id=HF_TOKEN,required=false \
    if [ "$BAKE_WEIGHTS" = 1 ]; then \
        HF_TOKEN="$(cat /run/secrets/HF_TOKEN 2>/dev/null || true)" python -m scripts.repack \
        && rm -rf "$HF_HOME/xet"; \
    fi

COPY handler.py cancel.py characters.py logs.py settings.py version.py ./
COPY audio/ audio/
COPY delivery/ delivery/
COPY operations/ operations/
COPY serving/ serving/
COPY speech/ speech/
COPY voice_store/ voice_store/

# The kernels of T3's steps for the GPUs that the platform has. A worker that does not find them compiles them
# when it starts, which takes seconds.
ENV TRITON_CACHE_DIR=/opt/triton
RUN python -m speech.t3.compile_kernels

COPY test_input.json ./

CMD ["python", "-u", "handler.py"]
