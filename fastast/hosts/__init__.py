"""Hosts: the models that a reduction can be attached to, one file per library, and how it is attached."""

from fastast.hosts.find import HOSTS, adapter_of, register_host
from fastast.hosts.handle import Handle, reduce, restore
from fastast.hosts.host import Host, HostBlock, weighted_mean

__all__ = [
    "HOSTS",
    "Handle",
    "Host",
    "HostBlock",
    "adapter_of",
    "reduce",
    "register_host",
    "restore",
    "weighted_mean",
]
