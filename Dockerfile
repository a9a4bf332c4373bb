# The page of brainldm, on the CPU, for a user who is not root; heads stay in the volume:
#   docker build --tag brainldm .
#   docker run --rm --publish 127.0.0.1:8765:8765 --volume heads:/heads brainldm
# It prints an address with a token, which every request has to bring.
FROM python:3.12-slim
RUN pip install --no-cache-dir uv
RUN --mount=type=bind,target=/source,rw \
    UV_TORCH_BACKEND=cpu uv pip install --system --no-cache "/source[serve,prepare]"
RUN useradd --create-home brainldm && install --directory --owner brainldm /heads
USER brainldm
VOLUME /heads
EXPOSE 8765
ENTRYPOINT ["brainldm"]
CMD ["serve", "--host", "0.0.0.0", "--no-browser", "--out", "/heads"]
