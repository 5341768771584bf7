{{/* mcpd.yaml, and what depends on what is in it. */}}

{{/* Whole seconds of a duration such as 1m30s or 250ms, rounded up. */}}
{{- define "mcpd.seconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" (toString .) -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $sum = add $sum (mul (atoi (trimSuffix $unit .)) (get $units $unit)) -}}
{{- end -}}
{{- div (add $sum 999) 1000 -}}
{{- end -}}

{{/* How long a stop may take: the stages of the drain, and 10 s for what no stage is told of. */}}
{{- define "mcpd.drainSeconds" -}}
{{- $sum := 10 -}}
{{- range tuple "delay" "spread" "finish" "flush" -}}
{{- $sum = add $sum (include "mcpd.seconds" (get $.Values.drain .) | int) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{- define "mcpd.gracePeriod" -}}
{{- default (include "mcpd.drainSeconds" . | int) (.Values.pod.terminationGracePeriodSeconds | int) -}}
{{- end -}}

{{/* `[::]` takes IPv4 as well, but not every node has IPv6. */}}
{{- define "mcpd.anyAddress" -}}
{{- if or (has .Values.service.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack")) (has "IPv6" .Values.service.ipFamilies) -}}
[::]
{{- else -}}
0.0.0.0
{{- end -}}
{{- end -}}

{{/* A document with its first lines, which need not be written in values. */}}
{{- define "mcpd.document" -}}
{{- toYaml (merge (deepCopy .keys) (dict "apiVersion" "mcpd/v1" "kind" .kind "revision" 1)) -}}
{{- end -}}

{{/* Yes, if there is a handlers document that the chart makes or mounts. */}}
{{- define "mcpd.hasHandlers" -}}
{{- if or .Values.handlers.seed .Values.handlers.existingConfigMap }}yes{{ end -}}
{{- end -}}

{{/* What the chart says, as far as values have keys of their own for it. */}}
{{- define "mcpd.ownConfig" -}}
{{- $v := .Values -}}
{{- $any := include "mcpd.anyAddress" . -}}
data:
  listen: {{ printf "%s:8080" $any | quote }}
  {{- if $v.service.proxyProtocol }}
  proxy_protocol: required
  {{- end }}
  {{- if $v.tls.enabled }}
  tls:
    certificate: /etc/mcpd/tls/tls.crt
    key: /etc/mcpd/tls/tls.key
    {{- if ne $v.tls.clientAuth "off" }}
    client_ca: /etc/mcpd/tls/ca.crt
    client_auth: {{ $v.tls.clientAuth }}
    {{- end }}
  {{- end }}
sidecar:
  listen: {{ printf "%s:8081" $any | quote }}
{{- $tokens := include "mcpd.adminSecret" . }}
{{- if or $tokens $v.admin.port.enabled }}
admin:
  {{- if $tokens }}
  tokens_file: /etc/mcpd/admin/tokens.yaml
  {{- end }}
  {{- if $v.admin.port.enabled }}
  listen: {{ printf "%s:8082" $any | quote }}
  {{- if $v.admin.port.tlsSecret }}
  tls:
    certificate: /etc/mcpd/admin-tls/tls.crt
    key: /etc/mcpd/admin-tls/tls.key
  {{- end }}
  {{- end }}
{{- end }}
drain:
  {{- toYaml $v.drain | nindent 2 }}
goaway:
  {{- toYaml $v.goaway | nindent 2 }}
rebalance:
  {{- toYaml $v.rebalance | nindent 2 }}
log:
  {{- toYaml $v.logging | nindent 2 }}
tracing:
  {{- if $v.tracing.endpoint }}
  endpoint: {{ $v.tracing.endpoint | quote }}
  protocol: {{ $v.tracing.protocol }}
  {{- end }}
  ratio: {{ $v.tracing.ratio }}
{{- if eq $v.routes.mode "file" }}
{{ include "mcpd.fileStore" . }}
{{- else }}
{{ include "mcpd.kubernetesStore" . }}
{{- end }}
{{- if or (eq $v.auth.mode "secret") (and (eq $v.auth.mode "configmap") (eq $v.routes.mode "file")) }}
auth:
  principals: /etc/mcpd/principals/principals.yaml
{{- end }}
{{- end -}}

{{- define "mcpd.fileStore" -}}
routes:
  file: /etc/mcpd/routes/routes.yaml
{{- if include "mcpd.hasHandlers" . }}
handlers_file: /etc/mcpd/handlers/handlers.yaml
{{- end }}
{{- end -}}

{{- define "mcpd.kubernetesStore" -}}
kubernetes:
  name: {{ include "mcpd.fullname" . }}
  mode: {{ .Values.routes.mode }}
  create: {{ and (eq .Values.routes.mode "hot") .Values.routes.create }}
  principals: {{ eq .Values.auth.mode "configmap" }}
  {{- if include "mcpd.seeds" . }}
  seed: /etc/mcpd/seed
  {{- end }}
  snapshots: /var/lib/mcpd/snapshots
{{- end -}}

{{/* Names of the documents that are mounted as seeds, one in a line. */}}
{{- define "mcpd.seeds" -}}
{{- if and (eq .Values.routes.mode "hot") .Values.routes.create -}}
{{- if and .Values.routes.seed (not .Values.routes.existingConfigMap) }}routes.yaml
{{ end -}}
{{- if and .Values.handlers.seed (not .Values.handlers.existingConfigMap) }}handlers.yaml
{{ end -}}
{{- end -}}
{{- end -}}

{{- define "mcpd.config" -}}
{{- $own := include "mcpd.ownConfig" . | fromYaml -}}
{{- include "mcpd.refuseOwned" (dict "raw" .Values.config "own" $own "path" "config") -}}
{{- mergeOverwrite (deepCopy .Values.config) $own | toYaml -}}
{{- end -}}

{{/* Two places for one key would leave open which counts. */}}
{{- define "mcpd.refuseOwned" -}}
{{- range $key, $value := .raw -}}
{{- if hasKey $.own $key -}}
{{- $path := printf "%s.%s" $.path $key -}}
{{- $mine := get $.own $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $mine) -}}
{{- include "mcpd.refuseOwned" (dict "raw" $value "own" $mine "path" $path) -}}
{{- else -}}
{{- fail (printf "%s: the chart sets this itself; see the values of its own for it" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
