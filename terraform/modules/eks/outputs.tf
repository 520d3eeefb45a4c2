output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "endpoint" {
  description = "Address of the API of Kubernetes, for the providers kubernetes and helm."
  value       = aws_eks_cluster.this.endpoint
}

output "certificate_authority" {
  description = "PEM of its authority."
  value       = base64decode(aws_eks_cluster.this.certificate_authority[0].data)
}

output "core_pool" {
  description = "What puts pods on the core machines: `node_selector` and `tolerations` of the module ringfort."
  value = {
    node_selector = { "ringfort.io/pool" = "core" }
    tolerations   = [{ key = "ringfort.io/dedicated", operator = "Equal", value = "ringfort", effect = "NoSchedule" }]
  }
}

output "storage_class" {
  description = "`storage.storage_class` of the module ringfort."
  value       = kubernetes_storage_class_v1.this.metadata[0].name
}

output "node_port" {
  description = "`expose.node_port` of the module ringfort."
  value       = var.node_port
}

output "address" {
  description = "Where clients connect: the name in DNS, or that of the load balancer."
  value       = var.dns == null ? aws_lb.this.dns_name : var.dns.name
}

output "key_arn" {
  description = "The key of secrets, disks, logs and backups."
  value       = aws_kms_key.this.arn
}

output "backup_bucket" {
  description = "The bucket, if there is one."
  value       = var.backup_bucket == null ? null : aws_s3_bucket.backup[0].id
}
