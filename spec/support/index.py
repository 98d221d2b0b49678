"""A package index and a Debian mirror for specs: tiny packages by HTTPS, with a certificate authority of their own.

Containers of a build reach no service of this machine, so the index is inside: an image that has what this
program writes serves https://127.0.0.1:8443/simple/ from a thread of the packages stage's own program. Port 8444
never answers.

The mirror, https://127.0.0.1:8445/, has the package spec-hello; apt itself starts it when it updates its lists.

    index.py DIR    writes DIR/ca.pem, and in DIR/image the files of the image
"""
import hashlib
import io
import os
import subprocess
import sys
import zipfile

directory = sys.argv[1]


def wheel(name, version, requires=(), entry=None):
    out = io.BytesIO()
    info = "%s-%s.dist-info" % (name, version)
    members = {
        name + "/__init__.py": "VERSION = %r\n\ndef main():\n    print(VERSION)\n" % version,
        name + "/data/x.txt": "x\n",
        info + "/METADATA": "Metadata-Version: 2.1\nName: %s\nVersion: %s\n%s\n" % (
            name, version, "".join("Requires-Dist: %s\n" % r for r in requires)),
        info + "/WHEEL": "Wheel-Version: 1.0\nGenerator: spec\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "%s-%s.data/scripts/%s-script" % (name, version, name): "#!python\nprint('script')\n",
        "%s-%s.data/data/share/%s.txt" % (name, version, name): "shared\n",
    }
    if entry:
        members[info + "/entry_points.txt"] = "[console_scripts]\n%s = %s:main\n" % (entry, name)
    with zipfile.ZipFile(out, "w") as z:
        for path, text in members.items():
            z.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
        z.writestr(zipfile.ZipInfo(info + "/RECORD", (2020, 1, 1, 0, 0, 0)), "".join(p + ",,\n" for p in members))
    return "%s-%s-py3-none-any.whl" % (name, version), out.getvalue()


def evil():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("evil-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
        z.writestr("evil-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("../../../../etc/evil", "evil\n")
        z.writestr("evil-1.0.dist-info/RECORD", "")
    return "evil-1.0-py3-none-any.whl", out.getvalue()


# In the image: started by a .pth file for every Python, of which one serves.
SERVER = '''
import sys
if "/moonsand/in/wheels.py" in getattr(sys, "orig_argv", ()):
    import hashlib, http.server, os, socket, ssl, threading
    FILES = "/spec/index/files/"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = self.path.strip("/").split("/")
            body, status = b"not found", 404
            if parts[0] == "simple" and len(parts) == 2:
                links = []
                for n in os.listdir(FILES):
                    if n.split("-")[0] == parts[1]:
                        digest = hashlib.sha256(open(FILES + n, "rb").read()).hexdigest()
                        links.append('<a href="/files/%s#sha256=%s">%s</a>' % (n, digest, n))
                if links:
                    body, status = ("<html><body>%s</body></html>" % "".join(links)).encode(), 200
            elif parts[0] == "files" and os.path.exists(FILES + parts[-1]):
                body, status = open(FILES + parts[-1], "rb").read(), 200
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    # One that takes no connection and refuses none, as where packets are lost: what it has room for is there already.
    silent = socket.socket()
    silent.bind(("127.0.0.1", 8444))
    silent.listen(0)
    crowd = [socket.socket() for _ in range(4)]
    for one in crowd:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", 8444))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/spec/index/cert.pem", "/spec/index/key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
'''


# Ends with the container of the step.
MIRROR = '''
import functools, http.server, os, ssl

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 8445), functools.partial(Handler, directory="/spec/mirror"))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/spec/index/cert.pem", "/spec/index/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
if os.fork() == 0:
    for fd in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    server.serve_forever()
'''


def write(path, data):
    path = os.path.join(directory, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def openssl(*argv):
    subprocess.run(("openssl",) + argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)


for name, data in (wheel("tiny", "1.0", entry="tiny-run"), wheel("tiny", "1.1", entry="tiny-run"), wheel("second", "2.0"),
                   wheel("needsold", "1.0", ["tiny<1.1"]), wheel("needsnew", "1.0", ["tiny>=1.1"]), evil()):
    write("image/spec/index/files/" + name, data)
write("image/usr/lib/python3/dist-packages/spec_index.py", SERVER.encode())
write("image/usr/lib/python3/dist-packages/spec_index.pth", b"import spec_index\n")
write("deb/DEBIAN/control", b"Package: spec-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: specs <specs@localhost>\n"
      b"Description: says hello\n")
write("deb/usr/share/spec-hello", b"hello\n")
os.makedirs(os.path.join(directory, "image/spec/mirror"))
deb = os.path.join(directory, "image/spec/mirror/spec-hello_1.0_all.deb")
subprocess.run(["dpkg-deb", "--root-owner-group", "--build", os.path.join(directory, "deb"), deb], check=True,
               stdout=subprocess.DEVNULL)
with open(deb, "rb") as f:
    data = f.read()
packages = ("Package: spec-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: specs <specs@localhost>\nFilename: "
            "./spec-hello_1.0_all.deb\nSize: %d\nSHA256: %s\nDescription: says hello\n" % (
                len(data), hashlib.sha256(data).hexdigest())).encode()
write("image/spec/mirror/Packages", packages)
write("image/spec/mirror/Release", b"SHA256:\n %s %d Packages\n" % (
    hashlib.sha256(packages).hexdigest().encode(), len(packages)))
write("image/spec/mirror.py", MIRROR.encode())
write("image/etc/apt/sources.list", b"deb [trusted=yes] https://127.0.0.1:8445/ ./\n")
write("image/etc/apt/apt.conf.d/spec", b'Dir::Etc::sourceparts "-";\n'
      b'APT::Update::Pre-Invoke { "exec python3 /spec/mirror.py"; };\n')
openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=spec index ca", "-keyout", "ca.key",
        "-out", "ca.pem")
openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=index", "-keyout", "image/spec/index/key.pem", "-out", "index.csr")
write("ext", b"subjectAltName=IP:127.0.0.1\n")
openssl("x509", "-req", "-days", "2", "-in", "index.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-extfile", "ext", "-out", "image/spec/index/cert.pem")
