# The Helm release of a Ringfort cluster, with its namespace and its secrets.

locals {
  # In the order of their names, so that positions in the list stay as long as nobody comes or goes before them.
  principal_names = sort(keys(var.principals))
  principals = [for name in local.principal_names : merge(
    {
      realm  = split("/", name)[0]
      authid = split("/", name)[1]
      role   = var.principals[name].role
    },
    length(var.principals[name].public_keys) > 0 ? { public_keys = var.principals[name].public_keys } : {},
    length(var.principals[name].certificates) > 0 ? { certificates = var.principals[name].certificates } : {},
  )]

  # Names of tickets are no secret, what they are is.
  ticket_names = sort(nonsensitive(keys(var.tickets)))
  has_redis    = nonsensitive(var.redis_url != null)
  secret_name  = "${var.name}-credentials"
  secret_settings = [for name in local.ticket_names : {
    setting = "principal[${index(local.principal_names, name)}].ticket"
    name    = local.secret_name
    key     = replace(name, "/", "_")
  } if contains(local.principal_names, name)]

  namespace = var.create_namespace ? kubernetes_namespace_v1.this[0].metadata[0].name : var.namespace

  chart_values = {
    fullnameOverride = var.name
    image            = var.image
    core = merge(
      {
        replicas     = var.replicas
        nodeSelector = var.node_selector
        tolerations  = var.tolerations
        # Secrets are read at the start: other ones are a rolling restart.
        podAnnotations = { "checksum/credentials" = sha256(jsonencode([nonsensitive(sha256(jsonencode(var.tickets))), nonsensitive(sha256(coalesce(var.redis_url, "-")))])) }
      },
      var.resources == null ? {} : { resources = var.resources },
    )
    persistence = { size = var.storage.size, storageClassName = var.storage.storage_class }
    listeners = [merge(
      { name = "wamp", port = 8443, servicePort = var.expose.port, tls = true },
      var.expose.node_port == null ? {} : { nodePort = var.expose.node_port },
    )]
    service = {
      type                     = var.expose.type
      annotations              = var.expose.annotations
      loadBalancerSourceRanges = var.expose.source_ranges
    }
    tls = {
      mode           = var.tls.mode
      dnsNames       = var.tls.dns_names
      existingSecret = var.tls.existing_secret
      internalNames  = var.tls.internal_names
      issuerRef      = { kind = var.tls.issuer_kind, name = var.tls.issuer }
    }
    cluster        = { tls = { mode = var.cluster_tls_mode } }
    config         = merge(var.settings, { realm = var.realms, principal = local.principals })
    secretSettings = local.secret_settings
    redis = {
      enabled   = local.has_redis
      urlSecret = { name = local.has_redis ? local.secret_name : "", key = "redis-url" }
    }
  }
}

resource "kubernetes_namespace_v1" "this" {
  count = var.create_namespace ? 1 : 0
  metadata {
    name = var.namespace
    labels = {
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
    }
  }
}

resource "kubernetes_secret_v1" "credentials" {
  count = length(local.ticket_names) > 0 || local.has_redis ? 1 : 0
  metadata {
    name      = local.secret_name
    namespace = local.namespace
  }
  data = merge(
    { for name in local.ticket_names : replace(name, "/", "_") => var.tickets[name] },
    local.has_redis ? { "redis-url" = var.redis_url } : {},
  )

  lifecycle {
    precondition {
      condition     = length(setsubtract(local.ticket_names, local.principal_names)) == 0
      error_message = "tickets: ${join(", ", setsubtract(local.ticket_names, local.principal_names))} is not among principals."
    }
  }
}

resource "helm_release" "this" {
  name      = var.name
  namespace = local.namespace
  chart     = var.chart
  version   = var.chart_version

  # A failed upgrade goes back: half of the nodes on settings that the others do not have is worse than the old ones.
  atomic      = true
  wait        = true
  timeout     = var.timeout_secs
  max_history = 10

  values = concat([yamlencode(local.chart_values)], var.values)

  depends_on = [kubernetes_secret_v1.credentials]
}
