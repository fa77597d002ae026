# singaudit with a CPU build of torch and the PDF libraries, run by a user without rights:
#   docker build -t singaudit .
#   docker run --rm --network none -v "$PWD:/work" --user "$(id -u):$(id -g)" singaudit run model.onnx --images photos/
FROM python:3.12-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY singaudit singaudit
COPY templates templates
# uv picks torch's builds for the processor alone: the usual ones bring several GB for cards that are not here.
RUN pip install --no-cache-dir "uv>=0.8,<1" \
 && uv pip install --system --no-cache --torch-backend=cpu --constraints constraints.txt ".[cpu]" \
 && pip uninstall --yes uv \
 && singaudit --version

ENV HF_HUB_DISABLE_TELEMETRY=1 \
    SINGAUDIT_CACHE=/tmp/singaudit-cache \
    HOME=/tmp
RUN useradd --create-home --uid 10001 audit
USER 10001
WORKDIR /work
ENTRYPOINT ["singaudit"]
CMD ["--help"]
