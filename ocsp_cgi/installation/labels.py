"""Labels of SELinux."""

from __future__ import annotations

import shutil
import subprocess

from ..config import Settings
from ..tools.plan import Plan, search_path
from ..tools.program import Program


def plan(plan: Plan, settings: Settings, program: Program) -> None:
    """With SELinux: the script is a CGI, and the responder may write to its cache."""
    if plan.steps and are_used():
        plan.command("chcon", "-t", "httpd_sys_script_exec_t", str(program.script))
        for cache in dict.fromkeys(ca.cache for ca in settings.cas if ca.cache):
            plan.command("chcon", "-R", "-t", "httpd_sys_rw_content_t", cache)


def are_used() -> bool:
    """Whether SELinux is enabled."""
    command = shutil.which("selinuxenabled", path=search_path())
    return command is not None and subprocess.run([command]).returncode == 0
