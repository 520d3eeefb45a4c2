{{/* The settings of all nodes. What differs between nodes, and secrets, come as variables: see the StatefulSet. */}}
{{- define "ringfort.config" -}}
{{- $config := .Values.config -}}
# Made by the chart. docs/config.md says what each setting means.
[node]
{{- include "ringfort.toml.lines" $config.node }}

[admin]
address = "127.0.0.1:7500"
{{- if .Values.observability.enabled }}

[observability]
address = {{ printf "%s:7600" .Values.bindAddress | quote }}
{{- end }}

[cluster]
id = {{ include "ringfort.clusterId" . | quote }}
data_dir = "/var/lib/ringfort"
{{- if include "ringfort.isCluster" . }}
address = {{ printf "%s:7400" .Values.bindAddress | quote }}
peers = [
{{- $domain := include "ringfort.podDomain" . }}
{{- range include "ringfort.nodes" . | fromYamlArray }}
    { name = {{ . | quote }}, address = {{ printf "%s.%s:7400" . $domain | quote }} },
{{- end }}
]
{{- end }}
{{- with $config.cluster.timing }}

[cluster.timing]
{{- include "ringfort.toml.lines" . }}
{{- end }}
{{- if include "ringfort.isCluster" . }}

[cluster.tls]
ca = "/etc/ringfort/cluster-ca/ca.pem"
{{- end }}
{{- range .Values.listeners }}

[[listener]]
address = {{ printf "%s:%d" $.Values.bindAddress (int .port) | quote }}
{{- $settings := .settings | default dict }}
{{- if not .tls }}
{{- /* TLS ends at the proxy before it. */}}
{{- $settings = merge (deepCopy $settings) (dict "tickets_in_clear" true) }}
{{- end }}
{{- with $settings }}
{{- include "ringfort.toml.lines" . }}
{{- end }}
{{- if .tls }}
[listener.tls]
certificate = "/etc/ringfort/client-tls/tls.crt"
key = "/etc/ringfort/client-tls/tls.key"
{{- if ne $.Values.tls.clientCertificates "off" }}
client_certificates = {{ $.Values.tls.clientCertificates | quote }}
client_ca = "/etc/ringfort/client-ca/ca.crt"
{{- end }}
{{- end }}
{{- end }}
{{- range include "ringfort.realms" . | fromYamlArray }}

[[realm]]
{{- include "ringfort.toml.lines" . }}
{{- end }}
{{- range include "ringfort.principals" . | fromYamlArray }}

[[principal]]
{{- include "ringfort.toml.lines" . }}
{{- end }}
{{- range $section, $settings := omit $config "node" "cluster" "realm" "principal" "store" }}
{{- if kindIs "slice" $settings }}
{{- range $settings }}

[[{{ $section }}]]
{{- include "ringfort.toml.lines" . }}
{{- end }}
{{- else if $settings }}

[{{ $section }}]
{{- include "ringfort.toml.lines" $settings }}
{{- end }}
{{- end }}
{{- with $config.store }}

[store]
{{- include "ringfort.toml.lines" . }}
{{- end }}
{{- if .Values.redis.enabled }}

[store.redis]
{{- include "ringfort.toml.lines" .Values.redis.settings }}
{{- end }}
{{- end -}}
