# One image for both programs: `apps/center/src/main.ts` (the default) and `apps/node/src/main.ts`.
FROM node:24-slim
ENV NODE_ENV=production UV_THREADPOOL_SIZE=8
# The node reads qcow2, vmdk, vhd and vhdx images through it.
RUN apt-get update \
  && apt-get install --no-install-recommends --yes qemu-utils \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY apps ./apps
COPY libs ./libs
COPY migrations ./migrations
# Of bench only its manifest: npm compares every workspace with the lock file.
COPY bench/package.json ./bench/package.json
RUN npm ci --omit=dev --no-audit --no-fund \
  && npm cache clean --force \
  && mkdir -p /data/import && chown -R node:node /data
USER node
VOLUME /data
ENV OPENSERVICE_DATA_DIR=/data OPENSERVICE_IMPORT_ROOTS=/data/import OPENSERVICE_HTTP_HOST=0.0.0.0 OPENSERVICE_HTTP_PORT=8080
EXPOSE 8080 9527 10809
# exec form and no shell: SIGTERM reaches the program itself, and it stops cleanly.
CMD ["node", "apps/center/src/main.ts"]
