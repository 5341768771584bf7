# shellcheck shell=bash disable=SC2034  # the files that source this use it
# Where the node keeps what, and its addresses. Sourced, never run.

# Everything of the cluster: state, logs, kubeconfig. Removed by `down`, the logs excepted.
home=${MCPD_CLUSTER:-${XDG_CACHE_HOME:-$HOME/.cache}/mcpd-cluster}
kubeconfig=$home/kubeconfig
logs=$home/logs
programs=$home/programs
pki=$home/pki
config=$home/config
# The node's own cgroup in each hierarchy, so that what is left of it can be told and removed.
cgroup=mcpd-node

node_name=mcpd-node
host_link=mcpd-host
host_address=10.195.0.1
node_address=10.195.0.2
pod_range=10.196.0.0/16
service_range=10.197.0.0/16
first_service=10.197.0.1
api=https://$node_address:6443
containerd_socket=/run/containerd/containerd.sock
