# syntax=docker/dockerfile:1
# The line's newest version. An old one in a cache is below the floor of package.json and does not start:
# `docker compose build --pull` fetches the newest. To pin it, write node:24-slim@sha256:… in both lines.
# `docker buildx build --sbom=true --provenance=mode=max` attests what is in the layers besides the file below.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package here needs a script of its own to be installed, and a script is where a bad one would begin.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json vite.config.ts ./
COPY src ./src
# `fairlane --version` and a metric tell it.
ARG COMMIT=unknown
ENV FAIRLANE_COMMIT=${COMMIT}
RUN npm run build && rm -f dist/.tsbuildinfo
# Of libsql only the library for this system's C library serves.
RUN rm -rf node_modules/@libsql/*-musl
# Before the prune: npm counts what that takes away as missing. With what is in the console's page, and nothing else of development.
RUN npm sbom --sbom-format=cyclonedx | node dist/cli/write-sbom.js > sbom.cdx.json
# The prune puts back what the lock file has and the folder has not.
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/@libsql/*-musl
# Typings, maps, sources, tests and documents serve nobody here.
RUN find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -name '*.ts' -o -iname 'readme*' -o -iname 'changelog*' -o -name '*.tsbuildinfo' \) -delete
RUN find node_modules -type d \( -name test -o -name tests -o -name __tests__ -o -name docs -o -name example -o -name examples -o -name benchmarks \) -not -path '*/yaml/dist/*' -prune -exec rm -rf {} +
RUN rm -rf node_modules/.package-lock.json node_modules/.cache

FROM node:24-slim
ARG VERSION=0.1.0
ARG COMMIT=unknown
# Where the sources are published: whoever publishes the image says it.
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Fairlane" \
      org.opencontainers.image.description="Shares LLM engines fairly between tenants, beside an Envoy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The Fairlane authors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="docker.io/library/node:24-slim" \
      org.cyclonedx.sbom.path="/app/sbom.cdx.json"
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/package.json ./
COPY --from=build /app/sbom.cdx.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY LICENSE ./
COPY proto ./proto
COPY examples ./examples
COPY scenarios ./scenarios
# Envoy runs as the same user and shares the first folder: the files in it are for the owner only. The second is state.
RUN mkdir -p /run/fairlane /var/lib/fairlane && chown node:node /run/fairlane /var/lib/fairlane
USER node
# Of metrics and console. 8080 is Envoy’s.
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --retries=15 CMD ["node", "-e", "fetch('http://127.0.0.1:9464/live').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"]
ENTRYPOINT ["node", "dist/cli/index.js"]
CMD ["serve", "--config", "examples/docker.yaml"]
