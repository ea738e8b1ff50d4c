{{/* What the other checks read is what it should be: else they end in words of Helm's own. */}}
{{- define "fairlane.checkShapes" -}}
{{- $config := . -}}
{{- range $section := list "envoy" "service" "tenants" "redis" "ledger" "telemetry" -}}
{{- if and (hasKey $config $section) (not (has (kindOf (get $config $section)) (list "map" "invalid"))) -}}
{{- fail (printf "config.%s must be a mapping" $section) -}}
{{- end -}}
{{- end -}}
{{- range $name, $tenant := .tenants -}}
{{- if not (or (kindIs "map" $tenant) (kindIs "invalid" $tenant)) -}}
{{- fail (printf "config.tenants.%s must be a mapping, for example { keys: [file:/etc/fairlane/keys/%s] }" $name $name) -}}
{{- end -}}
{{- if not (has (kindOf ($tenant | default dict).keys) (list "slice" "invalid")) -}}
{{- fail (printf "config.tenants.%s.keys must be a list, for example [file:/etc/fairlane/keys/%s]" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if not (has (kindOf .webhooks) (list "slice" "invalid")) -}}
{{- fail "config.webhooks must be a list of mappings" -}}
{{- end -}}
{{- range $i, $webhook := .webhooks -}}
{{- if not (kindIs "map" $webhook) -}}
{{- fail (printf "config.webhooks[%d] must be a mapping with url and secret" $i) -}}
{{- end -}}
{{- end -}}
{{- $otlp := (.telemetry | default dict).otlp -}}
{{- if not (has (kindOf $otlp) (list "map" "invalid")) -}}
{{- fail "config.telemetry.otlp must be a mapping with endpoint" -}}
{{- end -}}
{{- if not (has (kindOf ($otlp | default dict).headers) (list "map" "invalid")) -}}
{{- fail "config.telemetry.otlp.headers must be a mapping of names to values" -}}
{{- end -}}
{{- end -}}

{{/* A ConfigMap is read by more people than a Secret. */}}
{{- define "fairlane.checkSecrets" -}}
{{- range $name, $tenant := .tenants -}}
{{- range ($tenant | default dict).keys -}}
{{- $key := kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "key") . -}}
{{- if and $key (not (regexMatch "^(env|file):" (toString $key))) -}}
{{- fail (printf "config.tenants.%s has a key in plain text, and config is a ConfigMap: put it into a Secret and write file:/etc/fairlane/keys/NAME, or env:NAME" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $i, $webhook := .webhooks -}}
{{- if and $webhook.secret (not (regexMatch "^(env|file):" (toString $webhook.secret))) -}}
{{- fail (printf "config.webhooks[%d].secret is in plain text, and config is a ConfigMap: put it into a Secret and write file:/etc/fairlane/keys/NAME, or env:NAME" $i) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := ((.telemetry | default dict).otlp | default dict).headers -}}
{{- if and (regexMatch "(?i)auth|key|token|secret" $name) (not (regexMatch "^(env|file):" (toString $value))) -}}
{{- fail (printf "config.telemetry.otlp.headers.%s is in plain text, and config is a ConfigMap: put it into a Secret and write file:/etc/fairlane/keys/NAME, or env:NAME" $name) -}}
{{- end -}}
{{- end -}}
{{- range $section := list "redis" "ledger" -}}
{{- if regexMatch "^[a-z]+://[^/@]*:[^/@]+@" (toString (get (get $ $section | default dict) "url")) -}}
{{- fail (printf "config.%s.url has a password in plain text, and config is a ConfigMap: put it into a Secret and write file:/etc/fairlane/keys/NAME, or env:NAME" $section) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a schema cannot say. Each problem is one sentence with what to do. */}}
{{- define "fairlane.checks" -}}
{{- $config := .Values.config -}}
{{- include "fairlane.checkShapes" $config -}}
{{- $envoy := $config.envoy | default dict -}}
{{- $service := $config.service | default dict -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is not set: no image is published; build one (docker build -t REGISTRY/fairlane .) and name it" -}}
{{- end -}}
{{- $most := ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicas) .Values.autoscaling.enabled -}}
{{- if and (gt $most 1) (not $config.redis) -}}
{{- fail (printf "there may be %d replicas and config.redis is not set: each would grant every limit in full; set config.redis.url, or have one replica" $most) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (gt $most 1) .Values.state.existingClaim -}}
{{- fail (printf "there may be %d replicas and state.existingClaim is one disk: have one replica, or keep the ledger in PostgreSQL (config.ledger.url) without a claim" $most) -}}
{{- end -}}
{{- range $path, $isSet := dict "config.mode" (hasKey $config "mode") "config.envoy.directory" (hasKey $envoy "directory") "config.envoy.admin" (hasKey $envoy "admin") "config.service.address" (hasKey $service "address") "config.service.metrics" (hasKey $service "metrics") "config.service.drainTimeout" (hasKey $service "drainTimeout") -}}
{{- if $isSet -}}
{{- fail (printf "%s is set by the chart, which mounts, probes and drains by it: leave it out (shape, envoy.metrics and drain are its settings)" $path) -}}
{{- end -}}
{{- end -}}
{{- if not (or $config.tenants $config.tenantDirectory $config.identity) -}}
{{- fail "config has no tenants: set config.tenants, for example { alice: { keys: [file:/etc/fairlane/keys/alice] } }" -}}
{{- end -}}
{{- if and .Values.keys.existingSecret .Values.keys.create -}}
{{- fail "keys.existingSecret and keys.create are both set: leave one out" -}}
{{- end -}}
{{- if and (contains "file:/etc/fairlane/keys/" (toJson $config)) (not (include "fairlane.keysSecret" .)) -}}
{{- fail "config names files in /etc/fairlane/keys and no Secret is mounted there: set keys.existingSecret" -}}
{{- end -}}
{{- include "fairlane.checkSecrets" $config -}}
{{- if and (ne .Values.shape "sidecar") (not $config.pools) (not .Values.engines.selector) -}}
{{- fail "nothing says where engines are: set engines.selector to the labels of their pods, or config.pools" -}}
{{- end -}}
{{- if and (eq .Values.shape "endpoint-picker") .Values.picker.inferencePool.create (not .Values.engines.selector) -}}
{{- fail "an InferencePool wants engines.selector, the labels of the engines' pods; or set picker.inferencePool.create: false" -}}
{{- end -}}
{{- if ne .Values.shape "endpoint-picker" -}}
{{- $isReached := false -}}
{{- $listen := $config.listen | default "0.0.0.0:8080" -}}
{{- range (kindIs "slice" $listen | ternary $listen (list $listen)) -}}
{{- $address := kindIs "map" . | ternary . (dict "address" .) -}}
{{- if hasSuffix ":8080" (toString $address.address) -}}{{- $isReached = true -}}{{- end -}}
{{- end -}}
{{- if not $isReached -}}
{{- fail "config.listen has no address with port 8080, to which the Service sends: use 0.0.0.0:8080" -}}
{{- end -}}
{{- end -}}
{{- with ($config.ledger | default dict).directory -}}
{{- if not (hasPrefix "/var/lib/fairlane/" .) -}}
{{- fail "config.ledger.directory is not on the volume: leave it out, or use a folder below /var/lib/fairlane/" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.shape "sidecar") (not .Values.sidecar.engineContainer) (not .Values.sidecar.envoyContainer) -}}
{{- fail "sidecar.engineContainer is not set: name the engine's container in the Deployment, which has to end after Envoy" -}}
{{- end -}}
{{- if and (eq .Values.shape "sidecar") (not $config.pools) (has (int .Values.engines.port) (list 8080 9464 9901)) -}}
{{- fail (printf "engines.port is %d, which Envoy or Fairlane has in the same pod (8080, 9464, 9901): let the engine listen on another" (int .Values.engines.port)) -}}
{{- end -}}
{{- if gt (int .Values.engineAutoscaling.minReplicas) (int .Values.engineAutoscaling.maxReplicas) -}}
{{- fail "engineAutoscaling.minReplicas is more than engineAutoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (ne .Values.engineAutoscaling.kind "none") (not .Values.engineAutoscaling.target.name) -}}
{{- fail "engineAutoscaling.target.name is not set: name the engines' Deployment" -}}
{{- end -}}
{{- if and (eq .Values.shape "sidecar") (ne .Values.engineAutoscaling.kind "none") (not $config.redis) -}}
{{- fail "engineAutoscaling makes more pods, each with a sidecar, and config.redis is not set: each would grant every limit in full; set config.redis.url" -}}
{{- end -}}
{{- range $path, $isSet := dict "networkPolicy" .Values.networkPolicy.enabled "serviceMonitor" .Values.serviceMonitor.enabled -}}
{{- if and (eq $.Values.shape "sidecar") $isSet -}}
{{- fail (printf "%s.enabled is for pods of Fairlane's own: with shape sidecar write one for the engines' pods, where clients use port 8080 and Prometheus 9464" $path) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.shape "sidecar") .Values.autoscaling.enabled -}}
{{- fail "autoscaling is for pods of Fairlane's own: with shape sidecar scale the engines (engineAutoscaling)" -}}
{{- end -}}
{{- end -}}
