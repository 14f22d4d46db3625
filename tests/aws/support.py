"""A keystore of its own for each class of tests, and the program that serves it."""

import json
import os
import subprocess
import tempfile
import unittest

import boto3
import botocore.config

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


class Server:
    """The program, serving a keystore."""

    def __init__(self, keystore, *more):
        command = [os.environ["KMSFS"], "--json", "kms", "serve", "--listen", "127.0.0.1:0", *more]
        self.process = subprocess.Popen(command, env=keystore.env, stdout=subprocess.PIPE, text=True)
        text = ""
        while not text.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the server ended")
            text += line
        self.endpoint = json.loads(text)["Endpoint"]

    def stop(self):
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait(timeout=20)


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
