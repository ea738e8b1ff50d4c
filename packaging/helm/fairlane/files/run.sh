#!/usr/bin/env bash
# Runs Envoy in its container, and ends it without breaking a stream. By itself Envoy ends at once on SIGTERM.
# On SIGTERM its listeners leave the file that it watches: it takes no new connections, and what is open goes on.
# It ends when nothing is in flight any more, or after DRAIN_SECONDS, or at once on a second signal.
set -u
here=$(dirname "${BASH_SOURCE[0]}")
folder=${ENVOY_LISTENERS:-/tmp/envoy}
admin_port=${ENVOY_ADMIN_PORT:-9901}
drain_seconds=${DRAIN_SECONDS:-25}

# Envoy sees a file that is moved into place, not one that is written.
put() { cat >"$folder/.next.json" && mv "$folder/.next.json" "$folder/listeners.json"; }

# Prints what Envoy counts by the names that fit $1; nothing when it does not answer.
stats() {
  exec 3<>"/dev/tcp/127.0.0.1/$admin_port" || return 1
  printf 'GET /stats?filter=%s HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n' "$1" >&3
  timeout 2 cat <&3
  exec 3>&-
} 2>/dev/null

# The admin page's own request is not among them: its prefix is "admin".
in_flight() {
  local sum=0 seen=no name value
  while IFS=': ' read -r name value; do
    case $name in
      http.admin.*) ;;
      http.*.downstream_rq_active) seen=yes && sum=$((sum + ${value%$'\r'})) ;;
    esac
  done < <(stats 'downstream_rq_active')
  # Without an answer nobody knows: it is waited on.
  [ "$seen" = yes ] && echo "$sum" || echo unknown
}

signals=0
drain() {
  signals=$((signals + 1))
  if [ "$signals" -gt 1 ]; then kill -TERM "$envoy" 2>/dev/null; fi
}

mkdir -p "$folder"
put <"$here/listeners.json"
trap drain TERM INT
envoy --config-path "$here/envoy.yaml" --log-level warning --component-log-level misc:error --disable-hot-restart \
  --drain-strategy immediate --drain-time-s 86400 "$@" &
envoy=$!

# A signal ends the wait, too.
while [ "$signals" -eq 0 ] && kill -0 "$envoy" 2>/dev/null; do wait "$envoy"; code=$?; done
[ "$signals" -eq 0 ] && exit "$code"

echo '{"resources":[]}' | put
end=$((SECONDS + drain_seconds))
# A request that has just come counts a moment later.
sleep 0.5
while [ "$SECONDS" -lt "$end" ] && [ "$signals" -eq 1 ] && kill -0 "$envoy" 2>/dev/null; do
  [ "$(in_flight)" = 0 ] && break
  sleep 0.2
done
kill -TERM "$envoy" 2>/dev/null
wait "$envoy"
exit 0
