"""A keystore of its own for each class of tests, and the program that serves it."""

import datetime
import ipaddress
import json
import os
import subprocess
import tempfile
import unittest

import boto3
import botocore.config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

REGION = "us-east-1"
OTHER_REGION = "eu-west-1"
ACCOUNT = "111122223333"


class Keystore:
    """A keystore in a scratch directory, with an administrator."""

    def __init__(self):
        self.place = tempfile.TemporaryDirectory(prefix="kmsfs-aws.")
        self.env = {
            "PATH": os.environ["PATH"],
            "KMSFS_KEYSTORE": os.path.join(self.place.name, "keystore"),
            "KMSFS_KEY_FILE": os.path.join(self.place.name, "key-file"),
            "KMSFS_LOG": "warn",
        }
        self.run("keystore", "create", "--region", REGION, "--account", ACCOUNT)
        self.admin = self.user("admin", "--administrator")

    def run(self, *args):
        command = [os.environ["KMSFS"], "--json", *args]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout

    def user(self, name, *more):
        """Makes a user, and returns its access key."""
        self.run("kms", "user", "create", name, *more)
        return json.loads(self.run("kms", "user", "create-access-key", name))["AccessKey"]

    def path(self, name):
        return os.path.join(self.place.name, name)


class Program:
    """The program, serving something until it is stopped. What it says when it is ready is in `ready`."""

    def __init__(self, keystore, *args):
        command = [os.environ["KMSFS"], "--json", "kms", *args]
        self.process = subprocess.Popen(command, env=keystore.env, stdout=subprocess.PIPE, text=True)
        text = ""
        while not text.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the server ended")
            text += line
        self.ready = json.loads(text)

    def stop(self):
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait(timeout=20)


class Server(Program):
    """The program, serving a keystore."""

    def __init__(self, keystore, *more):
        super().__init__(keystore, "serve", "--listen", "127.0.0.1:0", *more)
        self.endpoint = self.ready["Endpoint"]


class Proxy:
    """An external key manager: another keystore, whose key others use. At the port where the API has it, 443."""

    def __init__(self):
        keystore = Keystore()
        self.place, self.path = keystore.place, keystore.path
        cert, key, credential = (keystore.path(name) for name in ("cert.pem", "key.pem", "credential.json"))
        self_signed(cert, key)
        keystore.run("kms", "create-xks-credential", credential)
        self.key = json.loads(keystore.run("key", "create-key"))["KeyMetadata"]["KeyId"]
        tls = ("--tls-cert", cert, "--tls-key", key)
        as_admin = ("--user", "admin", "--credential-file", credential)
        self.program = Program(keystore, "xks-proxy", "--listen", "127.0.0.1:443", *as_admin, *tls)
        with open(credential, encoding="ascii") as file:
            self.credential = json.load(file)["XksProxyAuthenticationCredential"]
        with open(cert, encoding="ascii") as file:
            self.certificate = file.read()

    def close(self):
        self.program.stop()
        self.place.cleanup()


def self_signed(cert_path, key_path):
    """Makes a certificate for this host and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kmsfs test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    with open(cert_path, "wb") as file:
        file.write(cert.public_bytes(serialization.Encoding.PEM))
    with open(key_path, "wb") as file:
        pkcs8 = serialization.PrivateFormat.PKCS8
        file.write(key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()))


def client(service, endpoint, key, region=REGION, **more):
    """A client that tries once, so that a test sees what the server said."""
    retries = {"max_attempts": 1, "mode": "standard"}
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        config=botocore.config.Config(retries=retries),
        **more,
    )


class Served(unittest.TestCase):
    """Tests over one served keystore."""

    @classmethod
    def setUpClass(cls):
        cls.keystore = Keystore()
        cls.server = Server(cls.keystore, "--regions", OTHER_REGION)
        cls.kms = client("kms", cls.server.endpoint, cls.keystore.admin)
        cls.addClassCleanup(cls.keystore.place.cleanup)
        cls.addClassCleanup(cls.server.stop)
        cls.addClassCleanup(cls.kms.close)

    def abroad(self):
        """A client of the other Region."""
        kms = client("kms", self.server.endpoint, self.keystore.admin, region=OTHER_REGION)
        self.addCleanup(kms.close)
        return kms

    def as_user(self, name):
        """A client of a new user."""
        kms = client("kms", self.server.endpoint, self.keystore.user(name))
        self.addCleanup(kms.close)
        return kms

    def environment(self):
        """What a program needs to find the server, and who it is."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": self.keystore.place.name,
            "AWS_ENDPOINT_URL_KMS": self.server.endpoint,
            "AWS_ENDPOINT_URL_STS": self.server.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.keystore.admin["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.keystore.admin["SecretAccessKey"],
        }

    def key(self, **more):
        """The ARN of a new key."""
        return self.kms.create_key(**more)["KeyMetadata"]["Arn"]
