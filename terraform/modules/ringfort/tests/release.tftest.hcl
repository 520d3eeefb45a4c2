mock_provider "helm" {}
mock_provider "kubernetes" {}

variables {
  chart = "../../../helm/ringfort"
  image = { repository = "registry.example.org/ringfort", tag = "0.1.0" }
  realms = [{
    name  = "realm1"
    roles = [{ name = "device", permissions = [{ uri = "device.", match = "prefix", allow = ["register"] }] }]
  }]
}

run "the_least_that_is_needed" {
  command = apply
  assert {
    condition     = yamldecode(helm_release.this.values[0]).core.replicas == 3
    error_message = "three nodes"
  }
  assert {
    condition     = helm_release.this.atomic && helm_release.this.wait && helm_release.this.namespace == "ringfort"
    error_message = "an installation that is waited for, in its namespace"
  }
  assert {
    condition     = length(kubernetes_secret_v1.credentials) == 0 && !yamldecode(helm_release.this.values[0]).redis.enabled
    error_message = "no secret is made of nothing"
  }
  assert {
    condition     = kubernetes_namespace_v1.this[0].metadata[0].labels["pod-security.kubernetes.io/enforce"] == "restricted"
    error_message = "Pod Security restricted"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).config.realm[0].roles[0].permissions[0].uri == "device."
    error_message = "realms arrive as they are"
  }
}

run "secrets_go_into_a_secret_and_into_no_value" {
  command = apply
  variables {
    principals = {
      "realm1/phone" = { role = "app" }
      "realm1/lamp"  = { role = "device", public_keys = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"] }
    }
    tickets   = { "realm1/phone" = "a-long-random-text" }
    redis_url = "rediss://:hidden@redis.example.org:6379/0"
  }
  assert {
    condition     = kubernetes_secret_v1.credentials[0].data["realm1_phone"] == "a-long-random-text"
    error_message = "the ticket is in the Secret"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).secretSettings == [{ setting = "principal[1].ticket", name = "ringfort-credentials", key = "realm1_phone" }]
    error_message = "lamp stands before phone"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).config.principal[1].authid == "phone"
    error_message = "and that is the position of phone"
  }
  assert {
    condition     = !strcontains(helm_release.this.values[0], "a-long-random-text") && !strcontains(helm_release.this.values[0], "hidden")
    error_message = "no secret among the values"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).redis.urlSecret.name == "ringfort-credentials"
    error_message = "the address of Redis comes from the Secret"
  }
}

run "behind_a_load_balancer" {
  command = plan
  variables {
    create_namespace = false
    replicas         = 5
    expose           = { type = "NodePort", node_port = 30443 }
    tls              = { mode = "certManager", issuer = "letsencrypt", dns_names = ["wamp.example.org"], internal_names = false }
    resources        = { requests = { cpu = "2", memory = "4Gi" }, limits = { cpu = "4", memory = "4Gi" } }
    values           = ["helmTest: { enabled: false }"]
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).listeners[0].nodePort == 30443 && yamldecode(helm_release.this.values[0]).service.type == "NodePort"
    error_message = "the port that a load balancer sends to"
  }
  assert {
    condition     = yamldecode(helm_release.this.values[0]).tls.issuerRef.name == "letsencrypt" && length(helm_release.this.values) == 2
    error_message = "cert-manager, and values of one's own behind ours"
  }
  assert {
    condition     = length(kubernetes_namespace_v1.this) == 0 && yamldecode(helm_release.this.values[0]).core.resources.requests.cpu == "2"
    error_message = "a namespace that is there, and sizes"
  }
}

run "two_nodes_are_refused" {
  command = plan
  variables {
    replicas = 2
  }
  expect_failures = [var.replicas]
}

run "an_image_without_a_version_is_refused" {
  command = plan
  variables {
    image = { repository = "ringfort" }
  }
  expect_failures = [var.image]
}

run "a_short_ticket_is_refused" {
  command = plan
  variables {
    tickets = { "realm1/phone" = "short" }
  }
  expect_failures = [var.tickets]
}

run "a_ticket_of_nobody_is_refused" {
  command = plan
  variables {
    tickets = { "realm1/ghost" = "a-long-random-text" }
  }
  expect_failures = [kubernetes_secret_v1.credentials]
}

run "a_port_that_is_no_node_port_is_refused" {
  command = plan
  variables {
    expose = { type = "NodePort", node_port = 443 }
  }
  expect_failures = [var.expose]
}

run "no_realm_is_refused" {
  command = plan
  variables {
    realms = []
  }
  expect_failures = [var.realms]
}

run "cert_manager_without_an_issuer_is_refused" {
  command = plan
  variables {
    tls = { mode = "certManager" }
  }
  expect_failures = [var.tls]
}
