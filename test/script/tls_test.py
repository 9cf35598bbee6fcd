"""Who is accepted and who is refused, between coil (examples/tlsproxy.c) and the programs of OpenSSL and GnuTLS:
tls_test.py BUILD [WORD]. Prints TAP.

The table is that of test/lib/ca.c; test/story/tls_certificates.c goes through it with coil on both sides.
"""
import contextlib
import itertools
import socket

from programs import BACKENDS, at_most, main, until
from tls_peers import ask_gnutls, ask_s_client, authority, echo_server, name_options, s_server, tlsproxy

VERSIONS = {"1.2": ("-tls1_2", "NORMAL:-VERS-ALL:+VERS-TLS1.2"), "1.3": ("-tls1_3", "NORMAL:-VERS-ALL:+VERS-TLS1.3")}
# What OpenSSL's and GnuTLS's own clients take, and coil does not.
LENIENT = {("common_name_only", "host.test"), ("wildcard_partial", "fine.host.test"), ("anonymous", "host.test")}


def report(wrong):
    assert not wrong, f"{len(wrong)} cases: " + "; ".join(wrong)


def ask_plainly(port, line=b"ping\n"):
    """One line through a proxy whose clients are plain; what came back, b"" if nothing did."""
    got = b""
    # A client that is turned away may learn it while it still connects.
    with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), timeout=at_most(20)) as s:
        s.sendall(line)
        while not got.endswith(b"\n") and (part := s.recv(100)):
            got += part
    return got


def test_as_a_client_of_s_server(build, backend):
    ca, wrong = authority(build), []
    careless = ["-cipher", "ALL:@SECLEVEL=0"]  # so that it shows what is too weak
    for certificate in dict.fromkeys(case.certificate for case in ca.servers):
        with s_server("-rev", *careless, *ca.own_openssl(certificate)) as (_, port, printed):
            for case, version in itertools.product(ca.servers, VERSIONS):
                if case.certificate != certificate:
                    continue
                before = len(printed())
                with tlsproxy(build, backend, port, "--tls", "--ca", ca.root, "--name", case.host,
                              "--max-version", version) as proxy:
                    got = ask_plainly(proxy.port)
                    proxy.stop()
                    errors = proxy.errors()
                what = f"{certificate} for {case.host}, {version}"
                if (got == b"gnip\n") != (case.refused is None):
                    wrong.append(f"{what}: {got} {errors}")
                elif case.refused and case.words not in errors:
                    wrong.append(f"{what}: {case.words!r} is not in {errors!r}")
                elif not case.refused and f"Protocol version: TLSv{version}" not in printed()[before:]:
                    wrong.append(f"{what}: another version: {printed()[before:]}")
    report(wrong)


def test_as_a_server_of_s_client(build, backend):
    """The client is OpenSSL's, so this shows that coil sends the chain that it should, whole and in order."""
    ca, wrong = authority(build), []
    with echo_server() as echo:
        for certificate in dict.fromkeys(case.certificate for case in ca.servers if not case.unloadable):
            with tlsproxy(build, backend, echo, *ca.own(certificate)) as proxy:
                for case in ca.servers:
                    if case.certificate != certificate or (certificate, case.host) in LENIENT:
                        continue
                    for version, (openssl_version, _) in VERSIONS.items():
                        out, answered = ask_s_client(proxy.port, openssl_version, "-CAfile", ca.root, "-quiet",
                                                     "-verify_return_error", *name_options(case.host))
                        what = f"{certificate} for {case.host}, {version}"
                        if answered != (case.refused is None):
                            wrong.append(f"{what}: {out}")
                        elif case.refused and case.refused not in out:
                            wrong.append(f"{what}: {case.refused!r} is not in {out!r}")
                proxy.stop()
    report(wrong)


def test_weak_certificates_do_not_start_a_server(build, backend):
    ca, wrong = authority(build), []
    for case in ca.servers:
        if case.unloadable:
            try:
                with tlsproxy(build, backend, 1, *ca.own(case.certificate)):
                    wrong.append(f"{case.certificate} was taken")
            except AssertionError as e:  # the program ended before it said its port
                if case.unloadable not in str(e):
                    wrong.append(f"{case.certificate}: {case.unloadable!r} is not in {e}")
    report(wrong)


