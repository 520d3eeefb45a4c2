variable "name" {
  description = "Name of the release, and the beginning of the names of all objects. Never change it: the names of nodes follow from it."
  type        = string
  default     = "ringfort"
  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$", var.name))
    error_message = "name: lower-case letters, digits and -, beginning with a letter, at most 32."
  }
}

variable "namespace" {
  description = "Namespace of the release."
  type        = string
  default     = "ringfort"
  validation {
    condition     = can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace: lower-case letters, digits and -, at most 63."
  }
}

variable "create_namespace" {
  description = "Whether to make the namespace, with Pod Security `restricted`."
  type        = bool
  default     = true
}

variable "chart" {
  description = "The chart: a folder, a packed file, or an address such as oci://registry.example.org/charts/ringfort."
  type        = string
}

variable "chart_version" {
  description = "Version of the chart where it comes from a registry. Default: none, for folders and files."
  type        = string
  default     = null
}

variable "image" {
  description = "The image of the router. `digest` goes before `tag`; one of both is required, so that a plan says what will run."
  type = object({
    repository = string
    tag        = optional(string, "")
    digest     = optional(string, "")
  })
  validation {
    condition     = var.image.repository != "" && (var.image.tag != "" || var.image.digest != "")
    error_message = "image: give repository, and tag or digest."
  }
  validation {
    condition     = var.image.digest == "" || can(regex("^sha256:[0-9a-f]{64}$", var.image.digest))
    error_message = "image.digest: sha256: and 64 digits of hex."
  }
}

variable "replicas" {
  description = "Nodes: 1, 3 or 5, for good. The chart refuses an upgrade with another number."
  type        = number
  default     = 3
  validation {
    condition     = contains([1, 3, 5], var.replicas)
    error_message = "replicas: 1, 3 or 5."
  }
}

variable "resources" {
  description = "Requests and limits of a node; default those of the chart. docs/deploying.md has sizes."
  type = object({
    requests = map(string)
    limits   = map(string)
  })
  default = null
}

variable "storage" {
  description = "The volume of each node."
  type = object({
    size          = optional(string, "8Gi")
    storage_class = optional(string, "")
  })
  default = {}
  validation {
    condition     = can(regex("^[0-9]+(\\.[0-9]+)?[MGT]i?$", var.storage.size))
    error_message = "storage.size: a number and Gi, or M, G, T, Mi, Ti."
  }
}

variable "node_selector" {
  description = "Labels of the machines for the nodes."
  type        = map(string)
  default     = {}
}

variable "tolerations" {
  description = "Taints that the nodes tolerate, as Kubernetes has it."
  type        = list(map(string))
  default     = []
}

variable "expose" {
  description = "How clients reach the nodes. With `NodePort`, `node_port` is what a load balancer outside sends to."
  type = object({
    type          = optional(string, "ClusterIP")
    port          = optional(number, 443)
    node_port     = optional(number)
    annotations   = optional(map(string), {})
    source_ranges = optional(list(string), [])
  })
  default = {}
  validation {
    condition     = contains(["ClusterIP", "NodePort", "LoadBalancer"], var.expose.type)
    error_message = "expose.type: ClusterIP, NodePort or LoadBalancer."
  }
  validation {
    condition     = var.expose.node_port == null || (var.expose.type == "NodePort" && coalesce(var.expose.node_port, 0) >= 30000 && coalesce(var.expose.node_port, 0) <= 32767)
    error_message = "expose.node_port: 30000 to 32767, with type NodePort."
  }
  validation {
    condition     = alltrue([for range in var.expose.source_ranges : can(cidrhost(range, 0))])
    error_message = "expose.source_ranges: networks such as 10.0.0.0/8."
  }
}

variable "tls" {
  description = "The certificate of the client port: made by the chart (`generated`), by cert-manager with the issuer, or from a Secret."
  type = object({
    mode            = optional(string, "generated")
    dns_names       = optional(list(string), [])
    issuer          = optional(string, "")
    issuer_kind     = optional(string, "ClusterIssuer")
    existing_secret = optional(string, "")
    internal_names  = optional(bool, true)
  })
  default = {}
  validation {
    condition     = contains(["generated", "certManager", "secret"], var.tls.mode)
    error_message = "tls.mode: generated, certManager or secret."
  }
  validation {
    condition     = var.tls.mode != "certManager" || var.tls.issuer != ""
    error_message = "tls.issuer: name the issuer of cert-manager."
  }
  validation {
    condition     = var.tls.mode != "secret" || var.tls.existing_secret != ""
    error_message = "tls.existing_secret: name the Secret with tls.crt and tls.key."
  }
}

variable "cluster_tls_mode" {
  description = "The certificates between nodes: `generated` or `certManager`."
  type        = string
  default     = "generated"
  validation {
    condition     = contains(["generated", "certManager"], var.cluster_tls_mode)
    error_message = "cluster_tls_mode: generated or certManager."
  }
}

variable "realms" {
  description = "Realms with their roles, topics and definitions, by the names of docs/config.md."
  type        = any
  validation {
    condition     = length(var.realms) > 0 && alltrue([for realm in var.realms : can(realm.name)])
    error_message = "realms: at least one, each with a name."
  }
}

variable "principals" {
  description = "Who may join, by the name of the realm and of the principal: `realm/authid`. Secrets stand in `tickets`."
  type = map(object({
    role         = string
    public_keys  = optional(list(string), [])
    certificates = optional(list(string), [])
  }))
  default = {}
  validation {
    condition     = alltrue([for name in keys(var.principals) : length(split("/", name)) == 2])
    error_message = "principals: write realm/authid."
  }
}

variable "tickets" {
  description = "Tickets of principals, by the same names. They come into a Secret, and into the state of Terraform: keep that closed."
  type        = map(string)
  default     = {}
  sensitive   = true
  validation {
    condition     = alltrue([for ticket in values(var.tickets) : length(ticket) >= 8])
    error_message = "tickets: at least 8 characters each, best a long random text."
  }
}

variable "redis_url" {
  description = "Address of a Redis server for topics that are kept there, password included. Default: none."
  type        = string
  default     = null
  sensitive   = true
  validation {
    condition     = var.redis_url == null || can(regex("^rediss?://", var.redis_url))
    error_message = "redis_url: redis:// or rediss:// and the rest."
  }
}

variable "settings" {
  description = "Further settings, by section: limits, store, log, node, as docs/config.md has them."
  type        = any
  default     = {}
}

variable "values" {
  description = "Further values of the chart, as YAML texts; the last one decides."
  type        = list(string)
  default     = []
}

variable "timeout_secs" {
  description = "Seconds that an installation or upgrade may take: a node at a time, each with its grace period."
  type        = number
  default     = 900
  validation {
    condition     = var.timeout_secs >= 60
    error_message = "timeout_secs: at least 60."
  }
}
