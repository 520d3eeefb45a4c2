# The machines: one group for the nodes of Ringfort, which nothing else may use, and others for the rest.

locals {
  groups = merge(
    { for name, group in var.other_nodes : name => merge(group, { size = group.min, taint = false }) },
    {
      core = {
        instance_type = var.core_nodes.instance_type
        architecture  = var.core_nodes.architecture
        disk_gib      = var.core_nodes.disk_gib
        size          = var.core_nodes.count + (var.core_nodes.spare ? 1 : 0)
        min           = var.core_nodes.count + (var.core_nodes.spare ? 1 : 0)
        # One more while machines are replaced, so that no node has to wait for a place.
        max   = var.core_nodes.count + 1 + (var.core_nodes.spare ? 1 : 0)
        taint = true
      }
    },
  )
}

data "aws_iam_policy_document" "machines" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "machines" {
  name               = "${var.name}-machines"
  assume_role_policy = data.aws_iam_policy_document.machines.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "machines" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"])
  role       = aws_iam_role.machines.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.key}"
}

resource "aws_launch_template" "this" {
  for_each    = local.groups
  name_prefix = "${var.name}-${each.key}-"

  # Version 2 of the metadata service, and one hop: pods cannot reach it.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type = "gp3"
      volume_size = each.value.disk_gib
      encrypted   = true
      kms_key_id  = aws_kms_key.this.arn
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(var.tags, { Name = "${var.name}-${each.key}" })
  }
  tags = var.tags
}

resource "aws_eks_node_group" "this" {
  for_each        = local.groups
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.machines.arn
  subnet_ids      = var.private_subnet_ids
  instance_types  = [each.value.instance_type]
  ami_type        = each.value.architecture == "arm64" ? "AL2023_ARM_64_STANDARD" : "AL2023_x86_64_STANDARD"
  labels          = { "ringfort.io/pool" = each.key }

  scaling_config {
    desired_size = each.value.size
    min_size     = each.value.min
    max_size     = each.value.max
  }

  # One machine at a time, as the PodDisruptionBudget of the chart has it.
  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.this[each.key].id
    version = aws_launch_template.this[each.key].latest_version
  }

  dynamic "taint" {
    for_each = each.value.taint ? ["ringfort"] : []
    content {
      key    = "ringfort.io/dedicated"
      value  = taint.value
      effect = "NO_SCHEDULE"
    }
  }

  lifecycle {
    # An autoscaler of the others' decides.
    ignore_changes = [scaling_config[0].desired_size]
  }

  tags       = var.tags
  depends_on = [aws_iam_role_policy_attachment.machines, aws_eks_addon.this]
}

# These need machines to run on.
resource "aws_eks_addon" "coredns" {
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = "coredns"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = var.tags
  depends_on                  = [aws_eks_node_group.this]
}
