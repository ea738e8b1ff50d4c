{{- define "fairlane.enginesHost" -}}
{{- printf "%s-engines.%s.svc" (include "fairlane.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* The whole configuration, as YAML: what the chart sets, and the rest as it was given. */}}
{{- define "fairlane.config" -}}
{{- include "fairlane.checkShapes" .Values.config -}}
{{- $config := deepCopy .Values.config -}}
{{- /* null is how values take away what a file before them has. */ -}}
{{- range $key, $value := .Values.config -}}
{{- if kindIs "invalid" $value -}}{{- $_ := unset $config $key -}}{{- end -}}
{{- end -}}
{{- $isPicker := eq .Values.shape "endpoint-picker" -}}
{{- $own := dict "service" (dict "address" ($isPicker | ternary "0.0.0.0:9002" "unix:ext-proc.sock") "metrics" "0.0.0.0:9464") -}}
{{- if $isPicker -}}
{{- $_ := set $own "mode" "endpoint-picker" -}}
{{- $_ := set $own.service "drainTimeout" (printf "%ds" (int .Values.drain.seconds)) -}}
{{- else -}}
{{- $_ := set $own "envoy" (dict "directory" "/run/fairlane" "admin" (.Values.envoy.metrics | ternary "0.0.0.0:9901" "127.0.0.1:9901")) -}}
{{- if not (hasKey $config "listen") -}}{{- $_ := set $own "listen" "0.0.0.0:8080" -}}{{- end -}}
{{- end -}}
{{- if not (hasKey $config "pools") -}}
{{- $host := eq .Values.shape "sidecar" | ternary "127.0.0.1" (include "fairlane.enginesHost" .) -}}
{{- $_ := set $own "pools" (dict "main" (dict "endpoints" (list (printf "http://%s:%d" $host (int .Values.engines.port))))) -}}
{{- end -}}
{{- if and $config.ledger (not (hasKey $config.ledger "directory")) -}}
{{- $_ := set $own "ledger" (dict "directory" "/var/lib/fairlane/state") -}}
{{- end -}}
{{- include "fairlane.onOff" (toYaml (mergeOverwrite $config $own)) -}}
{{- end -}}

{{/* Helm reads YAML 1.1, where on is true and off is false: they become words again, but for what is true or false to Fairlane. */}}
{{- define "fairlane.onOff" -}}
{{- $text := regexReplaceAll "(?m): true$" . ": \"on\"" -}}
{{- $text = regexReplaceAll "(?m): false$" $text ": \"off\"" -}}
{{- $text = regexReplaceAll "(?m)^([ -]*(?:conformance|insecure|insecureSkipVerify): )\"on\"$" $text "${1}true" -}}
{{- regexReplaceAll "(?m)^([ -]*(?:conformance|insecure|insecureSkipVerify): )\"off\"$" $text "${1}false" -}}
{{- end -}}

{{/* Changes when something does that only a start takes over. All else is read while Fairlane runs. */}}
{{- define "fairlane.restartSum" -}}
{{- $config := include "fairlane.config" . | fromYaml -}}
{{- $own := pick $config "mode" "picker" "listen" "cors" "identity" "envoy" "routes" "service" "admin" "redis" "ledger" "rateLimit" "log" -}}
{{- printf "%s %s" (toJson $own) (.Files.Get "files/run.sh") | sha256sum -}}
{{- end -}}
