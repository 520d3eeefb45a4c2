mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/1" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/one" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/one/1", dns_name = "one.elb.example.org", zone_id = "Z1" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/one/1" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-1", latest_version = 1 }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { certificate_authority = [{ data = "Y2E=" }] }
  }
  mock_resource "aws_eks_node_group" {
    defaults = { resources = [{ autoscaling_groups = [{ name = "core-1" }] }] }
  }
}
mock_provider "kubernetes" {}

variables {
  name                     = "home"
  vpc_id                   = "vpc-1"
  private_subnet_ids       = ["subnet-1", "subnet-2", "subnet-3"]
  load_balancer_subnet_ids = ["subnet-4", "subnet-5", "subnet-6"]
}

run "the_least_that_is_needed" {
  command = apply
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].endpoint_private_access
    error_message = "the API is private unless told otherwise"
  }
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == aws_kms_key.this.arn && aws_kms_key.this.enable_key_rotation
    error_message = "secrets are encrypted with a key that turns"
  }
  assert {
    condition     = aws_eks_node_group.this["core"].scaling_config[0].desired_size == 3 && one(aws_eks_node_group.this["core"].taint).key == "ringfort.io/dedicated"
    error_message = "three machines for the nodes, and for nothing else"
  }
  assert {
    condition     = length(aws_eks_node_group.this["general"].taint) == 0
    error_message = "machines for the rest"
  }
  assert {
    condition     = alltrue([for template in values(aws_launch_template.this) : template.metadata_options[0].http_tokens == "required" && template.block_device_mappings[0].ebs[0].encrypted == "true"])
    error_message = "encrypted disks, and the second version of the metadata service"
  }
  assert {
    condition     = strcontains(aws_eks_addon.this["vpc-cni"].configuration_values, "enableNetworkPolicy")
    error_message = "policies are enforced"
  }
  assert {
    condition     = aws_lb.this.load_balancer_type == "network" && aws_lb_target_group.this.preserve_client_ip == "true" && aws_lb_target_group.this.port == 30443
    error_message = "layer 4, with the addresses of clients"
  }
  assert {
    condition     = aws_autoscaling_attachment.core.autoscaling_group_name == "core-1" && length(aws_route53_record.this) == 0 && length(aws_s3_bucket.backup) == 0
    error_message = "the core machines are the targets; no record and no bucket"
  }
  assert {
    condition     = kubernetes_storage_class_v1.this.reclaim_policy == "Retain" && output.storage_class == "home-gp3"
    error_message = "disks are kept"
  }
  assert {
    condition     = output.address == "one.elb.example.org" && output.certificate_authority == "ca"
    error_message = "outputs"
  }
}

run "everything" {
  command = apply
  variables {
    core_nodes            = { count = 5, spare = true, instance_type = "m7i.large", architecture = "amd64" }
    other_nodes           = {}
    internal              = true
    client_cidrs          = ["10.0.0.0/8", "2001:db8::/32"]
    public_endpoint_cidrs = ["192.0.2.0/24"]
    dns                   = { zone_id = "Z2", name = "wamp.example.org" }
    backup_bucket         = "home-ringfort-backup"
  }
  assert {
    condition     = aws_eks_node_group.this["core"].scaling_config[0].min_size == 6 && aws_eks_node_group.this["core"].scaling_config[0].max_size == 7 && aws_eks_node_group.this["core"].ami_type == "AL2023_x86_64_STANDARD"
    error_message = "five and a spare one"
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["192.0.2.0/24"])
    error_message = "the API from one network"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.clients["2001:db8::/32"].cidr_ipv6 == "2001:db8::/32" && aws_vpc_security_group_ingress_rule.clients["10.0.0.0/8"].cidr_ipv4 == "10.0.0.0/8"
    error_message = "both kinds of addresses"
  }
  assert {
    condition     = aws_route53_record.this[0].name == "wamp.example.org" && output.address == "wamp.example.org"
    error_message = "a name"
  }
  assert {
    condition     = aws_s3_bucket_versioning.backup[0].versioning_configuration[0].status == "Enabled" && aws_s3_bucket_public_access_block.backup[0].restrict_public_buckets
    error_message = "a bucket that keeps and is closed"
  }
}

run "an_open_api_is_refused" {
  command = plan
  variables {
    public_endpoint_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.public_endpoint_cidrs]
}

run "an_old_version_is_refused" {
  command = plan
  variables {
    kubernetes_version = "1.33"
  }
  expect_failures = [var.kubernetes_version]
}

run "four_nodes_are_refused" {
  command = plan
  variables {
    core_nodes = { count = 4 }
  }
  expect_failures = [var.core_nodes]
}

run "one_zone_is_refused" {
  command = plan
  variables {
    private_subnet_ids = ["subnet-1"]
  }
  expect_failures = [var.private_subnet_ids]
}

run "a_wrong_port_is_refused" {
  command = plan
  variables {
    node_port = 443
  }
  expect_failures = [var.node_port]
}
