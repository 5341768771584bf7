# shellcheck shell=bash disable=SC2154  # layout.sh and e2e/cluster set what is not set here
# Images without a registry. Sourced by e2e/cluster.

# Imports archives as `buildah push IMAGE docker-archive:FILE:NAME` writes them.
load() {
    local file
    for file in "$@"; do
        enter ctr --address "$containerd_socket" --namespace k8s.io images import "$file" >&2
    done
}

# Writes such an archive of one layer that holds the files of a folder.
archive() {
    local name=$1 folder=$2 entrypoint=$3 file=$4 work
    work=$(mktemp -d)
    tar -C "$folder" --owner 0 --group 0 --numeric-owner -cf "$work/layer.tar" .
    printf '{"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["%s"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:%s"]}}' \
        "$entrypoint" "$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)" >"$work/config.json"
    printf '[{"Config": "config.json", "RepoTags": ["%s"], "Layers": ["layer.tar"]}]' "$name" >"$work/manifest.json"
    tar -C "$work" -cf "$file" manifest.json config.json layer.tar
    rm -r "$work"
}

# What the node itself needs: the process that holds a pod's namespaces.
load_pause() {
    mkdir -p "$home/images/pause"
    cc -static -O2 -o "$home/images/pause/pause" "$here/node/pause.c"
    archive local/pause:1 "$home/images/pause" /pause "$home/images/pause.tar"
    load "$home/images/pause.tar"
}

# What `check` runs in its pods.
load_busybox() {
    mkdir -p "$home/images/busybox/bin"
    cp "$(command -v busybox)" "$home/images/busybox/bin/busybox"
    archive local/busybox:1 "$home/images/busybox" /bin/busybox "$home/images/busybox.tar"
    load "$home/images/busybox.tar"
}
