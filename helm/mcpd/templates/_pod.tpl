{{/* Parts of the pod. */}}

{{/* Everything under /etc/mcpd is one volume: the kubelet swaps it as a whole, so that a certificate never meets the key of another. */}}
{{- define "mcpd.configVolume" -}}
{{- $v := .Values -}}
{{- $full := include "mcpd.fullname" . -}}
{{- $file := eq $v.routes.mode "file" -}}
name: config
projected:
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ $full }}-config
        items:
          - {key: mcpd.yaml, path: mcpd.yaml}
          {{- range include "mcpd.seeds" . | trim | splitList "\n" | compact }}
          - {key: {{ . }}, path: seed/{{ . }}}
          {{- end }}
    {{- if $file }}
    - configMap:
        name: {{ default (printf "%s-routes" $full) $v.routes.existingConfigMap }}
        items: [{key: routes.yaml, path: routes/routes.yaml}]
    {{- if include "mcpd.hasHandlers" . }}
    - configMap:
        name: {{ default (printf "%s-handlers" $full) $v.handlers.existingConfigMap }}
        items: [{key: handlers.yaml, path: handlers/handlers.yaml}]
    {{- end }}
    {{- end }}
    {{- if eq $v.auth.mode "secret" }}
    - secret:
        name: {{ $v.auth.existingSecret }}
        items: [{key: principals.yaml, path: principals/principals.yaml}]
    {{- else if and $file (eq $v.auth.mode "configmap") }}
    - configMap:
        name: {{ default (printf "%s-principals" $full) $v.auth.existingConfigMap }}
        items: [{key: principals.yaml, path: principals/principals.yaml}]
    {{- end }}
    {{- with include "mcpd.adminSecret" . }}
    - secret:
        name: {{ . }}
        items: [{key: tokens.yaml, path: admin/tokens.yaml}]
    {{- end }}
    {{- if $v.tls.enabled }}
    {{- $tls := include "mcpd.tlsSecret" . }}
    - secret:
        name: {{ $tls }}
        items:
          - {key: tls.crt, path: tls/tls.crt}
          - {key: tls.key, path: tls/tls.key}
    {{- if ne $v.tls.clientAuth "off" }}
    - secret:
        name: {{ default $tls $v.tls.clientCASecret }}
        items: [{key: ca.crt, path: tls/ca.crt}]
    {{- end }}
    {{- end }}
    {{- with $v.admin.port.tlsSecret }}
    - secret:
        name: {{ . }}
        items:
          - {key: tls.crt, path: admin-tls/tls.crt}
          - {key: tls.key, path: admin-tls/tls.key}
    {{- end }}
{{- end -}}

{{/* Where the pod is, for the server, its traces and its Events. */}}
{{- define "mcpd.env" -}}
{{- range $name, $field := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_UID" "metadata.uid" "POD_IP" "status.podIP" "NODE_NAME" "spec.nodeName" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $field }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "mcpd.resourceAttributes" . | quote }}
{{- with .Values.tracing.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: headers
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mcpd.resourceAttributes" -}}
k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME),k8s.container.name=mcpd,k8s.deployment.name={{ include "mcpd.fullname" . }}
{{- range $key, $value := .Values.tracing.resourceAttributes }},{{ $key }}={{ $value }}{{ end -}}
{{- end -}}

{{- define "mcpd.ports" -}}
- {name: mcp, containerPort: 8080, protocol: TCP}
- {name: http, containerPort: 8081, protocol: TCP}
{{- if .Values.admin.port.enabled }}
- {name: admin, containerPort: 8082, protocol: TCP}
{{- end }}
{{- end -}}

{{/* Readiness asks whether to send traffic. The two others ask whether a new process would be better, and for want of routes it would not. */}}
{{- define "mcpd.probes" -}}
{{- range $probe, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
{{ $probe }}Probe:
  httpGet:
    path: {{ $path }}
    port: http
  {{- toYaml (get $.Values.probes $probe) | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mcpd.topologySpread" -}}
{{- range .Values.scheduling.topologySpread }}
- {{ toYaml . | nindent 2 | trim }}
  labelSelector:
    matchLabels:
      {{- include "mcpd.selector" $ | nindent 6 }}
  {{- /* Else old pods would count while new ones are placed, and the rollout end lopsided. */}}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}
