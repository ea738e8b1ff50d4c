# syntax=docker/dockerfile:1
# The line's newest version. An old one in a cache is below the floor of package.json and does not start:
# `docker compose build --pull` fetches the newest.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json vite.config.ts ./
COPY src ./src
RUN npm run build && npm prune --omit=dev

FROM node:24-slim
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY proto ./proto
COPY examples ./examples
# Envoy runs as the same user and shares this folder: the files in it are for the owner only.
RUN mkdir -p /run/fairlane && chown node:node /run/fairlane
USER node
ENTRYPOINT ["node", "dist/cli/index.js"]
CMD ["serve", "--config", "examples/docker.yaml"]
