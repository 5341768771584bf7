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


def service(name: str, port: int) -> dict:
    spec = {"selector": {"app": name}, "ports": [{"port": port, "targetPort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