def test_as_a_server_of_gnutls_cli(build, backend):
    """Another implementation's judgement of the same chains."""
    ca, wrong = authority(build), []
    with echo_server() as echo:
        for certificate in dict.fromkeys(case.certificate for case in ca.servers if not case.unloadable):
            with tlsproxy(build, backend, echo, *ca.own(certificate)) as proxy:
                for case in ca.servers:
                    if case.certificate != certificate or (certificate, case.host) in LENIENT:
                        continue
                    for version, (_, priority) in VERSIONS.items():
                        out, answered = ask_gnutls(build, proxy.port, "--x509cafile", ca.root, "--priority", priority,
                                                   "--sni-hostname", case.host, "--verify-hostname", case.host)
                        if answered != (case.refused is None):
                            wrong.append(f"{certificate} for {case.host}, {version}: {out[-300:]}")
                proxy.stop()
    report(wrong)


def test_clients_certificates_from_s_client_and_gnutls_cli(build, backend):
    ca, wrong = authority(build), []
    with echo_server() as echo:
        for demand in ("required", "optional"):
            more = ["--optional"] if demand == "optional" else []
            with tlsproxy(build, backend, echo, *ca.own("good"), "--client-ca", ca.root, *more) as proxy:
                for case in ca.clients:
                    if case.demand != demand:
                        continue
                    for version, (openssl_version, priority) in VERSIONS.items():
                        own = ca.own_openssl(case.certificate) if case.certificate else []
                        gnutls = ["--x509certfile", ca.pem(case.certificate), "--x509keyfile",
                                  ca.key(case.certificate)] if case.certificate else []
                        for who, ask in (("s_client", lambda: ask_s_client(
                                proxy.port, openssl_version, "-CAfile", ca.root, "-quiet", *own)),
                                         ("gnutls-cli", lambda: ask_gnutls(
                                build, proxy.port, "--x509cafile", ca.root, "--priority", priority,
                                "--verify-hostname", "host.test", *gnutls))):
                            before = len(proxy.errors())
                            out, answered = ask()
                            what = f"{who}, {case.certificate}, {demand}, {version}"
                            if answered != (case.refused is None):
                                wrong.append(f"{what}: {out[-300:]} {proxy.errors()[before:]}")
                            elif case.refused:
                                with contextlib.suppress(AssertionError):
                                    until("it says why", lambda: case.refused in proxy.errors()[before:], 5)
                                if case.refused not in proxy.errors()[before:]:
                                    wrong.append(f"{what}: {case.refused!r} is not in {proxy.errors()[before:]!r}")
                proxy.stop()
    report(wrong)


def test_a_certificate_for_s_server(build, backend):
    """coil is the client that is asked for one."""
    ca, wrong = authority(build), []
    for version, (openssl_version, _) in VERSIONS.items():
        for case in ca.clients:
            demand = ["-Verify" if case.demand == "required" else "-verify", "3"]
            own = ["--own-cert", ca.pem(case.certificate), "--own-key", ca.key(case.certificate)] if case.certificate else []
            with s_server("-rev", openssl_version, *ca.own_openssl("good"), "-CAfile", ca.root, "-verify_return_error",
                          *demand) as (_, port, printed), \
                    tlsproxy(build, backend, port, "--tls", "--ca", ca.root, "--name", "host.test", *own) as proxy:
                got = ask_plainly(proxy.port)
                proxy.stop()
                what = f"{case.certificate}, {case.demand}, {version}"
                if (got == b"gnip\n") != (case.refused is None):
                    wrong.append(f"{what}: {got} {proxy.errors()} {printed()[-300:]}")
                elif case.refused and case.refused not in printed():
                    wrong.append(f"{what}: {case.refused!r} is not in {printed()[-300:]!r}")
                if case.subject and f"CN = {case.subject}" not in printed():
                    wrong.append(f"{what}: s_server did not see it: {printed()[-300:]!r}")
    report(wrong)


# Which backend carries the bytes makes no difference to who is let in: the story goes through all of them.
main("tls", globals(), backends=[b for b in BACKENDS if b != "poll"])
