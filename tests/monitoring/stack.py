"""The laptop's stack as far as it can be judged without containers: what its compose file mounts and starts is there."""

import re

import yaml


def problems(folder):
    """Mounts of files that do not exist, arguments that name files nobody mounts, services that nobody has."""
    compose = yaml.safe_load((folder / "docker-compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for name, service in services.items():
        inside = {}
        for mount in service.get("volumes", []):
            source, target = mount.split(":")[:2]
            if source in compose["volumes"]:
                continue
            if not (folder / source).exists():
                yield f"docker-compose.yaml: {name} mounts {source}, which does not exist"
            inside[target] = folder / source
        for path in re.findall(r"/etc/\S+", " ".join(service.get("command", []))):
            if not any(
                path == target or (source / path[len(target) + 1 :]).is_file()
                for target, source in inside.items()
                if path.startswith(target)
            ):
                yield f"docker-compose.yaml: {name} is started with {path}, which is not mounted"
        yield from (
            f"docker-compose.yaml: {name} waits for {other}, which does not exist"
            for other in service.get("depends_on", [])
            if other not in services
        )
    # Files that lead to other services do so by their names.
    for path in sorted(folder.glob("**/*.yaml")):
        text = path.read_text(encoding="utf-8")
        for host in re.findall(r"[\"/ ]([a-z-]+):(?:8080|8081|9090|9100|4317|16686)\b", text):
            if host not in services and host != "localhost":
                yield f"dashboards/stack/{path.name}: there is no service {host}"
