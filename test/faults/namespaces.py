"""Roles on machines of their own, as far as the network goes: network namespaces around one router.

::

    us (the test, REST) ──┐
    reducer ──────────────┤ router ├── combiner north
    client c0 ────────────┤        ├── client c1

    with lan() as net: of roles that are named before they start
        net.cut("c0", "north"); …; net.heal("c0", "north")

What is cut is dropped by the router, both ways and without a word, as by a cable that was pulled; what the kernel
sent into it is sent again after the cable is back. It needs root, `ip`, `nsenter` and `iptables`.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from test.system.network import Network, Role, watched

US = "us"
NETWORK, ADMIN = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
TOKENS = {"FEDN_ALLIANCE_AUTH_TOKEN": NETWORK, "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN": ADMIN}


def run(*command: object) -> None:
    """Run a command that has to succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"


@dataclass
class Lan:
    """A router, and hosts of one address each."""

    mark: str = field(default_factory=lambda: secrets.token_hex(3))
    hosts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if os.geteuid() != 0:
            pytest.fail("network namespaces need root; CI has it")
        # made by chance, so that suites beside each other do not meet; 10.200.0.0/13 is seldom used
        self._net = f"10.{random.SystemRandom().randrange(200, 208)}.{random.SystemRandom().randrange(256)}"
        self._free = itertools.count(0, 4)
        self._router = f"fedn{self.mark}r"
        run("ip", "netns", "add", self._router)
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._join(US, None)
        run("ip", "route", "add", f"{self._net}.0/24", "via", self._gateway(US))

    def add(self, name: str) -> str:
        """A namespace for this role; returns its address."""
        namespace = self._namespace(name)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        self._join(name, namespace)
        run("ip", "-n", namespace, "route", "add", "default", "via", self._gateway(name))
        return self.hosts[name]

    def enter(self, name: str) -> list[str]:
        """What a command begins with, to run in the role's namespace."""
        return ["nsenter", f"--net=/run/netns/{self._namespace(name)}", "--"]

    def inside(self, *command: object) -> None:
        """Run a command at the router."""
        run("nsenter", f"--net=/run/netns/{self._router}", "--", *command)

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between these two any more."""
        self._rules("-I", one, other, "-j", "DROP")

    def heal(self, one: str, other: str) -> None:
        """Undo a cut."""
        self._rules("-D", one, other, "-j", "DROP")

    def lose(self, one: str, other: str, share: float) -> None:
        """Drop this share of the packets between these two, each by chance."""
        self._rules("-A", one, other, "-m", "statistic", "--mode", "random", "--probability", share, "-j", "DROP")

    def keep(self, one: str, other: str, share: float) -> None:
        """Undo a loss."""
        self._rules("-D", one, other, "-m", "statistic", "--mode", "random", "--probability", share, "-j", "DROP")

    def hide(self, name: str, other: str, *, forgets_s: int) -> None:
        """Nobody can dial this host any more; a connection to the other, silent for so long, is forgotten."""
        for key, value in (("tcp_timeout_established", forgets_s), ("tcp_loose", 0)):
            self.inside("sysctl", "-qw", f"net.netfilter.nf_conntrack_{key}={value}")
        for source, target in ((name, other), (other, name)):
            way = ("-s", self.hosts[source], "-d", self.hosts[target])
            self.inside("iptables", "-t", "raw", "-I", "PREROUTING", *way, "-j", "RETURN")
        self.inside("iptables", "-t", "raw", "-A", "PREROUTING", "-j", "CT", "--notrack")
        self.inside("iptables", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
        self.inside("iptables", "-A", "FORWARD", "-d", self.hosts[name], "-p", "tcp", "--syn", "-j", "DROP")

    def close(self) -> None:
        """Delete it all; a namespace takes its links and rules with it."""
        for name in self.hosts:
            if name != US:
                with suppress(AssertionError):
                    run("ip", "netns", "del", self._namespace(name))
        with suppress(AssertionError):
            run("ip", "netns", "del", self._router)

    def _join(self, name: str, namespace: str | None) -> None:
        """A cable from the router to a host, and an address at each end."""
        number = next(self._free)
        self.hosts[name] = f"{self._net}.{number + 2}"
        near, far = f"fn{self.mark}{number}a", f"fn{self.mark}{number}b"
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self._router)
        if namespace is not None:
            run("ip", "link", "set", near, "netns", namespace)
        at_host = ("ip",) if namespace is None else ("ip", "-n", namespace)
        for at, link, address in (
            (at_host, near, self.hosts[name]),
            (("ip", "-n", self._router), far, self._gateway(name)),
        ):
            run(*at, "address", "add", f"{address}/30", "dev", link)
            run(*at, "link", "set", link, "up")

    def _gateway(self, name: str) -> str:
        net, _, last = self.hosts[name].rpartition(".")
        return f"{net}.{int(last) - 1}"

    def _namespace(self, name: str) -> str:
        return f"fedn{self.mark}{name}"

    def _rules(self, do: str, one: str, other: str, *rule: object) -> None:
        for source, target in ((one, other), (other, one)):
            self.inside("iptables", do, "FORWARD", "-s", self.hosts[source], "-d", self.hosts[target], *rule)


class Spread(Network):
    """A network whose roles are each in a namespace of their own."""

    lan: Lan

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between these two roles any more."""
        self.lan.cut(one, other)

    def heal(self, one: str, other: str) -> None:
        """Undo a cut."""
        self.lan.heal(one, other)

    def run(self, name: str, *arguments: object, **environ: str) -> Role:
        """As ever, but at an address of its own."""
        if name not in self.lan.hosts:
            self.lan.add(name)
        self.before[name] = self.lan.enter(name)
        at = () if arguments[1] == "client" else ("--host", self.lan.hosts[name])
        return super().run(name, *arguments, *at, **environ)


@contextmanager
def spread(folder: Path, **environ: str) -> Iterator[Spread]:
    """An empty network over namespaces; at the end no process and no namespace is left."""
    lan = Lan()
    try:
        with watched(Spread(folder, TOKENS | environ)) as made:
            made.lan = lan
            made.http = httpx.Client(timeout=30, headers={"Authorization": f"Bearer {ADMIN}"})
            yield made
    finally:
        lan.close()
