"""The ruler: agreement, bootstrap, sequential tests. It depends on nothing that it measures."""
