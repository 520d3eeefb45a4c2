output "namespace" {
  description = "Where it runs."
  value       = local.namespace
}

output "service" {
  description = "Name of the Service that clients inside of the cluster use."
  value       = var.name
}

output "url" {
  description = "Where clients inside of the cluster connect."
  value       = "wss://${var.name}.${local.namespace}.svc:${var.expose.port}/ws"
}

output "ca_secret" {
  description = "The Secret whose ca.crt clients have to trust, where the chart makes the certificate."
  value       = var.tls.mode == "generated" ? "${var.name}-client-tls" : null
}
