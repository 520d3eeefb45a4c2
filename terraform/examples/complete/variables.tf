variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "name" {
  description = "Name of everything."
  type        = string
  default     = "home"
}

variable "image" {
  description = "The image, in a registry that the machines may pull from; built for arm64 unless core_nodes says otherwise."
  type = object({
    repository = string
    tag        = optional(string, "")
    digest     = optional(string, "")
  })
}

variable "operator_cidrs" {
  description = "Networks from which you, and this Terraform, reach the API of Kubernetes."
  type        = list(string)
}

variable "dns" {
  description = "The name for clients, in a Route 53 zone of yours. Default: none, clients use the load balancer's."
  type = object({
    zone_id = string
    name    = string
  })
  default = null
}

variable "tickets" {
  description = "Tickets of the two principals: realm1/lamp and realm1/phone."
  type        = map(string)
  sensitive   = true
}

variable "backup_bucket" {
  description = "A bucket for copies of the volumes. Default: none."
  type        = string
  default     = null
}
