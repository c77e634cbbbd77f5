"""The embedded platform behind moldau up: composition only, no Kubernetes."""
