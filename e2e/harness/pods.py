"""Manifests of what the scenarios bring along; all of it fit for the Pod Security Standard *restricted*."""

ENFORCE = ("enforce", "warn", "audit")


def pod_security() -> dict:
    user = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532}
    return user | {"seccompProfile": {"type": "RuntimeDefault"}}


def container_security() -> dict:
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def load_pod(
    name: str,
    image: str,
    args: list[str],
    labels: dict | None = None,
    volumes: dict | None = None,
    token_secret: str = "e2e-tokens",
) -> dict:
    """A pod of the load clients' image. `volumes`: path to volume source. The token for the admin API is in TOKEN."""
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": token_secret, "key": "token"}}}
    volumes = volumes or {}
    container = {
        "name": "e2e",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [token],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": f"v{n}", "mountPath": path} for n, path in enumerate(volumes)],
    }
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [{"name": f"v{n}"} | source for n, source in enumerate(volumes.values())],
    }
    metadata = {"name": name, "labels": labels or {"app": "load"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def observer_pod(name: str, image: str, args: list[str], volumes: dict | None = None, account: str = "default") -> dict:
    """A pod of somebody else's program, with a writable /tmp; ready when it says so by nothing but running."""
    pod = load_pod(name, image, args, {"app": name}, {"/tmp": {"emptyDir": {}}} | (volumes or {}))
    spec = pod["spec"]
    spec["containers"][0]["env"] = []
    spec["serviceAccountName"] = account
    spec["automountServiceAccountToken"] = account != "default"
    return pod


def prometheus_rights(namespace: str) -> list[dict]:
    """Who Prometheus is, and that it may look for pods."""
    metadata = {"name": "prometheus", "labels": {"app": "prometheus"}}
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    subject = {"kind": "ServiceAccount", "name": "prometheus", "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": metadata, "subjects": [subject],
         "roleRef": {"apiGroup": group, "kind": "Role", "name": "prometheus"}},
    ]


def service(name: str, *ports: int) -> dict:
    listed = [{"name": f"p{port}", "port": port, "targetPort": port} for port in ports]
    spec = {"selector": {"app": name}, "ports": listed}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
