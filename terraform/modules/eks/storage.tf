# Disks for the nodes, and a bucket for whatever copies them.

data "aws_iam_policy_document" "pods" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "disks" {
  statement {
    actions   = ["kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant", "kms:DescribeKey", "kms:ReEncrypt*"]
    resources = [aws_kms_key.this.arn]
  }
}

resource "aws_iam_role" "disks" {
  name               = "${var.name}-disks"
  assume_role_policy = data.aws_iam_policy_document.pods.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "disks" {
  role       = aws_iam_role.disks.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}

resource "aws_iam_role_policy" "disks" {
  name   = "key"
  role   = aws_iam_role.disks.id
  policy = data.aws_iam_policy_document.disks.json
}

resource "aws_eks_addon" "disks" {
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = "aws-ebs-csi-driver"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  pod_identity_association {
    role_arn        = aws_iam_role.disks.arn
    service_account = "ebs-csi-controller-sa"
  }
  tags       = var.tags
  depends_on = [aws_eks_node_group.this]
}

# Fast enough for an fsync per registration; kept when a claim is deleted, since a voter that loses its disk is lost.
resource "kubernetes_storage_class_v1" "this" {
  metadata {
    name = "${var.name}-gp3"
  }
  storage_provisioner    = "ebs.csi.aws.com"
  reclaim_policy         = "Retain"
  volume_binding_mode    = "WaitForFirstConsumer"
  allow_volume_expansion = true
  parameters = {
    type      = "gp3"
    encrypted = "true"
    kmsKeyId  = aws_kms_key.this.arn
  }
  depends_on = [aws_eks_addon.disks]
}

resource "aws_s3_bucket" "backup" {
  count  = var.backup_bucket == null ? 0 : 1
  bucket = var.backup_bucket
  tags   = var.tags
}

resource "aws_s3_bucket_public_access_block" "backup" {
  count                   = length(aws_s3_bucket.backup)
  bucket                  = aws_s3_bucket.backup[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "backup" {
  count  = length(aws_s3_bucket.backup)
  bucket = aws_s3_bucket.backup[0].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backup" {
  count  = length(aws_s3_bucket.backup)
  bucket = aws_s3_bucket.backup[0].id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "backup" {
  count  = length(aws_s3_bucket.backup)
  bucket = aws_s3_bucket.backup[0].id
  rule {
    id     = "old"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.backup_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "backup" {
  count = length(aws_s3_bucket.backup)
  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.backup[0].arn, "${aws_s3_bucket.backup[0].arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "backup" {
  count  = length(aws_s3_bucket.backup)
  bucket = aws_s3_bucket.backup[0].id
  policy = data.aws_iam_policy_document.backup[0].json
}
