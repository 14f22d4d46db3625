"""The AWS command line, as docs/kms.md tells to use it."""

import base64
import json
import os
import subprocess
import sys

from support import REGION, Served


class CommandLine(Served):
    def aws(self, *args, fails=False):
        env = {
            "PATH": os.environ["PATH"],
            "HOME": self.keystore.place.name,
            "AWS_ENDPOINT_URL_KMS": self.server.endpoint,
            "AWS_ENDPOINT_URL_STS": self.server.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.keystore.admin["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.keystore.admin["SecretAccessKey"],
        }
        command = [os.path.join(os.path.dirname(sys.executable), "aws"), "--output", "json", *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if fails:
            self.assertNotEqual(done.returncode, 0)
            return done.stderr
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def test_a_session(self):
        arn = self.aws("sts", "get-caller-identity")["Arn"]
        self.assertTrue(arn.endswith(":user/admin"))
        key = self.aws("kms", "create-key", "--description", "cli")["KeyMetadata"]["KeyId"]
        self.aws("kms", "create-alias", "--alias-name", "alias/cli", "--target-key-id", key)
        plain = self.keystore.path("plain")
        with open(plain, "wb") as file:
            file.write(b"from a file")
        context = ("--encryption-context", "a=1,b=2")
        made = self.aws("kms", "encrypt", "--key-id", "alias/cli", "--plaintext", f"fileb://{plain}", *context)
        blob = self.keystore.path("blob")
        with open(blob, "wb") as file:
            file.write(base64.b64decode(made["CiphertextBlob"]))
        decrypt = ("kms", "decrypt", "--ciphertext-blob", f"fileb://{blob}")
        self.assertEqual(base64.b64decode(self.aws(*decrypt, *context)["Plaintext"]), b"from a file")
        self.assertIn("(InvalidCiphertextException)", self.aws(*decrypt, fails=True))
        listed = self.aws("kms", "list-aliases", "--page-size", "1")["Aliases"]
        self.assertIn("alias/cli", [alias["AliasName"] for alias in listed])
        # A key that kmsfs itself sees in the same keystore.
        found = json.loads(self.keystore.run("key", "describe-key", "--key-id", "alias/cli"))
        self.assertEqual(found["KeyMetadata"]["KeyId"], key)
