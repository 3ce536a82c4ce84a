# The API in a container: docker build -t manifold-ocr . ; see docs/serving.md for how to run it.
FROM python:3.11-slim AS build
ENV UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv /opt/venv
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
# Where wheels come from a folder or mirror: --build-arg TORCH="--find-links FOLDER"
ARG TORCH="--torch-backend cpu"
RUN VIRTUAL_ENV=/opt/venv uv pip sync --no-cache $TORCH requirements.lock
COPY src ./src
RUN VIRTUAL_ENV=/opt/venv uv pip install --no-cache --no-deps .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 ocr && mkdir /data && chown ocr /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/ocr
VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/api/health/ready', timeout=5)"]
# keys.json comes from `manifold-ocr serve --keys keys.json --add-key NAME`: mount its folder at /data
# and run with --user of its owner.
ENTRYPOINT ["manifold-ocr", "serve", "--host", "0.0.0.0", "--data", "/data/jobs", "--keys", "/data/keys.json"]
