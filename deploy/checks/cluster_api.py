"""As much of a Kubernetes API server as `helm template --dry-run=server` asks for `lookup`: discovery, and GET of given objects."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESOURCES = {
    "v1": [("secrets", "Secret"), ("configmaps", "ConfigMap"), ("services", "Service"), ("serviceaccounts", "ServiceAccount"), ("pods", "Pod")],
    "apps/v1": [("statefulsets", "StatefulSet")],
    "batch/v1": [("jobs", "Job")],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
    "networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy")],
}


class ClusterApi:
    """Serves `objects` on a free port of the loopback address while the context is open."""

    def __init__(self, objects):
        self.objects = {}
        for thing in objects:
            version, kind = thing["apiVersion"], thing["kind"]
            plural = next(plural for plural, its in RESOURCES[version] if its == kind)
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            meta = thing["metadata"]
            self.objects[f"{base}/namespaces/{meta['namespace']}/{plural}/{meta['name']}"] = thing

    def __enter__(self):
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 - the name is the library's
                status, body = answer(self.path.split("?")[0])
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path):
        path = path.rstrip("/")
        if path in self.objects:
            return 200, self.objects[path]
        if path == "/version":
            return 200, {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            groups = [version.split("/") for version in RESOURCES if "/" in version]
            one = lambda group, version: {"groupVersion": f"{group}/{version}", "version": version}  # noqa: E731
            listed = [{"name": g, "versions": [one(g, v)], "preferredVersion": one(g, v)} for g, v in groups]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in RESOURCES:
            things = [{"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": ["get", "list"]} for plural, kind in RESOURCES[version]]
            return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": things}
        gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": f"{path} not found"}
        return 404, gone
