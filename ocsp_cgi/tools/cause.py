"""What is known when the cause of a fault is looked for, and what is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import layout
from .apache_config import Configuration, Directive, VirtualHost
from .layout import Layout
from .probe import Fault, Outcome, Target


class Cause(NamedTuple):
    """Why something fails: `text` in the operator's words, `where` it is (`file:line` or a path),
    and the `command` that fixes it, or shows more.  The last two may be empty."""

    text: str
    where: str = ""
    command: str = ""


class Server(NamedTuple):
    """The Apache that was asked: its `configuration`, the `virtual_host` that answers, its `user`,
    the `log` lines that it wrote meanwhile, the command that runs `apache`, and the distribution's
    `layout`."""

    configuration: Configuration
    virtual_host: VirtualHost
    user: str
    log: list[str]
    apache: tuple[str, ...]
    layout: Layout | None

    def control(self, action: str) -> str:
        """The command to type so that Apache does this: start, restart or reload."""
        if self.layout is not None and layout.systemd_runs():
            return f"systemctl {action} {self.layout.service}"
        return f"{' '.join(self.apache)} -k {action.replace('reload', 'graceful')}"

    def reload_edited(self) -> str:
        """The command to type once its configuration has been changed as a finding says."""
        return f"{self.control('reload')}    # after that change"


class Case(NamedTuple):
    """A fault among the outcomes of all ways, and who was asked."""

    fault: Fault
    outcomes: Sequence[Outcome]
    whom: Target
    server: Server

    def directives(self, *names: str) -> list[Directive]:
        """The directives with these names that are in force for what was asked."""
        server = self.server
        return server.configuration.in_force_at(server.virtual_host, self.whom.path, *names)

    @property
    def ways(self) -> list[str]:
        """The ways in which this fault was seen."""
        return ways_of(self.fault, self.outcomes)


def ways_of(fault: Fault, outcomes: Sequence[Outcome]) -> list[str]:
    """The ways in which a fault was seen, whatever else is in the reply."""
    wanted = (fault.symptom, fault.text)
    return [
        one.way
        for one in outcomes
        if wanted in [(other.symptom, other.text) for other in one.faults]
    ]
