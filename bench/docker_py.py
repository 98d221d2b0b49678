"""One program that prints 4 (`print(2+2)`) through docker-py with moonsand's default limits; prints the seconds it took.

Only the call is timed: interpreter and imports are not docker-py's fault.
"""
import sys
import time

import docker
from docker.types import LogConfig, Ulimit

client = docker.DockerClient(base_url=sys.argv[1], version="1.41")
client.ping()
began = time.monotonic()
container = client.containers.create(
    sys.argv[2],
    ["python3", "-c", sys.argv[3] if len(sys.argv) > 3 else "print(2+2)"],
    network_mode="none",
    read_only=True,
    cap_drop=["ALL"],
    security_opt=["no-new-privileges"],
    mem_limit="512m",
    memswap_limit="512m",
    nano_cpus=500_000_000,
    pids_limit=128,
    user="70000:70000",
    tmpfs={"/tmp": "rw,nosuid,nodev,noexec,size=64m,nr_inodes=8192,mode=1777"},
    ulimits=[Ulimit(name="nofile", soft=512, hard=512), Ulimit(name="core", soft=0, hard=0)],
    log_config=LogConfig(type="json-file"),
)
container.start()
container.wait()
output = container.logs()
container.remove(force=True)
print(time.monotonic() - began)
assert output == b"4\n", output
