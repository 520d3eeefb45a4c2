# What clients reach: a network load balancer (layer 4; TLS ends at the nodes) that sends to a port of the core machines. Machines
# on which no node of Ringfort runs fail the check, since the Service has externalTrafficPolicy Local, and get nothing.

resource "aws_security_group" "load_balancer" {
  name_prefix = "${var.name}-clients-"
  description = "Clients of Ringfort ${var.name}"
  vpc_id      = var.vpc_id
  tags        = var.tags
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each          = toset(var.client_cidrs)
  security_group_id = aws_security_group.load_balancer.id
  description       = "Clients"
  cidr_ipv4         = strcontains(each.key, ":") ? null : each.key
  cidr_ipv6         = strcontains(each.key, ":") ? each.key : null
  ip_protocol       = "tcp"
  from_port         = var.client_port
  to_port           = var.client_port
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "to_nodes" {
  security_group_id            = aws_security_group.load_balancer.id
  description                  = "To the nodes"
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.node_port
  to_port                      = var.node_port
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "from_load_balancer" {
  security_group_id            = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description                  = "Clients, by the load balancer"
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = var.node_port
  to_port                      = var.node_port
  tags                         = var.tags
}

resource "aws_lb" "this" {
  name                             = var.name
  load_balancer_type               = "network"
  internal                         = var.internal
  subnets                          = var.load_balancer_subnet_ids
  security_groups                  = [aws_security_group.load_balancer.id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
  tags                             = var.tags
}

resource "aws_lb_target_group" "this" {
  name        = var.name
  vpc_id      = var.vpc_id
  port        = var.node_port
  protocol    = "TCP"
  target_type = "instance"
  # Failed logins are counted by the address of the client.
  preserve_client_ip = true
  # Sessions are long: a machine that goes gets no new ones, and its nodes say goodbye themselves.
  deregistration_delay   = 60
  connection_termination = false

  health_check {
    protocol            = "TCP"
    port                = "traffic-port"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
  tags = var.tags
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  port              = var.client_port
  protocol          = "TCP"
  # Longer than limits.keepalive_secs by far, so that a silent session is not forgotten on the way.
  tcp_idle_timeout_seconds = 350
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
  tags = var.tags
}

resource "aws_autoscaling_attachment" "core" {
  autoscaling_group_name = aws_eks_node_group.this["core"].resources[0].autoscaling_groups[0].name
  lb_target_group_arn    = aws_lb_target_group.this.arn
}

resource "aws_route53_record" "this" {
  count   = var.dns == null ? 0 : 1
  zone_id = var.dns.zone_id
  name    = var.dns.name
  type    = "A"
  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}
