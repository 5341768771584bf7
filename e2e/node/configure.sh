# shellcheck shell=bash disable=SC2154  # layout.sh and e2e/cluster set what is not set here
# Keys, tokens and configuration of the node's programs, made anew by each `up`. Sourced by e2e/cluster.

# One authority, one certificate for the API server (also its identity towards the kubelet), one pair
# of keys for service accounts. Everyone else shows a token.
make_keys() {
    mkdir -p "$pki"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=mcpd-cluster \
        -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=kube-apiserver \
        -keyout "$pki/apiserver.key" -out "$pki/apiserver.csr" 2>/dev/null
    openssl x509 -req -days 30 -in "$pki/apiserver.csr" -out "$pki/apiserver.crt" \
        -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -extfile <(
            echo "extendedKeyUsage=serverAuth,clientAuth"
            echo "subjectAltName=IP:$node_address,IP:127.0.0.1,IP:$first_service,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
        ) 2>/dev/null
    openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
    openssl rsa -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub" 2>/dev/null
}

# A line of the token file, and a kubeconfig that shows that token.
make_identity() {
    local file=$1 user=$2 groups=$3 token
    token=$(openssl rand -hex 24)
    echo "$token,$user,$user,\"$groups\"" >>"$pki/tokens.csv"
    cat >"$file" <<END
apiVersion: v1
kind: Config
current-context: mcpd
clusters: [{name: mcpd, cluster: {server: "$api", certificate-authority: "$pki/ca.crt"}}]
users: [{name: "$user", user: {token: "$token"}}]
contexts: [{name: mcpd, context: {cluster: mcpd, user: "$user"}}]
END
}

make_identities() {
    : >"$pki/tokens.csv"
    make_identity "$kubeconfig" admin system:masters
    make_identity "$config/controller-manager.kubeconfig" system:kube-controller-manager ""
    make_identity "$config/scheduler.kubeconfig" system:kube-scheduler ""
    make_identity "$config/kubelet.kubeconfig" "system:node:$node_name" system:nodes
    make_identity "$config/proxy.kubeconfig" system:kube-proxy ""
    make_identity "$config/policies.kubeconfig" system:network-policies ""
    make_identity "$config/coredns.kubeconfig" system:coredns ""
}

# Not every root may lower the score by which the kernel chooses whom to kill, or raise a limit of
# open files, so nothing here asks for either.
configure_runtime() {
    cat >"$config/containerd.toml" <<END
version = 2
root = "$home/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$containerd_socket"
[plugins."io.containerd.internal.v1.opt"]
path = "$home/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "local/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni_programs"
conf_dir = "$config/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
END
    # A routed link for each pod, not a bridge: what a bridge forwards by itself bypasses the rules
    # that turn a Service's answers back.
    cat >"$config/cni/10-mcpd.conflist" <<END
{"cniVersion": "0.4.0", "name": "mcpd", "plugins": [{"type": "ptp", "mtu": 1500,
  "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "$pod_range"}]],
           "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
}

configure_kubelet() {
    cat >"$config/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$containerd_socket
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$pki/ca.crt"}}
authorization: {mode: Webhook}
clusterDNS: ["$node_address"]
clusterDomain: cluster.local
resolvConf: $config/resolv.conf
volumePluginDir: $home/kubelet/volume-plugins
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
# A full disk of the machine is not the cluster's to mend.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
END
    # Pods are to find no name outside the cluster.
    echo "nameserver $node_address" >"$config/resolv.conf"
}

configure_network() {
    cat >"$config/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: "$config/proxy.kubeconfig"}
hostnameOverride: $node_name
clusterCIDR: $pod_range
oomScoreAdj: 0
# These belong to the whole machine.
conntrack: {maxPerCore: 0, min: 0}
END
    cat >"$config/Corefile" <<END
.:53 {
    bind $node_address
    errors
    ready $node_address:8181
    kubernetes cluster.local {
        kubeconfig $config/coredns.kubeconfig
    }
}
END
    readers >"$config/readers.yaml"
}

# What those may read that Kubernetes itself has no role for.
readers() {
    reader system:coredns '{apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}' \
        '{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}'
    reader system:network-policies \
        '{apiGroups: [""], resources: [services, pods, namespaces, nodes, endpoints], verbs: [get, list, watch]}' \
        '{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}' \
        '{apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch]}'
}

reader() {
    local user=$1 kind='apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole'
    shift
    printf -- '---\n%s\nmetadata: {name: "%s"}\nrules:\n' "$kind" "$user"
    printf -- '- %s\n' "$@"
    printf -- '---\n%sBinding\nmetadata: {name: "%s"}\n' "$kind" "$user"
    printf 'roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "%s"}\n' "$user"
    printf 'subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "%s"}]\n' "$user"
}

configure() {
    mkdir -p "$config/cni"
    make_keys
    make_identities
    configure_runtime
    configure_kubelet
    configure_network
}
