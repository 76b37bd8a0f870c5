# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m demo up|stop|clean|status: the hospital of the demo."""
import argparse
import os
import subprocess
import sys

from .bootstrap import check_python, ordered, preparation
from .installation import Installation
from .process import ServiceError
from .state import DEFAULT_PORTS, REPOSITORY, State
from .steps import Programs, Report, StepError, do_steps

INTERRUPTED = 130


def up(state, report):
    with state.lock(report):
        installation = Installation(state)
        code = installation.code_stamp()
        if installation.running() and not state.stamped('code', code):
            installation.stop()
            report.line("Stopped what ran with other code or other ports.")
        installation.check_ports()
        installation.configure()
        programs = Programs(state.log)
        steps = preparation(state, programs)
        steps.append(installation.database_step(programs))
        steps += installation.services_steps()
        steps.append(installation.hospital_step(programs))
        before = installation.running()
        try:
            do_steps(ordered(steps), report, programs)
        except BaseException:
            if not before:
                installation.stop()
            raise
        state.stamp('code', code)
        return play(state, report)


def play(state, report):
    """Play the loop with the interpreter that has the modules."""
    return subprocess.run(
        [str(state.python), '-W', 'ignore', '-m', 'demo.play'],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, env={
            **os.environ,
            'DEMO_STATE': str(state.root),
            'DEMO_ELAPSED': f'{report.elapsed:.3f}',
            'PYTHONUNBUFFERED': '1',
            'PYTHONIOENCODING': 'utf-8',
            }).returncode


def stop(state, report):
    if not state.is_ours():
        report.line("Nothing runs.")
        return 0
    with state.lock(report):
        stop_services(state, report)
    return 0


def stop_services(state, report):
    stopped = Installation(state).stop()
    report.line(
        f"Stopped {', '.join(stopped)}." if stopped else "Nothing runs.")


def clean(state, report):
    if state.is_ours():
        with state.lock(report):
            stop_services(state, report)
            state.remove()
        report.line(f"Removed {state.root}.")
    elif not state.remove():
        report.line(f"There is no {state.root}.")
    return 0


def status(state, report):
    if state.is_ours():
        for service in Installation(state).services:
            report.line(f"{service.name:<18}"
                + (f"runs ({service.pid})" if service.running else "stopped"))
    else:
        report.line("There is no demo here.")
    return 0


def main():
    commands = {'up': up, 'stop': stop, 'clean': clean, 'status': status}
    parser = argparse.ArgumentParser(
        prog='python3 -m demo',
        description="A hospital on this machine: GNU Health, Orthanc, a "
        "viewer and a modality, for loopback only.",
        epilog="Environment: DEMO_STATE (folder), DEMO_ADMIN_PASSWORD (at "
        "the first start), " + ', '.join(
            f'{name} ({port})' for name, port in DEFAULT_PORTS.items()))
    parser.add_argument('command', choices=commands,
        help="up: set up, start and play the loop; stop: stop the services; "
        "clean: stop and remove the state folder; status: what runs")
    command = parser.parse_args().command
    # names in all scripts, whatever the terminal's locale
    sys.stdout.reconfigure(encoding='utf-8', errors='replace')
    report = Report()
    try:
        check_python()
        return commands[command](State(), report)
    except (StepError, ServiceError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The system refused: {error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
