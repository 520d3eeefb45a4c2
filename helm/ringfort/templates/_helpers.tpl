{{/* Names. Pods are called NAME-core-N, and that is the name of a node, which has 63 characters at most. */}}
{{- define "ringfort.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "ringfort.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "ringfort.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ringfort.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ringfort.core" -}}{{ include "ringfort.fullname" . }}-core{{- end -}}
{{- define "ringfort.headless" -}}{{ include "ringfort.fullname" . }}-nodes{{- end -}}
{{- define "ringfort.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ringfort.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ringfort.selector" -}}
app.kubernetes.io/name: {{ include "ringfort.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ringfort.labels" -}}
{{ include "ringfort.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image: list ROOT IMAGE. */}}
{{- define "ringfort.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default $root.Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* The name under which the cluster's links know each other. ringfort refuses its own default name beyond one machine. */}}
{{- define "ringfort.clusterId" -}}
{{- default (printf "%s.%s" .Release.Namespace (include "ringfort.fullname" .) | trunc 63 | trimSuffix "-" | trimSuffix ".") .Values.config.cluster.id -}}
{{- end -}}

{{/* The domain of the pods: POD.THIS. */}}
{{- define "ringfort.podDomain" -}}
{{ include "ringfort.headless" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{/* Names and numbers of the nodes, as a YAML list. */}}
{{- define "ringfort.nodes" -}}
{{- $core := include "ringfort.core" . -}}
{{- range $ordinal := until (int .Values.core.replicas) }}
- {{ $core }}-{{ $ordinal }}
{{- end }}
{{- end -}}

{{- define "ringfort.isCluster" -}}{{ if gt (int .Values.core.replicas) 1 }}true{{ end }}{{- end -}}

{{- define "ringfort.clientTlsSecret" -}}
{{- if eq .Values.tls.mode "secret" -}}
{{- required "tls.existingSecret: name the Secret with tls.crt and tls.key, or choose another tls.mode" .Values.tls.existingSecret -}}
{{- else -}}
{{ include "ringfort.fullname" . }}-client-tls
{{- end -}}
{{- end -}}

{{- define "ringfort.hasTls" -}}
{{- range .Values.listeners }}{{ if .tls }}true{{ end }}{{ end -}}
{{- end -}}

{{/* DNS names in the certificate of the client port. */}}
{{- define "ringfort.clientDnsNames" -}}
{{- $service := include "ringfort.fullname" . }}
- {{ $service }}
- {{ $service }}.{{ .Release.Namespace }}
- {{ $service }}.{{ .Release.Namespace }}.svc
- {{ $service }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
- {{ printf "*.%s" (include "ringfort.podDomain" .) | quote }}
{{- range .Values.tls.dnsNames }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Where the first listener of a pod is reached: list ROOT HOST. */}}
{{- define "ringfort.url" -}}
{{- $root := index . 0 -}}
{{- $listener := first $root.Values.listeners -}}
{{ ternary "wss" "ws" (default false $listener.tls) }}://{{ index . 1 }}:{{ $listener.port }}{{ dig "settings" "path" "/ws" $listener }}
{{- end -}}

{{- define "ringfort.testSecret" -}}{{ include "ringfort.fullname" . }}-helm-test{{- end -}}
{{- define "ringfort.loadSecret" -}}{{ include "ringfort.fullname" . }}-load-test{{- end -}}
{{- define "ringfort.loadWorkers" -}}{{ include "ringfort.fullname" . }}-load-workers{{- end -}}

{{/* The realms as configured, and the roles of the chart's own clients in the first of them. */}}
{{- define "ringfort.realms" -}}
{{- $realms := deepCopy .Values.config.realm -}}
{{- $own := list -}}
{{- if .Values.helmTest.enabled -}}
{{- $may := dict "uri" "ringfort.helm_test." "match" "prefix" "allow" (list "call" "register") -}}
{{- $own = append $own (dict "name" "ringfort-helm-test" "permissions" (list $may)) -}}
{{- end -}}
{{- if .Values.loadTest.enabled -}}
{{- $may := dict "uri" "ringfort.bench." "match" "prefix" "allow" (list "call" "register" "publish" "subscribe") -}}
{{- $own = append $own (dict "name" "ringfort-load-test" "permissions" (list $may)) -}}
{{- end -}}
{{- if $own -}}
{{- $first := first $realms -}}
{{- $_ := set $first "roles" (concat (default (list) (get $first "roles")) $own) -}}
{{- end -}}
{{- toYaml $realms -}}
{{- end -}}

{{/* The principals as configured, and those of the chart's own clients behind them, so that positions in the list stay. */}}
{{- define "ringfort.principals" -}}
{{- $all := deepCopy .Values.config.principal -}}
{{- $realm := (first .Values.config.realm).name -}}
{{- if .Values.helmTest.enabled -}}
{{- $all = append $all (dict "realm" $realm "authid" "ringfort-helm-test" "role" "ringfort-helm-test") -}}
{{- end -}}
{{- if .Values.loadTest.enabled -}}
{{- $all = append $all (dict "realm" $realm "authid" "ringfort-load-test" "role" "ringfort-load-test") -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* The variable that stands for a setting: principal[0].ticket is RINGFORT__PRINCIPAL__0__TICKET. */}}
{{- define "ringfort.variable" -}}
RINGFORT__{{ . | replace "[" "." | replace "]" "" | splitList "." | join "__" | upper }}
{{- end -}}

{{/* What every pod of the chart runs as: nobody in particular, with nothing. */}}
{{- define "ringfort.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "ringfort.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A Secret that the chart made before, or nothing. Without a cluster to ask (helm template) there is none. */}}
{{- define "ringfort.kept" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- if $found -}}{{ toYaml $found.data }}{{- end -}}
{{- end -}}
