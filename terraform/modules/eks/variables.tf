variable "name" {
  description = "Name of the cluster, and the beginning of the names of what belongs to it."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$", var.name))
    error_message = "name: lower-case letters, digits and -, beginning with a letter, at most 30."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes; the chart is checked with 1.34 to 1.37."
  type        = string
  default     = "1.34"
  validation {
    condition     = can(regex("^1\\.(3[4-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "kubernetes_version: 1.34 or newer."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id: begins with vpc-."
  }
}

variable "private_subnet_ids" {
  description = "Private subnets for the machines, in as many zones: three, so that three nodes survive the loss of one zone."
  type        = list(string)
  validation {
    condition     = length(var.private_subnet_ids) >= 2
    error_message = "private_subnet_ids: at least two, best three, in different zones."
  }
}

variable "load_balancer_subnet_ids" {
  description = "Subnets of the load balancer: public ones for clients from everywhere."
  type        = list(string)
  validation {
    condition     = length(var.load_balancer_subnet_ids) >= 1
    error_message = "load_balancer_subnet_ids: at least one."
  }
}

variable "internal" {
  description = "Whether the load balancer has private addresses only."
  type        = bool
  default     = false
}

variable "client_cidrs" {
  description = "Networks from which clients connect."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for cidr in var.client_cidrs : can(cidrhost(cidr, 0))])
    error_message = "client_cidrs: networks such as 10.0.0.0/8, at least one."
  }
}

variable "client_port" {
  description = "Port of the load balancer, for wss://."
  type        = number
  default     = 443
  validation {
    condition     = var.client_port > 0 && var.client_port < 65536
    error_message = "client_port: 1 to 65535."
  }
}

variable "node_port" {
  description = "Port of the machines that the load balancer sends to: `expose.node_port` of the module ringfort."
  type        = number
  default     = 30443
  validation {
    condition     = var.node_port >= 30000 && var.node_port <= 32767
    error_message = "node_port: 30000 to 32767."
  }
}

variable "core_nodes" {
  description = "Machines for the nodes of Ringfort: one for each, and one more so that a drain has somewhere to go, if `spare`."
  type = object({
    instance_type = optional(string, "m7g.large")
    architecture  = optional(string, "arm64")
    count         = optional(number, 3)
    spare         = optional(bool, false)
    disk_gib      = optional(number, 30)
  })
  default = {}
  validation {
    condition     = contains([1, 3, 5], var.core_nodes.count)
    error_message = "core_nodes.count: 1, 3 or 5."
  }
  validation {
    condition     = contains(["arm64", "amd64"], var.core_nodes.architecture)
    error_message = "core_nodes.architecture: arm64 or amd64, as the image is."
  }
}

variable "other_nodes" {
  description = "Further groups of machines, for what is not a node of Ringfort: monitoring, applications, load tests."
  type = map(object({
    instance_type = string
    architecture  = optional(string, "arm64")
    min           = optional(number, 1)
    max           = optional(number, 3)
    disk_gib      = optional(number, 30)
  }))
  default = { general = { instance_type = "t4g.large" } }
  validation {
    condition     = alltrue([for group in values(var.other_nodes) : group.min >= 0 && group.max >= max(group.min, 1)])
    error_message = "other_nodes: min at least 0, max at least min and 1."
  }
  validation {
    condition     = !contains(keys(var.other_nodes), "core")
    error_message = "other_nodes: core is the group of the nodes of Ringfort, see core_nodes."
  }
}

variable "public_endpoint_cidrs" {
  description = "Networks from which the API of Kubernetes is reached over the internet. Default: none, only from the VPC."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for cidr in var.public_endpoint_cidrs : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "public_endpoint_cidrs: networks, and not the whole internet."
  }
}

variable "dns" {
  description = "The name by which clients connect: an alias record in this Route 53 zone. Default: none."
  type = object({
    zone_id = string
    name    = string
  })
  default = null
  validation {
    condition     = var.dns == null || can(regex("^[a-z0-9*]([-a-z0-9.]*[a-z0-9])$", var.dns.name))
    error_message = "dns.name: a DNS name."
  }
}

variable "backup_bucket" {
  description = "Name of a bucket for backups of volumes, encrypted and versioned. Default: none; ringfort itself writes to no bucket."
  type        = string
  default     = null
  validation {
    condition     = var.backup_bucket == null || can(regex("^[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]$", var.backup_bucket))
    error_message = "backup_bucket: 3 to 63 lower-case letters, digits, - and dots."
  }
}

variable "backup_days" {
  description = "Days after which an overwritten or deleted backup is gone."
  type        = number
  default     = 90
  validation {
    condition     = var.backup_days >= 1
    error_message = "backup_days: at least 1."
  }
}

variable "log_days" {
  description = "Days for which logs of the control plane are kept."
  type        = number
  default     = 365
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days: a number that CloudWatch knows, such as 30, 90 or 365."
  }
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be deleted."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
