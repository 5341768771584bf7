{{/* What a schema cannot say: values that are fine alone and wrong together. */}}
{{- define "mcpd.checks" -}}
{{- include "mcpd.checkDocuments" . -}}
{{- $v := .Values -}}
{{- if $v.tls.enabled -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled -}}
{{- fail "tls: name existingSecret or enable certManager, not both" -}}
{{- else if not (or $v.tls.existingSecret $v.tls.certManager.enabled) -}}
{{- fail "tls.enabled: name a Secret in tls.existingSecret, or enable tls.certManager" -}}
{{- end -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name: name the issuer that cert-manager shall ask" -}}
{{- end -}}
{{- if and $v.admin.port.tlsSecret (not $v.admin.port.enabled) -}}
{{- fail "admin.port.tlsSecret: is for the admin API on a port of its own; set admin.port.enabled as well" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled $v.autoscaling.external -}}
{{- fail "autoscaling: either enabled (the chart's HorizontalPodAutoscaler) or external (somebody else's), not both" -}}
{{- end -}}
{{- if and $v.service.tcpRoute.enabled (not $v.service.tcpRoute.parentRefs) -}}
{{- fail "service.tcpRoute.parentRefs: name the listener of a Gateway" -}}
{{- end -}}
{{- $grace := $v.pod.terminationGracePeriodSeconds | int -}}
{{- if and $grace (lt $grace (include "mcpd.drainSeconds" . | int)) -}}
{{- fail (printf "pod.terminationGracePeriodSeconds: %d s is too short, the drain needs %s; raise it, or shorten drain.*" $grace (include "mcpd.drainSeconds" .)) -}}
{{- end -}}
{{- end -}}

{{- define "mcpd.checkDocuments" -}}
{{- $v := .Values -}}
{{- $full := include "mcpd.fullname" . -}}
{{- if ne $v.routes.mode "file" -}}
{{- range $document, $name := dict "routes" $v.routes.existingConfigMap "handlers" $v.handlers.existingConfigMap "principals" $v.auth.existingConfigMap -}}
{{- if and $name (ne $name (printf "%s-%s" $full $document)) -}}
{{- fail (printf "existingConfigMap: in the mode %s the server looks for %s-%s, not for %s" $v.routes.mode $full $document $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.auth.mode "secret") (not $v.auth.existingSecret) -}}
{{- fail "auth.mode: secret needs auth.existingSecret" -}}
{{- end -}}
{{- if and $v.auth.principals (or (ne $v.auth.mode "configmap") (eq $v.routes.mode "hot")) -}}
{{- fail (printf "auth.principals: is only used with auth.mode configmap in the modes declarative and file; otherwise write the ConfigMap %s-principals, or the Secret of auth.mode secret, yourself" $full) -}}
{{- end -}}
{{- if ne $v.routes.mode "hot" -}}
{{- if not (or $v.routes.seed $v.routes.existingConfigMap) -}}
{{- fail (printf "routes.seed: there is none, and in the mode %s nothing else says what the routes are" $v.routes.mode) -}}
{{- end -}}
{{- if and (eq $v.auth.mode "configmap") (not (or $v.auth.principals $v.auth.existingConfigMap)) -}}
{{- fail "auth.principals: there is none; write it, or name the ConfigMap that has it in auth.existingConfigMap" -}}
{{- end -}}
{{- end -}}
{{- end -}}
