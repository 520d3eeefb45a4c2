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
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_resource "aws_vpc" {
    defaults = { id = "vpc-1" }
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

mock_provider "helm" {}

run "all_of_it" {
  command = apply
  variables {
    image          = { repository = "registry.example.org/ringfort", tag = "0.1.0" }
    operator_cidrs = ["192.0.2.0/24"]
    tickets        = { "realm1/lamp" = "a-long-random-text", "realm1/phone" = "another-long-text" }
    dns            = { zone_id = "Z2", name = "wamp.example.org" }
  }
  assert {
    condition     = output.url == "wss://wamp.example.org/ws"
    error_message = "clients connect by name"
  }
  assert {
    condition     = module.ringfort.namespace == "ringfort" && module.eks.storage_class == "home-gp3"
    error_message = "both modules are there"
  }
  assert {
    condition     = length(distinct(concat(aws_subnet.private[*].cidr_block, aws_subnet.public[*].cidr_block))) == 6
    error_message = "six subnets that do not overlap"
  }
}
