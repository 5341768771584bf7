{{/* The names of things, and the labels that find them. */}}

{{- define "mcpd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters leave room for the longest suffix, `-servicemonitor` and the like, within the 63 of a label. */}}
{{- define "mcpd.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A selector cannot change in the life of a Deployment, so nothing that a value could change is in it but the two names. */}}
{{- define "mcpd.selector" -}}
app.kubernetes.io/name: {{ include "mcpd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "mcpd.labels" -}}
{{ include "mcpd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mcpd.serviceAccountName" -}}
{{- default (ternary (include "mcpd.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "mcpd.image" -}}
{{- $image := .Values.image -}}
{{- $repository := $image.repository -}}
{{- with .Values.global.imageRegistry }}{{ $repository = printf "%s/%s" . $repository }}{{ end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "mcpd.pullSecrets" -}}
{{- with concat (default list .Values.global.imagePullSecrets) .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The Secret with `tokens.yaml`, or nothing. */}}
{{- define "mcpd.adminSecret" -}}
{{- if .Values.admin.existingSecret -}}
{{ .Values.admin.existingSecret }}
{{- else if .Values.admin.generateToken -}}
{{ include "mcpd.fullname" . }}-admin-token
{{- end -}}
{{- end -}}

{{- define "mcpd.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "mcpd.fullname" . }}-tls
{{- else -}}
{{ .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{/* By which names a certificate of the Services would have to be known: one in a line. */}}
{{- define "mcpd.serviceNames" -}}
{{- $full := include "mcpd.fullname" . -}}
{{ printf "%s.%s.svc" $full .Release.Namespace }}
{{ printf "%s.%s" $full .Release.Namespace }}
{{ $full }}
{{- end -}}
