# A whole cluster: network, machines, load balancer, and three nodes of Ringfort with two principals.
#
#   terraform init && terraform apply -var-file=my.tfvars

provider "aws" {
  region = var.region
  default_tags {
    tags = { Project = var.name }
  }
}

# Both ask for a token each time: one from a plan would be old when it is applied.
provider "kubernetes" {
  host                   = module.eks.endpoint
  cluster_ca_certificate = module.eks.certificate_authority
  exec {
    api_version = "client.authentication.k8s.io/v1"
    command     = "aws"
    args        = ["eks", "get-token", "--region", var.region, "--cluster-name", module.eks.cluster_name]
  }
}

provider "helm" {
  kubernetes = {
    host                   = module.eks.endpoint
    cluster_ca_certificate = module.eks.certificate_authority
    exec = {
      api_version = "client.authentication.k8s.io/v1"
      command     = "aws"
      args        = ["eks", "get-token", "--region", var.region, "--cluster-name", module.eks.cluster_name]
    }
  }
}

module "eks" {
  source                   = "../../modules/eks"
  name                     = var.name
  vpc_id                   = aws_vpc.this.id
  private_subnet_ids       = aws_subnet.private[*].id
  load_balancer_subnet_ids = aws_subnet.public[*].id
  public_endpoint_cidrs    = var.operator_cidrs
  dns                      = var.dns
  backup_bucket            = var.backup_bucket
  depends_on               = [aws_route_table_association.private]
}

module "ringfort" {
  source        = "../../modules/ringfort"
  chart         = "${path.module}/../../../helm/ringfort"
  image         = var.image
  node_selector = module.eks.core_pool.node_selector
  tolerations   = module.eks.core_pool.tolerations
  storage       = { size = "20Gi", storage_class = module.eks.storage_class }
  expose        = { type = "NodePort", node_port = module.eks.node_port }
  tls           = { dns_names = var.dns == null ? [] : [var.dns.name] }

  realms = [{
    name = "realm1"
    roles = [
      { name = "device", permissions = [{ uri = "device.{authid}.", match = "prefix", allow = ["register", "publish"] }] },
      { name = "app", permissions = [{ uri = "device.", match = "prefix", allow = ["call", "subscribe"] }] },
    ]
  }]
  principals = {
    "realm1/lamp"  = { role = "device" }
    "realm1/phone" = { role = "app" }
  }
  tickets = var.tickets
}

output "url" {
  description = "Where clients connect."
  value       = "wss://${module.eks.address}/ws"
}

output "kubeconfig" {
  description = "How to get at the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${module.eks.cluster_name}"
}
