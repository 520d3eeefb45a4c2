{{/*
TOML out of values. Helm's own toToml turns whole numbers into floats, which ringfort refuses where it counts something.
*/}}

{{/* One value, on one line. */}}
{{- define "ringfort.toml.value" -}}
{{- $value := . -}}
{{- if kindIs "map" $value -}}
{{- $parts := list -}}
{{- range $key := keys $value | sortAlpha -}}
{{- $inner := index $value $key -}}
{{- if not (kindIs "invalid" $inner) -}}
{{- $parts = append $parts (printf "%s = %s" ($key | toRawJson) (include "ringfort.toml.value" $inner)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $parts }} }
{{- else if kindIs "slice" $value -}}
{{- $parts := list -}}
{{- range $inner := $value -}}
{{- $parts = append $parts (include "ringfort.toml.value" $inner) -}}
{{- end -}}
[{{ join ", " $parts }}]
{{- else if kindIs "float64" $value -}}
{{- if eq $value (floor $value) -}}{{ int64 $value }}{{- else -}}{{ toRawJson $value }}{{- end -}}
{{- else -}}
{{ toRawJson $value }}
{{- end -}}
{{- end -}}

{{/* The lines of a section: dict "of" MAP. Settings that are null are left out. */}}
{{- define "ringfort.toml.lines" -}}
{{- $map := . -}}
{{- range $key := keys $map | sortAlpha }}
{{- if not (kindIs "invalid" (index $map $key)) }}
{{ $key }} = {{ include "ringfort.toml.value" (index $map $key) }}
{{- end }}
{{- end }}
{{- end -}}
