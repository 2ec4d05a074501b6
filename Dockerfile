# The service without torch, as a user who is not root.
#   docker build -t dongil .                        CPU
#   docker build -t dongil:gpu --target gpu .       NVIDIA GPU
#   docker run -p 8000:8000 -v dongil:/data -e DONGIL_API_KEY=a-long-secret-of-yours dongil
# Inside a container the service must listen on every address, and it does so only with an API key. The catalogue
# stands in /data, a volume. compose.yaml runs the service and Prometheus beside it.

FROM python:3.11-slim AS wheel
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir "build>=1.2" && python -m build --wheel --outdir /wheels

FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 AS gpu
RUN apt-get update && apt-get install --no-install-recommends --yes python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/dongil && useradd --create-home --uid 10001 dongil && install --directory --owner=dongil --group=dongil /data
COPY --from=wheel /wheels /wheels
RUN /opt/dongil/bin/pip install --no-cache-dir "$(ls /wheels/*.whl)[gpu]"
ENV PATH=/opt/dongil/bin:$PATH DONGIL_HOST=0.0.0.0 DONGIL_PORT=8000 DONGIL_DATA=/data DONGIL_LOG_FORMAT=json
USER dongil
WORKDIR /home/dongil
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# That it lives, not that it is ready: a start that encodes a large catalogue takes its time. /readyz tells the rest.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['DONGIL_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["dongil"]
CMD ["serve"]

FROM python:3.11-slim AS cpu
RUN useradd --create-home --uid 10001 dongil && install --directory --owner=dongil --group=dongil /data
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --constraint /constraints.txt "$(ls /wheels/*.whl)[cpu]" && rm -rf /wheels
ENV DONGIL_HOST=0.0.0.0 DONGIL_PORT=8000 DONGIL_DATA=/data DONGIL_LOG_FORMAT=json
USER dongil
WORKDIR /home/dongil
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# That it lives, not that it is ready: a start that encodes a large catalogue takes its time. /readyz tells the rest.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['DONGIL_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["dongil"]
CMD ["serve"]
