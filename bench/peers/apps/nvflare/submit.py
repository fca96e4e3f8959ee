"""Makes the job, hands it in, waits for its end: `python submit.py KIT USER CLIENTS ELEMENTS LAYERS ROUNDS CLOCK`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench_controller import TimedFedAvg
from nvflare.fuel.flare_api.flare_api import NoConnection, Session, new_secure_session
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import FrameworkType, ScriptRunner

LOGIN_S = 60
LOOK_S = 0.5


def main() -> None:
    """Wait for the clients, submit, wait."""
    kit, user, clients, elements, layers, rounds, clock = sys.argv[1:]
    job = FedJob(name="bench", min_clients=int(clients))
    controller = TimedFedAvg(int(elements), int(layers), clock, num_clients=int(clients), num_rounds=int(rounds))
    job.to_server(controller)
    job.to_server("bench_controller.py")
    job.to_clients(ScriptRunner(script="bench_client.py", framework=FrameworkType.NUMPY))
    session = log_in(user, kit)
    while len(session.get_system_info().client_info) < int(clients):
        time.sleep(LOOK_S)
    with tempfile.TemporaryDirectory() as place:
        job.export_job(place)
        number = session.submit_job(str(Path(place) / job.name))
    session.monitor_job(number, timeout=0)
    print(session.get_job_meta(number))


def log_in(user: str, kit: str) -> Session:
    """A session, as soon as the server gives one."""
    ends = time.monotonic() + LOGIN_S
    while True:
        try:
            return new_secure_session(user, kit)
        except NoConnection:
            if time.monotonic() > ends:
                raise
            time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
