"""TLS, with a certificate that the client is told to trust."""

import datetime
import ipaddress
import shutil
import signal
import ssl
import time
import unittest
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support import Keystore, Server, client


def self_signed(cert_path, key_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kmsfs test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    with open(cert_path, "wb") as file:
        file.write(cert.public_bytes(serialization.Encoding.PEM))
    with open(key_path, "wb") as file:
        pkcs8 = serialization.PrivateFormat.PKCS8
        file.write(key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()))


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


class Tls(unittest.TestCase):
    def test_a_round_trip(self):
        keystore = Keystore()
        self.addCleanup(keystore.place.cleanup)
        cert, key = keystore.path("cert.pem"), keystore.path("key.pem")
        self_signed(cert, key)
        server = Server(keystore, "--tls-cert", cert, "--tls-key", key)
        self.addCleanup(server.stop)
        self.assertTrue(server.endpoint.startswith("https://"))
        kms = client("kms", server.endpoint, keystore.admin, verify=cert)
        self.addCleanup(kms.close)
        made = kms.create_key()["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=made, Plaintext=b"x")["CiphertextBlob"]
        self.assertEqual(kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")

    def test_a_renewed_certificate(self):
        keystore = Keystore()
        self.addCleanup(keystore.place.cleanup)
        cert, key, old = (keystore.path(name) for name in ("cert.pem", "key.pem", "old.pem"))
        self_signed(cert, key)
        shutil.copy(cert, old)
        server = Server(keystore, "--tls-cert", cert, "--tls-key", key)
        self.addCleanup(server.stop)
        address = urllib.parse.urlsplit(server.endpoint)
        presented = lambda: ssl.get_server_certificate((address.hostname, address.port))
        self.assertEqual(presented(), read(old))
        self_signed(cert, key)
        self.assertEqual(presented(), read(old))
        server.process.send_signal(signal.SIGHUP)
        self.until(lambda: presented() == read(cert))
        kms = client("kms", server.endpoint, keystore.admin, verify=cert)
        self.addCleanup(kms.close)
        self.assertEqual(kms.list_keys()["Keys"], [])
        # A broken file leaves the certificate in place, and the server up.
        renewed = read(cert)
        with open(cert, "w", encoding="ascii") as file:
            file.write("no certificate")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.assertEqual(presented(), renewed)

    def until(self, holds):
        end = time.monotonic() + 20
        while not holds():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
