{{/* .group: with the pod's fsGroup its own; 0 where the pod is another's, so that files of Secrets (root, 0440) are read. */}}
{{- define "fairlane.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: {{ .group }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "fairlane.group" -}}
{{- eq .Values.shape "sidecar" | ternary "0" "1000" -}}
{{- end -}}

{{- define "fairlane.image" -}}
image: {{ include "fairlane.imageName" (dict "image" .Values.image "default" .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- define "fairlane.environment" -}}
env:
  - name: STATE_DIRECTORY
    value: /var/lib/fairlane/state
  - name: FAIRLANE_PUBLISHED_ON
    value: 0.0.0.0
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Whole folders: what is mounted as one file (subPath) stays as it was when the pod began. */}}
{{- define "fairlane.configMounts" -}}
- name: fairlane-config
  mountPath: /etc/fairlane/config
  readOnly: true
{{- if include "fairlane.keysSecret" . }}
- name: fairlane-keys
  mountPath: /etc/fairlane/keys
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An emptyDir is everybody's to write to. Folders in it are made for their owner, and mounted in its place. */}}
{{- define "fairlane.prepareContainer" -}}
name: fairlane-prepare
{{ include "fairlane.image" . }}
command: ["sh", "-euc"]
args:
  - |
    mkdir -p -m 0700 /run/prepared/fairlane /run/prepared/envoy
    {{- if not (and (eq .Values.shape "sidecar") .Values.sidecar.envoyContainer) }}
    cp /etc/fairlane/config/run.sh /run/prepared/envoy/run.sh
    config=/etc/fairlane/config/fairlane.yaml
    node dist/cli/index.js envoy-config --config $config --listeners /tmp/envoy > /run/prepared/envoy/envoy.yaml
    node dist/cli/index.js envoy-config --config $config --part listeners > /run/prepared/envoy/listeners.json
    {{- end }}
{{ include "fairlane.environment" . }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "fairlane.containerSecurity" (dict "group" (include "fairlane.group" .)) | nindent 2 }}
volumeMounts:
  {{- include "fairlane.configMounts" . | nindent 2 }}
  - name: fairlane-run
    mountPath: /run/prepared
  - name: fairlane-tmp
    mountPath: /tmp
{{- end -}}

{{/* Probes by HTTP, beside an Envoy; by gRPC, where a gateway asks. Engines that are away are no reason to restart. */}}
{{- define "fairlane.probes" -}}
{{- $isPicker := eq .Values.shape "endpoint-picker" -}}
{{- range $probe, $of := dict "startupProbe" "live" "livenessProbe" "live" "readinessProbe" "ready" }}
{{ $probe }}:
  {{- if $isPicker }}
  grpc:
    port: 9002
    service: {{ eq $of "live" | ternary "liveness" "readiness" }}
  {{- else }}
  httpGet:
    path: /{{ $of }}
    port: fairlane-stats
  {{- end }}
  {{- if eq $probe "startupProbe" }}
  periodSeconds: 1
  failureThreshold: 60
  {{- else if eq $probe "livenessProbe" }}
  periodSeconds: 10
  failureThreshold: 6
  {{- else }}
  periodSeconds: 2
  failureThreshold: 2
  {{- end }}
  timeoutSeconds: 3
{{- end }}
{{- end -}}

{{- define "fairlane.fairlaneContainer" -}}
{{- $isPicker := eq .Values.shape "endpoint-picker" -}}
name: fairlane
{{ include "fairlane.image" . }}
args: ["serve", "--config", "/etc/fairlane/config/fairlane.yaml", "--log-format", "json"]
{{- if not $isPicker }}
# A sidecar: it serves before Envoy begins, and ends when Envoy has ended.
restartPolicy: Always
{{- end }}
{{ include "fairlane.environment" . }}
ports:
  {{- if $isPicker }}
  - name: grpc
    containerPort: 9002
  {{- end }}
  - name: fairlane-stats
    containerPort: 9464
{{- if $isPicker }}
{{ include "fairlane.preStop" . }}
{{- end }}
{{- include "fairlane.probes" . }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "fairlane.containerSecurity" (dict "group" (include "fairlane.group" .)) | nindent 2 }}
volumeMounts:
  {{- include "fairlane.configMounts" . | nindent 2 }}
  {{- if not $isPicker }}
  - name: fairlane-run
    mountPath: /run/fairlane
    subPath: fairlane
  {{- end }}
  - name: fairlane-state
    mountPath: /var/lib/fairlane
  - name: fairlane-tmp
    mountPath: /tmp
{{- end -}}

{{- define "fairlane.preStop" -}}
lifecycle:
  preStop:
    exec:
      command: ["sleep", {{ .Values.drain.preStopSeconds | toString | quote }}]
{{- end -}}

{{/* From within: Envoy's admin page is for its own pod. */}}
{{- define "fairlane.envoyIsLive" -}}
exec:
  command:
    - bash
    - -c
    - >-
      exec 3<>/dev/tcp/127.0.0.1/9901 &&
      printf 'GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3 &&
      grep -q LIVE <&3
{{- end -}}

{{- define "fairlane.envoyContainer" -}}
name: fairlane-envoy
image: {{ include "fairlane.imageName" (dict "image" .Values.envoy.image "default" "v1.40.0") | quote }}
imagePullPolicy: {{ .Values.envoy.image.pullPolicy }}
command: ["bash", "/etc/envoy/run.sh", "--concurrency", {{ .Values.envoy.concurrency | toString | quote }}]
env:
  - name: DRAIN_SECONDS
    value: {{ .Values.drain.seconds | toString | quote }}
ports:
  - name: fairlane-api
    containerPort: 8080
  {{- if .Values.envoy.metrics }}
  - name: envoy-stats
    containerPort: 9901
  {{- end }}
{{ include "fairlane.preStop" . }}
startupProbe:
  {{- include "fairlane.envoyIsLive" . | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  {{- include "fairlane.envoyIsLive" . | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  tcpSocket:
    port: fairlane-api
  periodSeconds: 5
  timeoutSeconds: 3
resources:
  {{- toYaml .Values.envoy.resources | nindent 2 }}
securityContext:
  {{- include "fairlane.containerSecurity" (dict "group" (include "fairlane.group" .)) | nindent 2 }}
volumeMounts:
  - name: fairlane-run
    mountPath: /run/fairlane
    subPath: fairlane
  - name: fairlane-run
    mountPath: /etc/envoy
    subPath: envoy
    readOnly: true
  - name: fairlane-tmp-envoy
    mountPath: /tmp
{{- end -}}

{{- define "fairlane.volumes" -}}
- name: fairlane-config
  configMap:
    name: {{ include "fairlane.fullname" . | quote }}
{{- with include "fairlane.keysSecret" . }}
- name: fairlane-keys
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- if ne .Values.shape "endpoint-picker" }}
# Keys are in it: memory, never a disk.
- name: fairlane-run
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
- name: fairlane-tmp-envoy
  emptyDir:
    sizeLimit: 16Mi
{{- end }}
- name: fairlane-tmp
  emptyDir:
    sizeLimit: 64Mi
- name: fairlane-state
  {{- if .Values.state.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.state.existingClaim | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.state.sizeLimit }}
  {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The wait and the drain, then Fairlane's own end. */}}
{{- define "fairlane.graceSeconds" -}}
{{- add (int .Values.drain.preStopSeconds) (int .Values.drain.seconds) 20 -}}
{{- end -}}
