"""A proxy of the tests' own: Debian's nginx, that ends TLS and hands on the client's certificate unverified."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.parts import debian
from tests.parts.authorities import Authority

# Where its requests come from: an address that nothing else of the tests has.
ADDRESS = "127.0.0.9"
HEADER = "X-Client-Certificate"
_PATIENCE_SECONDS = 10


@contextmanager
def nginx(target: str, authority: Authority) -> Iterator[str]:
    """Run a proxy in front of a target, with a server certificate of an authority; yield its address.

    Raises:
        MissingPart: it is not installed and cannot be.
    """
    debian.install("nginx-light")
    folder = Path(tempfile.mkdtemp(prefix="cortexql-nginx-"))
    (folder / "tls").mkdir()
    certificate, key = authority.issue(folder / "tls", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(f"""
daemon off;
pid {folder}/pid;
error_log {folder}/log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_verify_client optional_no_ca;
    location / {{
      proxy_pass {target};
      proxy_bind {ADDRESS};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header {HEADER} $ssl_client_escaped_cert;
    }}
  }}
}}
""")
    command = ["setpriv", "--pdeathsig=TERM", "nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < give_up and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        else:
            raise RuntimeError(f"nginx does not answer: {(folder / 'log').read_text()[-1000:]}")
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)
