"""What the scenarios are made with: a namespace of a cluster, a release in it, load in pods, a report."""
