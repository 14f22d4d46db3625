"""TLS, with a certificate that the client is told to trust."""

import os
import shutil
import signal
import ssl
import time
import unittest
import urllib.parse

from support import Keystore, Proxy, Server, client, self_signed


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


class Tls(unittest.TestCase):
    def serve(self):
        """A server, and the files of its certificate and its key."""
        self.keystore = Keystore()
        self.addCleanup(self.keystore.place.cleanup)
        cert, key = self.keystore.path("cert.pem"), self.keystore.path("key.pem")
        self_signed(cert, key)
        server = Server(self.keystore, "--tls-cert", cert, "--tls-key", key)
        self.addCleanup(server.stop)
        return server, cert, key

    def client(self, server, cert):
        kms = client("kms", server.endpoint, self.keystore.admin, verify=cert)
        self.addCleanup(kms.close)
        return kms

    def test_a_round_trip(self):
        server, cert, _ = self.serve()
        self.assertTrue(server.endpoint.startswith("https://"))
        kms = self.client(server, cert)
        made = kms.create_key()["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=made, Plaintext=b"x")["CiphertextBlob"]
        self.assertEqual(kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")

    def test_a_renewed_certificate(self):
        server, cert, key = self.serve()
        self.renew(server, server.endpoint, cert, key)
        kms = self.client(server, self.keystore.path("renewed.pem"))
        self.assertEqual(kms.list_keys()["Keys"], [])

    def test_a_renewed_certificate_of_a_proxy(self):
        proxy = Proxy()
        self.addCleanup(proxy.close)
        self.renew(proxy.program, proxy.program.ready["Uri"], proxy.path("cert.pem"), proxy.path("key.pem"))

    def renew(self, program, endpoint, cert, key):
        """Gives a program another certificate, which is kept beside it, and then a broken one."""
        address = urllib.parse.urlsplit(endpoint)
        presented = lambda: ssl.get_server_certificate((address.hostname, address.port))
        old = read(cert)
        self.assertEqual(presented(), old)
        self_signed(cert, key)
        self.assertEqual(presented(), old)
        program.process.send_signal(signal.SIGHUP)
        self.until(lambda: presented() == read(cert))
        renewed = shutil.copy(cert, os.path.join(os.path.dirname(cert), "renewed.pem"))
        # A broken file leaves the certificate in place, and the program up.
        with open(cert, "w", encoding="ascii") as file:
            file.write("no certificate")
        program.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.assertEqual(presented(), read(renewed))

    def until(self, holds):
        end = time.monotonic() + 20
        while not holds():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
