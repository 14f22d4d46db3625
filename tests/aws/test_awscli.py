"""The AWS command line, as docs/kms.md tells to use it."""

import base64
import json
import os
import subprocess
import sys

from support import OTHER_REGION, REGION, Served


class CommandLine(Served):
    def aws(self, *args, fails=False):
        command = [os.path.join(os.path.dirname(sys.executable), "aws"), "--output", "json", *args]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
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

    def test_multi_region_keys(self):
        key = self.aws("kms", "create-key", "--multi-region")["KeyMetadata"]["KeyId"]
        made = self.aws("kms", "replicate-key", "--key-id", key, "--replica-region", OTHER_REGION)
        arn = made["ReplicaKeyMetadata"]["Arn"]
        self.assertIn(f":{OTHER_REGION}:", arn)
        plain, blob = self.keystore.path("plain"), self.keystore.path("blob")
        with open(plain, "wb") as file:
            file.write(b"everywhere")
        made = self.aws("kms", "encrypt", "--key-id", key, "--plaintext", f"fileb://{plain}")
        with open(blob, "wb") as file:
            file.write(base64.b64decode(made["CiphertextBlob"]))
        decrypt = ("kms", "decrypt", "--ciphertext-blob", f"fileb://{blob}")
        opened = self.aws(*decrypt, "--key-id", arn, "--region", OTHER_REGION)
        self.assertEqual(base64.b64decode(opened["Plaintext"]), b"everywhere")
        self.aws("kms", "update-primary-region", "--key-id", key, "--primary-region", OTHER_REGION)
        found = self.aws("kms", "describe-key", "--key-id", key)["KeyMetadata"]["MultiRegionConfiguration"]
        self.assertEqual(found["MultiRegionKeyType"], "REPLICA")
        self.assertEqual(found["PrimaryKey"], {"Arn": arn, "Region": OTHER_REGION})
        self.assertEqual([key["Region"] for key in found["ReplicaKeys"]], [REGION])
        # The command line of kmsfs sees the same.
        seen = json.loads(self.keystore.run("key", "--region", OTHER_REGION, "describe-key", "--key-id", key))
        self.assertEqual(seen["KeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"], "PRIMARY")
