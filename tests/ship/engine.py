"""A second Docker engine, of which the machine's own one knows nothing and that no network reaches."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

UP_SECONDS, DOWN_SECONDS = 90, 60
# Where docker/provide-engine.sh puts an engine, and where distributions put theirs.
PATH = os.pathsep.join([os.environ["PATH"], *(f"/opt/hearth-docker/usr/{d}" for d in ("bin", "sbin")), "/usr/sbin"])
# In the new namespaces: with a /run of its own dockerd sees no system containerd, and its default paths are free.
INSIDE = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec docker-init -s -- dockerd --config-file "$0"'
CGROUPS = Path("/sys/fs/cgroup")


class SecondEngine:
    """dockerd with all that it starts, in a network, PID and mount namespace of its own.

    Its network has a loopback and the engine's bridges and leads nowhere, so ports published on 127.0.0.1 are
    reached by what `run` or `command` brings in there, as a registry for it is. (It cannot share the host's: dockerd
    flushes the iptables chains that another one made, and without iptables the host's own refuse what its bridges
    carry.) Ending the first process of the PID namespace ends dockerd, containerd, shims and containers at once.
    """

    def __init__(self, folder: Path, *, containerd_store: bool = False, insecure_registries: Sequence[str] = ()):
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.log = folder / "dockerd.log"
        self._cgroup = f"hearth-second-{os.getpid()}-{folder.name}"
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0
        (folder / "daemon.json").write_text(
            json.dumps(
                {
                    "hosts": [self.host],
                    "data-root": f"{folder}/data",
                    "cgroup-parent": f"/{self._cgroup}",
                    "exec-opts": ["native.cgroupdriver=cgroupfs"],
                    "features": {"containerd-snapshotter": containerd_store},
                    "insecure-registries": list(insecure_registries),
                    "shutdown-timeout": 5,
                }
            )
        )

    def start(self) -> None:
        """Return when it answers; raises AssertionError with the end of its log when it does not."""
        assert os.geteuid() == 0, "a second Docker engine takes root"
        self.log.touch()
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("DOCKER_")}
        # setpriv: killing the tests must not leave an engine behind.
        command = [
            "setpriv", "--pdeathsig", "KILL",
            "unshare", "--net", "--pid", "--mount", "--propagation", "slave", "--fork", "--kill-child", "--mount-proc",
            "sh", "-c", INSIDE, f"{self.folder}/daemon.json",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._unshare = subprocess.Popen(
                command, env=env | {"PATH": PATH}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
            )  # fmt: skip
        deadline = time.monotonic() + UP_SECONDS
        while not self._answers():
            if self._unshare.poll() is not None or time.monotonic() > deadline:
                self.crash()
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise AssertionError(f"the second engine did not come up in {UP_SECONDS} s; its log ends with:\n{tail}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        assert self._unshare
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        try:
            self._init = int(children.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return False
        return self.run("docker", "info", check=False).returncode == 0

    def stop(self) -> None:
        """SIGTERM, so containers get theirs too; what is left after DOWN_SECONDS is killed."""
        if self._unshare and self._init:
            try:
                os.kill(self._init, signal.SIGTERM)
                self._unshare.wait(DOWN_SECONDS)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        self.crash()

    def crash(self) -> None:
        """A power cut: nothing gets to say goodbye. `start` then finds the same data, in a network made anew."""
        if self._unshare:
            self._unshare.kill()  # its child, the PID namespace's first process, with it
            self._unshare.wait()
        self._unshare, self._init = None, 0
        (self.folder / "docker.sock").unlink(missing_ok=True)
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        """Waits for the last process: a namespace dies a moment after its first one."""
        tops = [*CGROUPS.glob(f"*/{self._cgroup}"), *CGROUPS.glob(self._cgroup)]
        deadline = time.monotonic() + DOWN_SECONDS
        for folder in sorted((Path(walked[0]) for top in tops for walked in os.walk(top)), reverse=True):
            while True:
                try:
                    folder.rmdir()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{folder} still has processes"
                    time.sleep(0.1)

    def command(self, *command: str) -> list[str]:
        """A command line that runs in the engine's network, with its DOCKER_HOST."""
        return [
            "nsenter",
            f"--net=/proc/{self._init}/ns/net",
            "env",
            f"DOCKER_HOST={self.host}",
            f"PATH={PATH}",
            *command,
        ]

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as `command` says and wait for it. Raises AssertionError with its output where it fails."""
        done = subprocess.run(
            self.command(*command), env=os.environ | (env or {}), cwd=cwd, capture_output=True, text=True, timeout=1800
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done


@contextmanager
def second_engine(
    folder: Path, *, containerd_store: bool = False, insecure_registries: Sequence[str] = ()
) -> Iterator[SecondEngine]:
    """A running one with an empty image store in `folder` (on a disk with room for the images), gone afterwards.

    `containerd_store` keeps images in containerd's store, as new installations of Docker do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    engine = SecondEngine(folder, containerd_store=containerd_store, insecure_registries=insecure_registries)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder / "data", ignore_errors=True)
